"""Trains all combinations: Hydra's own sweeper, made fit for thousands of jobs."""

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mnist_lab.errors import UserError
from mnist_lab.sweeps.job import SweepJob
from mnist_lab.sweeps.summary import summary


class AllCombinations(BasicSweeper):
    """Before the first job it composes configs until each option and key has occurred; Hydra composes all of them.

    So it finds a typo at once, and a large sweep starts at once. It reads the YAML files once for all jobs, and prints
    the table over all jobs when the sweep ends, also after failures and Ctrl-C.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        loader = hydra_context.config_loader
        loader.repository = CachingConfigRepository(loader.repository)  # type: ignore[attr-defined]
        super().setup(hydra_context=hydra_context, task_function=SweepJob(task_function), config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run all jobs, then print the table. Raises UserError where jobs failed."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(overrides, self.max_batch_size)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        vars(self.launcher).update(total=sum(map(len, batches)))
        returned: list[JobReturn] = []
        with summary(self.config):
            for batch in batches:
                self.validate_batch_is_legal(batch)
                returned += self.launcher.launch(batch, initial_job_idx=len(returned))
            failed = [job._return_value for job in returned if job.status == JobStatus.FAILED]
        if failed:
            raise UserError(f"{len(failed)} of {len(returned)} jobs failed; the first: {failed[0]}")

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        assert self.config is not None
        groups = self.config.hydra.runtime.choices
        seen: set[str] = set()
        for overrides in batch:
            kinds = {word if (key := word.partition("=")[0]) in groups else key for word in overrides}
            if not kinds <= seen:
                super().validate_batch_is_legal([overrides])
                seen |= kinds
