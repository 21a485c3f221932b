"""Run directories: what a run is called, where it lies, and how to go on with one."""

import logging
import os
import pickle
import pydoc
import uuid
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mnist_lab.config import GROUPS, WATCHING
from mnist_lab.errors import UserError

log = logging.getLogger(__name__)

# What may change when a run goes on; everything else is the run's own.
MAY_CHANGE = ("resume", "trust", "sweep.resume", "fit", "test", "checkpoint", "trainer.max_steps", "data.root")
# Simultaneous runs get different folders, and every look at ${run_dir:} in one process the same. The processes that
# Slurm starts together for one training share theirs.
_TOGETHER = int(os.environ.get("SLURM_NTASKS") or 1) > 1
_STAMP = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}" if not _TOGETHER else os.environ["SLURM_JOB_ID"]


def register() -> None:
    """Let the config say ``${run_name:}``, ``${run_dir:}`` and ``${sweep_dir:}``."""
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", _sweep_dir, replace=True, use_cache=True)  # one for all its jobs


def _run_name(*, _root_: DictConfig) -> str:
    return name(_root_, _root_.hydra.runtime.choices)


def _run_dir(*, _root_: DictConfig) -> str:
    if _root_.get("resume"):
        return str(directory(_root_.resume))
    return f"outputs/{_run_name(_root_=_root_)}/{_STAMP}"


def _sweep_dir(before: str | None) -> str:
    if before and not (Path(before) / "multirun.yaml").exists():
        raise UserError(f"sweep.resume={before}: is not the directory of a sweep; name one, such as outputs/sweeps/...")
    return before or f"outputs/sweeps/{_STAMP}"


def name(cfg: DictConfig, choices: Mapping[str, Any]) -> str:
    """What the run is called: ``name``, else the experiment, else the model."""
    experiment = choices.get("experiment")
    return str(cfg.get("name") or (experiment if experiment not in (None, "null") else choices["model"]))


def directory(resume: str) -> Path:
    """The run directory that ``resume`` names: itself, or the one its checkpoint file lies in.

    Raises UserError where there is no run.
    """
    path = Path(resume).expanduser()
    folder = path.parent.parent if path.suffix == ".ckpt" else path
    for needed in {path, folder, folder / "config.yaml"}:
        if not needed.exists():
            raise UserError(
                f"resume={resume}: {needed} does not exist; name a run directory, or a checkpoint file in one"
            )
    return folder


def own_config(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config of the run that ``cfg.resume`` names, with the changes on the command line that a run allows.

    Raises UserError for any other change, saying what differs, and for a config that is damaged or names targets that
    are neither ours nor trusted: it may come from a stranger.
    """
    path = directory(cfg.resume) / "config.yaml"
    try:
        own = OmegaConf.load(path)
        OmegaConf.resolve(own)
    except (YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    sections = [key for key in GROUPS if key not in WATCHING]
    if not isinstance(own, DictConfig) or not all(isinstance(own.get(key), DictConfig) for key in sections):
        raise UserError(f"{path}: damaged, not the config of a run; {', '.join(sections)} must each be there")
    for key in WATCHING:
        if not isinstance(own.get(key), DictConfig | None):
            raise UserError(f"{path}: damaged, {key} is not a section")
    _check_targets(own, str(path), list(cfg.trust))
    for key in ["resume", "trust", *(override.split("=")[0].lstrip("+~") for override in overrides)]:
        now, then = OmegaConf.select(cfg, key), OmegaConf.select(own, key)
        if key in MAY_CHANGE:
            OmegaConf.update(own, key, now)
        elif key.partition(".")[0] == "view":  # as one whole: its keys depend on where it shows
            own.view = cfg.view
        elif now != then:
            differs = f"{then} there, {now} here" if not isinstance(now, DictConfig) else "not the same there and here"
            raise UserError(f"{key}: a run goes on with its own config ({differs}); leave {key} out or start a new run")
    return own


# What a config from elsewhere may make: classes that are defined in these modules.
_OURS = tuple(f"mnist_lab.{name}" for name in ("networks", "classifier", "schedules", "data", "callbacks", "loggers"))
_HARMLESS = (*_OURS, "torch.optim", "pytorch_lightning.trainer")


def _check_targets(node: Any, path: str, trust: list[str]) -> None:
    """Raise UserError unless each ``_target_`` in ``node`` is a class of ours, of torch.optim or a trusted package."""
    if isinstance(node, DictConfig):
        name = str(node.get("_target_", ""))
        if name:
            # The name alone says little: a module that imports os is a way to os.system. Only what it leads to counts.
            allowed = (*_HARMLESS, *trust)
            known = name.startswith(("mnist_lab.", "torch.optim.", "pytorch_lightning.Trainer", *trust))
            target = pydoc.locate(name) if known else None
            home = getattr(target, "__module__", "")
            if not isinstance(target, type) or not any(home == a or home.startswith(f"{a}.") for a in allowed):
                raise UserError(
                    f"{path}: names {name}, which is not a class of mnist_lab or torch.optim; "
                    "where it is your own, allow its package with trust=[package]"
                )
        for key in node:
            _check_targets(node[key], path, trust)
    elif isinstance(node, ListConfig):
        for item in node:
            _check_targets(item, path, trust)


def checkpoint(resume: str, which: str) -> Path:
    """The checkpoint to load: ``resume`` itself where it names a file, else the directory's ``which`` (last, best).

    A damaged last one is replaced by the one before it, with a warning. Raises UserError where none can be read.
    """
    path = Path(resume).expanduser()
    path = path if path.suffix == ".ckpt" else path / "checkpoints" / f"{which}.ckpt"
    fault = damage(path)
    if fault is None:
        return path
    before = path.with_name("previous.ckpt")
    if path.name == "last.ckpt" and damage(before) is None:
        log.warning(f"{path}: {fault}; going on from the one before it, {before.name}")
        return before
    raise UserError(f"{path}: {fault}; name another checkpoint of the run, or start a new run")


def damage(path: Path) -> str | None:
    """What is wrong with the checkpoint at ``path``; None if it is whole and holds tensors and plain values."""
    import torch  # here, because composing a config needs this module but not torch

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                return "larger inside than outside, refused"
            if broken := archive.testzip():
                return f"damaged, {broken} fails its checksum"
        loaded = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except FileNotFoundError:
        return "does not exist; the run has kept no such checkpoint"
    except pickle.UnpicklingError:
        return "holds more than tensors and plain values, refused: loading it could run code"
    except Exception as error:  # whatever a damaged archive makes of zipfile and torch
        return f"damaged ({type(error).__name__})"
    needed = {"state_dict", "optimizer_states", "loops", "global_step", "best", "random_state"}
    missing = needed - loaded.keys() if isinstance(loaded, dict) else needed
    return f"not a checkpoint of a run, {', '.join(sorted(missing))} missing" if missing else None


def step_of(path: Path) -> int:
    """The step at which a checkpoint was saved."""
    import torch  # as above

    return int(torch.load(path, weights_only=True, map_location="cpu", mmap=True)["global_step"])
