"""Trains all combinations: Hydra's own sweeper, made fit for thousands of jobs."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mnist_lab.sweeps.job import SweepJob
from mnist_lab.sweeps.summary import print_summary


class AllCombinations(BasicSweeper):
    """Before the first job it composes configs until each option and key has occurred; Hydra composes all of them.

    So it finds a typo at once, and a large sweep starts at once. It reads the YAML files once for all jobs, and prints
    the table over all jobs when the sweep ends, also after failures and Ctrl-C.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        loader = hydra_context.config_loader
        loader.repository = CachingConfigRepository(loader.repository)  # type: ignore[attr-defined]
        super().setup(hydra_context=hydra_context, task_function=SweepJob(task_function), config=config)

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        try:
            return super().sweep(arguments)
        finally:
            print_summary(self.config)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        assert self.config is not None
        groups = self.config.hydra.runtime.choices
        seen: set[str] = set()
        for overrides in batch:
            kinds = {word if (key := word.partition("=")[0]) in groups else key for word in overrides}
            if not kinds <= seen:
                super().validate_batch_is_legal([overrides])
                seen |= kinds
