"""The life of a run: its directory, its status, its signals, its record. Every run goes through :func:`record`."""

import contextlib
import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_lab import experiment
from mnist_lab.config import check, config_folder, flatten_config
from mnist_lab.errors import Pruned, UserError, describe, exit_on_user_error
from mnist_lab.runs import directory
from mnist_lab.runs.atomic import atomic_write
from mnist_lab.runs.directory import Launch
from mnist_lab.runs.provenance import provenance
from mnist_lab.runs.result import Result, next_commands
from mnist_lab.runs.run import Run, checkpoint_path

log = logging.getLogger(__name__)
one_at_a_time = threading.RLock()  # Hydra's state, the random generators, warnings and log levels are the process's


def run(cfg: DictConfig) -> float | None:
    """Run what ``cfg`` says in Hydra's output directory; the best validation accuracy, for sweeps to go by.

    An error that the user can mend ends the program in one line; a job of a sweep raises it.
    """
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, is no reason to print tracebacks
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # like Ctrl-C: say so in the result
    if not experiment.is_rank_zero():
        logging.getLogger().setLevel(logging.WARNING)
    hydra = HydraConfig.get()
    run_dir, in_sweep = Path(hydra.runtime.output_dir), hydra.mode == RunMode.MULTIRUN
    with contextlib.nullcontext() if in_sweep else exit_on_user_error():
        if "TORCHELASTIC_RUN_ID" in os.environ and not any("hydra.run.dir=" in o for o in hydra.overrides.hydra):
            raise UserError("torchrun: its processes need one directory: name it with hydra.run.dir=outputs/...")
        if OmegaConf.select(cfg, "sweep.resume") and not in_sweep:
            raise UserError("sweep.resume: is for --multirun; a single run goes on with resume=<run directory>")
        launch = Launch(run_dir, hydra.runtime.choices, list(hydra.overrides.task), in_sweep=in_sweep)
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
        record(cfg, Launch(run_dir, hydra.runtime.choices, list(hydra.overrides.task), in_process=True))
    except SystemExit as stop:  # Lightning makes one of a KeyboardInterrupt, and ignores further ones
        raise KeyboardInterrupt from stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Run(run_dir, trust=None)


def record(cfg: DictConfig, launch: Launch) -> Result:
    """Run, with ``result.json`` saying all along how it stands: running, then done, failed, interrupted or pruned."""
    run_dir, choices = launch.run_dir, launch.choices
    if cfg.get("resume"):
        cfg = directory.resumed_config(cfg, launch.overrides)
        ended = Result.read(run_dir)
    else:
        ended = Result(name=directory.run_name(cfg, choices), model=choices.get("model"), seed=cfg.get("seed"))
    fit = bool(cfg.get("fit", True))  # a test leaves the status of a run as it was
    if fit:
        ended.provenance = provenance() | {"seed": cfg.get("seed")}
        ended.status, ended.error, ended.settings = "running", None, flatten_config(cfg)
    try:
        nodes = check(cfg)
        if fit and experiment.is_rank_zero():
            with atomic_write(run_dir / directory.CONFIG) as partial:
                OmegaConf.save(OmegaConf.merge(cfg, {"resume": None}), partial, resolve=True)
            ended.write(run_dir)
        with _quiet_lightning():
            experiment.run(cfg, nodes, ended, launch)
        ended.status = "done" if fit else ended.status
    except Pruned as pruned:
        ended.status, ended.error = "pruned", str(pruned)
        log.info(f"pruned: {pruned}")
        raise
    except Exception as error:
        if fit:
            ended.status, ended.error = "failed", describe(error) or repr(error)
        logging.getLogger("mnist_lab.traceback").exception("the run failed")  # into the run's own log only
        raise
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning makes the one into the other
        ended.status = "interrupted" if fit else ended.status
        go_on = f"go on with: python train.py resume={shlex.quote(os.path.relpath(run_dir))}"
        log.warning(f"interrupted; {go_on if checkpoint_path(run_dir, 'last').exists() else 'nothing was saved yet'}")
        sys.exit(143 if getattr(stop, "code", None) == 143 else 130)
    finally:
        if experiment.is_rank_zero():
            ended.write(run_dir)
    return ended


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning tells everybody at every start, and warnings that are not about the run."""
    loggers = {name: logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")}
    try:
        for name, level in loggers.items():
            logging.getLogger(name).setLevel(max(level, logging.WARNING))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of torch
            warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")  # we log on all steps
            warnings.filterwarnings("ignore", message=".*across ranks is zero.*")  # a run may have no validation set
            warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # our sums are over processes already
            yield
    finally:
        for name, level in loggers.items():
            logging.getLogger(name).setLevel(level)
