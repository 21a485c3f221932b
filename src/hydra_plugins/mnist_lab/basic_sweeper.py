"""Hydra's own sweeper over all combinations, made fit for thousands of them."""

from collections.abc import Sequence

from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class AllCombinations(BasicSweeper):
    """Before the first job it composes one with each option of a group, where Hydra composes them all.

    So a typo is told at once and a sweep begins at once. The YAML files are read once for all jobs.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        loader = hydra_context.config_loader
        loader.repository = CachingConfigRepository(loader.repository)  # type: ignore[attr-defined]
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose jobs until each option and each key has been seen."""
        assert self.config is not None
        groups = self.config.hydra.runtime.choices
        seen: set[str] = set()
        for overrides in batch:
            kinds = {word if (key := word.partition("=")[0]) in groups else key for word in overrides}
            if not kinds <= seen:
                super().validate_batch_is_legal([overrides])
                seen |= kinds
