"""Launchers that run the jobs of a sweep side by side: on this machine, or on a cluster by Slurm.

A job that is killed (out of memory, out of time) fails alone: the others go on, and its ``result.json`` says so.
"""

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
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_lab import results, runs
from mnist_lab.errors import UserError, needed

log = logging.getLogger(__name__)
Job = tuple[int, list[str]]  # its number, its overrides


class SideBySide(Launcher):
    """What launchers share: the job as a process of its own runs it, and the record of one that was killed."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self._check()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, numbered from ``initial_job_idx``; what became of each, in order."""
        jobs = [(number, list(overrides)) for number, overrides in enumerate(job_overrides, initial_job_idx)]
        for number, overrides in jobs:
            log.info(f"job {number}: {' '.join(filter_overrides(overrides))}")
        self._state = Singleton.get_state()
        return self._launch(jobs)

    @abstractmethod
    def _check(self) -> None:
        """Raise UserError for options out of range or a library that is missing."""

    @abstractmethod
    def _launch(self, jobs: list[Job]) -> list[JobReturn]: ...

    def __call__(self, job: Job) -> JobReturn:
        """Run one job, in the process that was made for it."""
        Singleton.set_state(self._state)
        setup_globals()
        runs.register()
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
        config = self._config(job)
        return Path(config.hydra.sweep.dir, OmegaConf.select(config, "hydra.sweep.subdir"))

    def _killed(self, job: Job, error: BaseException) -> JobReturn:
        """The return of a job that did not live to give one."""
        directory = self._directory(job)
        said = f"the process of the job is gone, killed or out of memory or time ({type(error).__name__})"
        log.error(f"{directory}: {said}")
        if (directory / results.FILE).exists():
            results.write(directory, results.read(directory) | {"status": "failed", "error": said})
        failed = JobReturn(overrides=job[1], status=JobStatus.FAILED)
        failed.return_value = UserError(f"{directory}: {said}")
        return failed

    def _share_cores(self, jobs: int) -> None:
        """Let ``jobs`` processes at once have the cores between them, unless OMP_NUM_THREADS says otherwise."""
        os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(max(cores() // jobs, 1))


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


class JoblibLauncher(SideBySide):
    """``jobs`` at once (null: one a core) in processes that stay: libraries and data are loaded once in each."""

    def __init__(self, jobs: int | None = None):
        self.jobs = jobs or cores()

    def _check(self) -> None:
        needed("joblib", "parallel", "hydra/launcher=joblib")
        if self.jobs < 1:
            raise UserError(f"hydra.launcher.jobs={self.jobs}: must be at least 1")

    def _launch(self, jobs: list[Job]) -> list[JobReturn]:
        self._share_cores(self.jobs)
        done = self._round(jobs, self.jobs)
        # Where a process is killed the pool ends, and all that ran with it. Jobs that had begun are tried again, from
        # their last checkpoint and one by one, so that the one at fault shows; it fails, and only it.
        while left := [job for job in jobs if job[0] not in done]:
            begun = [job for job in left if (self._directory(job) / results.FILE).exists()]
            fresh = [job for job in left if job not in begun]
            for job in begun:
                alone = self._round([job], 1)
                done[job[0]] = alone.get(job[0]) or self._killed(job, ChildProcessError())
            done |= self._round(fresh, self.jobs)
            if not begun and not any(job[0] in done for job in fresh):  # the pool cannot even start
                done |= {job[0]: self._killed(job, ChildProcessError()) for job in fresh}
        return [done[number] for number, _ in jobs]

    def _round(self, jobs: list[Job], at_once: int) -> dict[int, JobReturn]:
        """The returns of those that came to an end, by number."""
        loky = importlib.import_module("joblib.externals.loky")
        pool = loky.get_reusable_executor(max_workers=min(at_once, max(len(jobs), 1)), timeout=60)
        futures = [(number, pool.submit(self, (number, overrides))) for number, overrides in jobs]
        done = {}
        for number, future in futures:
            try:
                done[number] = future.result()
            except loky.process_executor.BrokenProcessPool:
                continue
        return done


class LocalCluster(SideBySide):
    """``jobs`` at once (null: one a core), each in a process of its own that submitit starts and watches."""

    def __init__(self, folder: str, jobs: int | None = None, timeout_min: int = 1440):
        self.folder, self.jobs, self.timeout_min = folder, jobs or cores(), timeout_min

    def _check(self) -> None:
        needed("submitit", "slurm", "hydra/launcher=local_cluster")
        for name, value in {"jobs": self.jobs, "timeout_min": self.timeout_min}.items():
            if value < 1:
                raise UserError(f"hydra.launcher.{name}={value}: must be at least 1")

    def _launch(self, jobs: list[Job]) -> list[JobReturn]:
        self._share_cores(self.jobs)
        executor = importlib.import_module("submitit").AutoExecutor(folder=self.folder, cluster="local")
        executor.update_parameters(timeout_min=self.timeout_min)

        def one(job: Job) -> JobReturn:
            return _result(self, job, executor.submit(self, job))

        with ThreadPoolExecutor(self.jobs) as threads:
            return list(threads.map(one, jobs))


class Slurm(SideBySide):
    """A Slurm job array, ``array_parallelism`` at once. A job that is preempted goes on from its last checkpoint.

    ``additional_parameters`` are those of sbatch that have no name here; ``setup`` are shell lines before the job.
    """

    def __init__(
        self,
        folder: str,
        array_parallelism: int = 32,
        timeout_min: int = 60,
        cpus_per_task: int = 2,
        mem_gb: int = 4,
        gpus_per_node: int = 0,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        additional_parameters: Sequence[str] = (),
        setup: Sequence[str] = (),
    ):
        self.folder, self.timeout_min = folder, timeout_min
        self.resources = {"cpus_per_task": cpus_per_task, "mem_gb": mem_gb, "gpus_per_node": gpus_per_node}
        self.slurm = {
            "slurm_array_parallelism": array_parallelism,
            "slurm_partition": partition,
            "slurm_account": account,
            "slurm_qos": qos,
            "slurm_additional_parameters": dict(one.split("=", 1) for one in additional_parameters),
            "slurm_setup": list(setup),
        }

    def _check(self) -> None:
        needed("submitit", "slurm", "hydra/launcher=slurm")

    def executor(self, cluster: str | None = "slurm") -> Any:
        """Submitit's, with all that the config says."""
        try:
            executor = importlib.import_module("submitit").AutoExecutor(folder=self.folder, cluster=cluster)
        except RuntimeError as error:
            raise UserError(
                f"hydra/launcher=slurm: {error}; run this where sbatch is, or take hydra/launcher=local_cluster"
            ) from error
        given = {name: value for name, value in self.slurm.items() if value not in (None, {}, [])}
        executor.update_parameters(timeout_min=self.timeout_min, name="mnist_lab", **self.resources, **given)
        return executor

    def _launch(self, jobs: list[Job]) -> list[JobReturn]:
        submitted = self.executor().map_array(self, jobs)
        return [_result(self, job, handle) for job, handle in zip(jobs, submitted, strict=True)]

    def checkpoint(self, job: Job) -> Any:
        """What submitit runs when a job is preempted: the same again, which goes on from the last checkpoint."""
        return importlib.import_module("submitit").helpers.DelayedSubmission(self, job)


def _result(launcher: SideBySide, job: Job, handle: Any) -> JobReturn:
    try:
        returned: JobReturn = handle.results()[0]
        log.info(f"job {job[0]}: {returned.status.name.lower()}")
        return returned
    except Exception as error:  # submitit has several for a job that vanished
        return launcher._killed(job, error)
