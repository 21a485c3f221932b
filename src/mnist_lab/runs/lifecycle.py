"""The life of a run: its directory, its status, its signals, its record. Every run goes through :func:`record`."""

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

from filelock import Timeout
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_lab import experiment
from mnist_lab.config import check, config_folder, flatten_config
from mnist_lab.errors import Pruned, UserError, describe, exit_on_user_error, open_console
from mnist_lab.runs import directory
from mnist_lab.runs.atomic import atomic_write
from mnist_lab.runs.directory import Launch, checkpoint_path, run_lock
from mnist_lab.runs.processes import is_rank_zero, when_orphaned
from mnist_lab.runs.provenance import provenance
from mnist_lab.runs.result import Result, command, next_commands
from mnist_lab.runs.run import Run, read_result

log = logging.getLogger(__name__)
one_at_a_time = threading.RLock()  # Hydra's state, the random generators, warnings and log levels are the process's


def run(cfg: DictConfig) -> float | None:
    """Run what ``cfg`` says in Hydra's output directory; the best validation accuracy, for sweeps to go by.

    An error that the user can mend ends the program in one line; a job of a sweep raises it.
    """
    open_console()  # again, in the processes that a launcher starts
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)
    first = int(os.environ.setdefault("MNIST_LAB_FIRST", str(os.getpid())))  # inherited by those it starts
    if not is_rank_zero():
        logging.getLogger().setLevel(logging.ERROR)
        if first != os.getpid():
            when_orphaned(first, lambda: os._exit(0))  # it would wait for the first one in vain
    hydra = HydraConfig.get()
    run_dir, in_sweep = Path(hydra.runtime.output_dir), hydra.mode == RunMode.MULTIRUN
    with contextlib.nullcontext() if in_sweep else exit_on_user_error():
        if "TORCHELASTIC_RUN_ID" in os.environ and not any("hydra.run.dir=" in o for o in hydra.overrides.hydra):
            raise UserError("torchrun: its processes need one directory: name it with hydra.run.dir=outputs/...")
        if OmegaConf.select(cfg, "sweep.resume") and not in_sweep:
            raise UserError("sweep.resume: is for --multirun; a single run goes on with resume=<run directory>")
        launch = Launch(run_dir, hydra.runtime.choices, list(hydra.overrides.task), in_sweep=in_sweep)
        with _locked(run_dir):
            ended = record(cfg, launch)
    log.info(ended.table(run_dir) if in_sweep else f"{ended.table(run_dir)}\n{next_commands(run_dir)}")
    return ended.best_val_accuracy


def run_in_process(*overrides: str) -> Run:
    """Compose ``conf/`` with ``overrides`` and run that, in a process that belongs to somebody else."""
    directory.register_resolvers()
    callers = GlobalHydra.instance().hydra  # where this is called in a Hydra app
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_folder(), version_base="1.3"):
            cfg = compose("config", list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = callers
    hydra, run_dir = cfg.hydra, Path(cfg.hydra.run.dir).absolute()
    with open_dict(cfg):
        del cfg["hydra"]
    run_dir.mkdir(parents=True, exist_ok=True)
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)} if in_main_thread else {}
    try:
        with _locked(run_dir):
            record(cfg, Launch(run_dir, hydra.runtime.choices, list(hydra.overrides.task), in_process=True))
    except SystemExit as stop:  # Lightning makes one of a KeyboardInterrupt, and ignores further ones
        raise KeyboardInterrupt from stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Run(run_dir, trust=None)


def record(cfg: DictConfig, launch: Launch) -> Result:
    """Run, with ``result.json`` saying all along how it stands: running, then done, failed, interrupted or pruned.

    A run that goes on is running once it trains again; if it fails before that, its result stays as it was.
    """
    run_dir, choices, leads = launch.run_dir, launch.choices, is_rank_zero()
    if resumes := bool(cfg.get("resume")):
        cfg = directory.resumed_config(cfg, launch.overrides)
        ended = read_result(run_dir)
        if ended.status == "running":  # yet nobody else has the lock: it was killed
            ended.status = "interrupted"
    else:
        ended = Result(name=directory.run_name(cfg, choices), model=choices.get("model"))

    def begin() -> None:
        ended.provenance = provenance() | {"seed": cfg.get("seed")}
        ended.status, ended.error, ended.settings = "running", None, flatten_config(cfg)
        if leads:
            own = OmegaConf.merge(cfg, {"resume": None, "name": ended.name})
            if root := OmegaConf.select(own, "data.root"):  # found from another folder too
                own.data.root = str(Path(root).expanduser().absolute())
            with atomic_write(run_dir / directory.CONFIG) as partial:
                OmegaConf.save(own, partial, resolve=True)
            ended.write(run_dir)

    before, handled = replace(ended), sys.exception()
    try:
        if not resumes:
            begin()
        nodes = check(cfg)
        ended.seed = cfg.seed
        with _quiet_lightning():
            experiment.run(cfg, nodes, ended, launch, begin if resumes else None)
        ended.status = "done" if cfg.fit else ended.status  # a test leaves the status of a run as it was
    except Pruned as pruned:
        ended.status, ended.error = "pruned", str(pruned)
        log.info(f"pruned: {pruned}")
        raise
    except BaseException as error:
        stop, said = _stop_behind(error, handled), describe(error) or repr(error)
        if stop is not error:  # into the run's own log only
            what = "while the run was stopped" if stop else "the run failed"
            logging.getLogger("mnist_lab.traceback").exception(what)
        if stop is None:
            ended = replace(ended, status="failed", error=said) if ended.status == "running" else before
            raise
        then = f", and then: {said}" if stop is not error else ""
        if not launch.in_process:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # again, where Lightning has put the handler back
        ended = replace(ended, status="interrupted") if ended.status == "running" else before
        saved = checkpoint_path(run_dir, "last").exists()
        log.warning(f"interrupted{then}; {f'go on with: {command(run_dir)}' if saved else 'nothing was saved yet'}")
        if not leads:  # rank zero says how it ended; Lightning would kill it for another exit code
            sys.exit(0)
        sys.exit(143 if getattr(stop, "code", None) == 143 else 130)
    finally:
        if leads:
            ended.write(run_dir)
    return ended


def _stop_behind(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """The KeyboardInterrupt or SystemExit that ``error`` is, or that it came of.

    Who is stopped while writing a file may raise another error; Lightning makes a SystemExit of a KeyboardInterrupt.
    What was ``handled`` before the run does not count.
    """
    behind: BaseException | None = error
    while behind is not None and behind is not handled:
        exits = isinstance(behind, SystemExit) and (behind is error or behind.code in (130, 143))
        if exits or isinstance(behind, KeyboardInterrupt):
            return behind
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    return None


def _stop(number: int, frame: FrameType | None) -> None:
    """End the program as Ctrl-C does, which says so in the result. Several SIGTERMs, as from Slurm, are one stop."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


@contextlib.contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Keep other processes out of ``run_dir``. The system lifts the lock when this one ends, even if it is killed.

    Raises UserError where another has it. A file system without locks is warned of.
    """
    lock = run_lock(run_dir)
    try:
        if is_rank_zero():
            lock.acquire(timeout=0.5)  # somebody may be asking whether it is held
    except Timeout:
        raise UserError(f"{run_dir}: another process is at work on this run; wait for its end, or stop it") from None
    except (OSError, NotImplementedError) as error:
        log.warning(f"{run_dir}: cannot be locked ({error}); do not start this run twice at once")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning tells everybody at every start, and warnings that are not about the run."""
    loggers = {name: logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")}
    try:
        for name, level in loggers.items():
            logging.getLogger(name).setLevel(max(level, logging.WARNING))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of torch
            warnings.filterwarnings(
                "ignore", message=".*`srun` command.*"
            )  # that Slurm is there does not mean it is wanted
            warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")  # we log on all steps
            warnings.filterwarnings("ignore", message=".*across ranks is zero.*")  # a run may have no validation set
            warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # our sums are over processes already
            yield
    finally:
        for name, level in loggers.items():
            logging.getLogger(name).setLevel(level)
