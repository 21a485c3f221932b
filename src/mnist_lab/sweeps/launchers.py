"""Launchers that run the jobs of a sweep on this machine: one after another, or side by side.

A job that is killed (out of memory, out of time, a crash in a library) fails alone: the others go on, and its
``result.json`` says so.
"""

import atexit
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_lab.config import flatten_config
from mnist_lab.errors import UserError, describe, short_path
from mnist_lab.runs.directory import register_resolvers, run_name
from mnist_lab.runs.processes import usable_cores, when_orphaned
from mnist_lab.runs.result import FILE, JOBS, Result
from mnist_lab.sweeps import at_least
from mnist_lab.sweeps.job import SweepJob, train

log = logging.getLogger(__name__)
Job = tuple[int, list[str]]  # its number, its overrides
_SECONDS_TO_END = 60  # that jobs have after Ctrl-C to finish the step in hand and save


class JobLauncher(Launcher):
    """What the launchers share: running a job in another process, and telling how each ended.

    ``ended`` of ``total`` jobs have ended; a sweeper that launches its jobs in several batches sets both.
    """

    total, ended = 0, 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self._began, self._trained = time.time(), 0  # jobs that this sweep has run, not found done
        self._directories = dict[int, Path]()  # to compose a config takes a tenth of a second

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, numbered from ``initial_job_idx``; their returns, in order."""
        self._state = Singleton.get_state()
        self.total = self.total or len(job_overrides)
        if not self.ended:
            folder = Path(self.config.hydra.sweep.dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / JOBS).write_text(f"{self.total}\n", encoding="utf-8")
            log.info(f"{self.total} jobs, results in {folder}")
        returns = self._launch([(number, list(words)) for number, words in enumerate(job_overrides, initial_job_idx)])
        return [returns[number] for number in sorted(returns)]

    @abstractmethod
    def _launch(self, jobs: list[Job]) -> dict[int, JobReturn]:
        """Run ``jobs``; their returns by number."""

    def __call__(self, job: Job) -> JobReturn:
        """Run one job, in the process that was started for it."""
        self.enter_process()
        returned = run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=self._config(job),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if returned.status == JobStatus.FAILED:  # as an error that every process can read
            error = returned._return_value
            directory, said = self.directory(job), describe(error) or repr(error)
            returned.return_value = UserError(said if said.startswith(str(directory)) else f"{directory}: {said}")
        returned.cfg = None  # nobody needs it, and it takes time to send
        return returned

    def enter_process(self) -> None:
        """Make a process that was started for jobs one of Hydra's."""
        Singleton.set_state(self._state)
        if not self._state["omegaconf_resolvers"]:
            OmegaConf.clear_resolvers()  # but for OmegaConf's own
        setup_globals()
        register_resolvers()

    def __getstate__(self) -> dict[str, Any]:
        """What a process that is not forked gets: no functions, which cannot be sent; it has its own."""
        state = self._state | {"omegaconf_resolvers": {}}
        return vars(self) | {"task_function": SweepJob(train), "_state": state}

    def _config(self, job: Job) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, job[1])
        with open_dict(config):
            config.hydra.job.num = config.hydra.job.id = job[0]
        return config

    def _run_config(self, job: Job) -> DictConfig:
        """What ``train.py`` gets of the config."""
        config = self._config(job)
        with open_dict(config):
            del config["hydra"]
        return config

    def directory(self, job: Job) -> Path:
        """Where the run of ``job`` lies."""
        if job[0] not in self._directories:
            sweep = self._config(job).hydra.sweep
            self._directories[job[0]] = Path(sweep.dir, sweep.subdir)
        return self._directories[job[0]]

    def _done(self, job: Job) -> JobReturn:
        """What Hydra gets of a job whose directory says that it is done."""
        run_dir = self.directory(job)
        hydra = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(run_dir)}}})
        returned = JobReturn(overrides=job[1], hydra_cfg=hydra, status=JobStatus.COMPLETED)
        returned.return_value = recorded(run_dir).best_val_accuracy
        return returned

    def _tell(self, returned: JobReturn) -> JobReturn:
        """Log how a job ended, how many have, and how long the others will take at the pace of those before."""
        self.ended += 1
        said, level = str(returned._return_value), logging.ERROR
        if returned.status != JobStatus.FAILED and returned.hydra_cfg is not None:
            directory, level = Path(returned.hydra_cfg.hydra.runtime.output_dir), logging.INFO
            before = (directory / FILE).exists() and (directory / FILE).stat().st_mtime < self._began
            result = recorded(directory)
            reached = {"validation": result.val_accuracy, "test": result.test_accuracy}
            numbers = [f", {name} {value:.2%}" for name, value in reached.items() if value is not None]
            said = f"{short_path(directory)}: {result.status}{' before' if before else ''}{''.join(numbers)}"
            self._trained += not before
        left = self.total - self.ended
        seconds = (time.time() - self._began) / max(self._trained, 1) * left
        pace = f"; {_span(seconds)} left" if left > 0 and self._trained else ""
        log.log(level, f"job {self.ended} of {self.total}: {said}{pace}")
        return returned

    def _killed(self, job: Job, how: str, status: str = "failed") -> JobReturn:
        """Record that the process of a job is gone: in its result.json, and as its return."""
        directory = self.directory(job)
        result = recorded(directory)
        if not result.settings:  # it had not begun
            choices, config = self._config(job).hydra.runtime.choices, self._run_config(job)
            result.name, result.model, result.seed = run_name(config, choices), choices.get("model"), config.seed
            result.settings = flatten_config(config)
        if result.status == "running":  # it was not left the time to say it itself
            result.status, result.error = status, how
            directory.mkdir(parents=True, exist_ok=True)
            result.write(directory)
        failed = JobReturn(overrides=job[1], status=JobStatus.FAILED)
        failed.return_value = UserError(f"{directory}: {how}")
        return failed


def recorded(directory: Path) -> Result:
    """The result in ``directory``; one without values where the job had not begun, or its record is damaged."""
    with contextlib.suppress(UserError):
        return Result.read(directory)
    return Result()


def _span(seconds: float) -> str:
    """So many seconds, in words."""
    for size, name in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


class Worker(NamedTuple):
    """A process that runs jobs one after another, and the connection to it."""

    process: Any
    connection: Connection


class Workers(JobLauncher):
    """Runs ``jobs`` at once (null: one a core) in processes that stay, so each loads libraries and data once.

    When a process dies, the job in it has failed, and a new process takes the next one. Ctrl-C and SIGTERM go to this
    process only, which passes them on: the jobs under way save and end.
    """

    def __init__(self, jobs: int | None = None):
        self.jobs = 1 if jobs == 1 else _divide_cores(jobs)  # one alone has all cores, as a run outside a sweep
        self._idle: list[Worker] = []
        self._busy: dict[Connection, tuple[Worker, Job]] = {}
        atexit.register(self._end)

    def _launch(self, jobs: list[Job]) -> dict[int, JobReturn]:
        returns: dict[int, JobReturn] = {}
        waiting, stops = jobs[::-1], list[int]()
        with self._signals_passed_on(stops):
            while self._busy or (waiting and not stops):
                while waiting and len(self._busy) < self.jobs and not stops:
                    worker = self._idle.pop() if self._idle else self._start()
                    self._busy[worker.connection] = worker, waiting.pop()
                    with contextlib.suppress(OSError):  # it died meanwhile, which shows below
                        worker.connection.send(self._busy[worker.connection][1])
                if stops and time.monotonic() > self._deadline:
                    for worker, _ in self._busy.values():
                        worker.process.kill()
                for connection in wait(list(self._busy), timeout=1):
                    worker, job = self._busy.pop(connection)  # type: ignore[call-overload]
                    try:
                        returned = worker.connection.recv()
                        self._idle.append(worker)
                    except (EOFError, OSError):
                        returned = self._died(worker, job, bool(stops))
                    returns[job[0]] = returned if stops else self._tell(returned)
        if stops:
            sys.exit(128 + stops[0])
        return returns

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_idle": [], "_busy": {}}

    def _start(self) -> Worker:
        # A fork is the fastest, and safe before torch has threads, which this process never loads.
        forks = sys.platform == "linux" and hasattr(os, "fork")
        here: Any = multiprocessing.get_context("fork" if forks else "spawn")
        ours, theirs = here.Pipe()
        process = here.Process(target=self._work, args=(theirs, os.getpid()))
        process.start()
        theirs.close()
        return Worker(process, ours)

    def _work(self, connection: Connection, parent: int) -> None:
        """What a worker does: the jobs it is sent, until None comes."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if hasattr(os, "setpgid"):
            os.setpgid(0, 0)  # the terminal's Ctrl-C is for the sweep, which passes it on, once
            when_orphaned(parent, lambda: os.kill(os.getpid(), signal.SIGTERM))  # which saves the job in hand
        with contextlib.suppress(KeyboardInterrupt):
            while job := connection.recv():
                connection.send(self(job))
            return
        sys.exit(130)

    def _died(self, worker: Worker, job: Job, stopped: bool) -> JobReturn:
        worker.process.join()
        code = worker.process.exitcode
        if stopped or code in (130, 143):  # asked to stop, by the sweep or by somebody who knew its process
            returned = self._killed(job, "stopped", "interrupted")
            if not stopped:
                sys.exit(code)
            return returned
        return self._killed(job, f"killed by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")

    @contextlib.contextmanager
    def _signals_passed_on(self, stops: list[int]) -> Iterator[None]:
        """Note SIGINT and SIGTERM in ``stops``, and hand them to the jobs."""

        def stop(number: int, frame: Any) -> None:
            stops.append(number)
            self._deadline = time.monotonic() + _SECONDS_TO_END
            for worker, _ in self._busy.values() if hasattr(os, "setpgid") else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, number)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self) -> None:
        for worker in self._idle:
            with contextlib.suppress(OSError):
                worker.connection.send(None)
        for worker, _ in self._busy.values():  # an error of the sweep itself
            worker.process.terminate()
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.process.join(_SECONDS_TO_END)
            worker.process.kill()


def _divide_cores(jobs: int | None) -> int:
    """How many jobs run at once (None: one a core). Divides the cores between them, unless OMP_NUM_THREADS is set."""
    cores = usable_cores()
    jobs = at_least("hydra.launcher.jobs", jobs or cores)
    os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(max(cores // jobs, 1))
    return jobs
