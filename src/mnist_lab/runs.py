"""Run directories: what a run is called, where it lies, and how to go on with one."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.errors import UserError

# What may change when a run goes on; everything else is the run's own.
MAY_CHANGE = ("resume", "fit", "test", "checkpoint", "trainer.max_steps", "data.root")
# Simultaneous runs get different folders, and every look at ${run_dir:} in one process the same.
_STAMP = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


def register() -> None:
    """Let the config say ``${run_name:}`` and ``${run_dir:}``."""
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)


def _run_name(*, _root_: DictConfig) -> str:
    return name(_root_, _root_.hydra.runtime.choices)


def _run_dir(*, _root_: DictConfig) -> str:
    if _root_.get("resume"):
        return str(directory(_root_.resume))
    return f"outputs/{_run_name(_root_=_root_)}/{_STAMP}"


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

    Raises UserError for any other change, saying what differs.
    """
    own = OmegaConf.load(directory(cfg.resume) / "config.yaml")
    assert isinstance(own, DictConfig)
    for key in ["resume", *(override.split("=")[0].lstrip("+~") for override in overrides)]:
        now, then = OmegaConf.select(cfg, key), OmegaConf.select(own, key)
        if key in MAY_CHANGE:
            OmegaConf.update(own, key, now)
        elif now != then:
            differs = f"{then} there, {now} here" if not isinstance(now, DictConfig) else "not the same there and here"
            raise UserError(f"{key}: a run goes on with its own config ({differs}); leave {key} out or start a new run")
    return own


def step_of(path: Path) -> int:
    """The step at which a checkpoint was saved."""
    import torch  # here, because composing a config needs this module but not torch

    return int(torch.load(path, weights_only=True, map_location="cpu", mmap=True)["global_step"])


def checkpoint(resume: str, which: str) -> Path:
    """The checkpoint to load: ``resume`` itself where it names a file, else the directory's ``which`` (last, best)."""
    path = Path(resume).expanduser()
    path = path if path.suffix == ".ckpt" else path / "checkpoints" / f"{which}.ckpt"
    if not path.exists():
        raise UserError(f"{path}: does not exist; the run has kept no such checkpoint")
    return path
