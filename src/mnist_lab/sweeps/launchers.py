"""Launchers that run the jobs of a sweep side by side: on this machine, or on a cluster by Slurm.

A job that is killed (out of memory, out of time) fails alone: the others go on, and its ``result.json`` says so.
"""

import contextlib
import importlib
import logging
import os
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from mnist_lab.errors import UserError, require_extra
from mnist_lab.runs.directory import register_resolvers
from mnist_lab.runs.result import FILE, Result
from mnist_lab.sweeps import at_least_one

log = logging.getLogger(__name__)
Job = tuple[int, list[str]]  # its number, its overrides


class SideBySide(Launcher):
    """What the launchers share: running a job in a process of its own, and recording a job that was killed."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, numbered from ``initial_job_idx``; their returns, in order."""
        jobs = [(number, list(overrides)) for number, overrides in enumerate(job_overrides, initial_job_idx)]
        for number, overrides in jobs:
            log.info(f"job {number}: {' '.join(filter_overrides(overrides))}")
        self._state = Singleton.get_state()
        return self._launch(jobs)

    @abstractmethod
    def _launch(self, jobs: list[Job]) -> list[JobReturn]: ...

    def __call__(self, job: Job) -> JobReturn:
        """Run one job, in the process that was started for it."""
        Singleton.set_state(self._state)
        setup_globals()
        register_resolvers()
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=self._config(job),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _config(self, job: Job) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, job[1])
        with open_dict(config):
            config.hydra.job.num = config.hydra.job.id = job[0]
        return config

    def _directory(self, job: Job) -> Path:
        sweep = self._config(job).hydra.sweep
        return Path(sweep.dir, sweep.subdir)

    def _submitted(self, job: Job, handle: Any) -> JobReturn:
        """Wait for what submitit returns for ``job``."""
        try:
            returned: JobReturn = handle.results()[0]
        except Exception as error:  # submitit has several for a job that vanished
            return self._killed(job, type(error).__name__)
        log.info(f"job {job[0]}: {returned.status.name.lower()}")
        return returned

    def _killed(self, job: Job, error: str = "ChildProcessError") -> JobReturn:
        """Record that the process of a job is gone: in its result.json, if it had begun, and as its return."""
        directory = self._directory(job)
        said = f"the process of the job is gone, killed or out of memory or time ({error})"
        log.error(f"{directory}: {said}")
        if (directory / FILE).exists():
            result = Result.read(directory)
            result.status, result.error = "failed", said
            result.write(directory)
        failed = JobReturn(overrides=job[1], status=JobStatus.FAILED)
        failed.return_value = UserError(f"{directory}: {said}")
        return failed


def _divide_cores(jobs: int | None) -> int:
    """How many jobs run at once (None: one a core). Divides the cores between them, unless OMP_NUM_THREADS is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = at_least_one("hydra.launcher.jobs", jobs or cores)
    os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(max(cores // jobs, 1))
    return jobs


class JoblibLauncher(SideBySide):
    """Runs ``jobs`` at once (null: one a core) in processes that stay, so each loads libraries and data once."""

    def __init__(self, jobs: int | None = None):
        require_extra("joblib", "parallel", "hydra/launcher=joblib")
        self.jobs = _divide_cores(jobs)

    def _launch(self, jobs: list[Job]) -> list[JobReturn]:
        done = self._round(jobs)
        # When a process is killed, the pool ends, and all other jobs in it end too. So those that had begun run again
        # one by one, from their last checkpoints: the one whose process dies again fails, and only that one.
        while left := [job for job in jobs if job[0] not in done]:
            begun = [job for job in left if (self._directory(job) / FILE).exists()]
            for job in begun:
                done |= self._round([job]) or {job[0]: self._killed(job)}
            fresh = [job for job in left if job not in begun]
            returned = self._round(fresh)
            if not begun and not returned:  # the pool cannot even start
                returned = {job[0]: self._killed(job) for job in fresh}
            done |= returned
        return [done[number] for number, _ in jobs]

    def _round(self, jobs: list[Job]) -> dict[int, JobReturn]:
        """Run ``jobs`` in a pool; the returns, by number, of those whose process was not killed."""
        loky = importlib.import_module("joblib.externals.loky")
        pool = loky.get_reusable_executor(max_workers=min(self.jobs, max(len(jobs), 1)), timeout=60)
        futures = {job[0]: pool.submit(self, job) for job in jobs}
        done = {}
        for number, future in futures.items():
            with contextlib.suppress(loky.process_executor.BrokenProcessPool):
                done[number] = future.result()
        return done


class LocalCluster(SideBySide):
    """Runs ``jobs`` at once (null: one a core), each in a process of its own that submitit starts and watches."""

    def __init__(self, folder: str, jobs: int | None = None, timeout_min: int = 1440):
        require_extra("submitit", "slurm", "hydra/launcher=local_cluster")
        self.folder, self.jobs = folder, _divide_cores(jobs)
        self.timeout_min = at_least_one("hydra.launcher.timeout_min", timeout_min)

    def _launch(self, jobs: list[Job]) -> list[JobReturn]:
        executor = importlib.import_module("submitit").AutoExecutor(folder=self.folder, cluster="local")
        executor.update_parameters(timeout_min=self.timeout_min)
        with ThreadPoolExecutor(self.jobs) as threads:
            return list(threads.map(lambda job: self._submitted(job, executor.submit(self, job)), jobs))


class Slurm(SideBySide):
    """Submits a Slurm job array. A preempted job goes on from its last checkpoint.

    conf/hydra/launcher/slurm.yaml has the ``options``, by the names that submitit gives them.
    """

    def __init__(self, folder: str, additional_parameters: Sequence[str], setup: Sequence[str], **options: Any):
        require_extra("submitit", "slurm", "hydra/launcher=slurm")
        self.folder = folder
        options["additional_parameters"] = dict(one.split("=", 1) for one in additional_parameters) or None
        options["setup"] = list(setup) or None
        self.options = {f"slurm_{name}": value for name, value in options.items()}

    def executor(self) -> Any:
        """Submitit's executor with the options of the config. Raises UserError where there is no Slurm."""
        try:
            executor = importlib.import_module("submitit").AutoExecutor(folder=self.folder, cluster="slurm")
        except RuntimeError as error:
            raise UserError(
                f"hydra/launcher=slurm: {error}; run this where sbatch is, or take hydra/launcher=local_cluster"
            ) from error
        executor.update_parameters(name="mnist_lab", **self.options)
        return executor

    def _launch(self, jobs: list[Job]) -> list[JobReturn]:
        submitted = self.executor().map_array(self, jobs)
        return [self._submitted(job, handle) for job, handle in zip(jobs, submitted, strict=True)]

    def checkpoint(self, job: Job) -> Any:
        """Tell submitit what to run after a job was preempted: the same job, which goes on from its checkpoint."""
        return importlib.import_module("submitit").helpers.DelayedSubmission(self, job)
