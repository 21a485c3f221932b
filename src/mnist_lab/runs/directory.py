"""Run directories: what a run is called, where it lies, and the config of one that goes on."""

import os
import pydoc
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mnist_lab.config import GROUPS, MAY_BE_EMPTY
from mnist_lab.errors import UserError

CONFIG = "config.yaml"
# What may change when a run goes on; everything else is the run's own.
MAY_CHANGE = ("resume", "trust", "sweep.resume", "fit", "test", "checkpoint", "trainer.max_steps", "data.root")
# Where it runs, which may change too: of an option trainer=... these are taken, and nothing else.
DEVICES = tuple(f"trainer.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy", "sync_batchnorm"))


@dataclass(frozen=True)
class Launch:
    """How a run was started: what Hydra knows of it beside its config."""

    run_dir: Path
    choices: Mapping[str, Any]  # the option that was chosen in each group
    overrides: Sequence[str]  # what was changed
    in_sweep: bool = False
    in_process: bool = False  # of somebody else, who keeps the signals


def register_resolvers() -> None:
    """Let the next config say ``${run_name:}``, ``${run_dir:}`` and ``${sweep_dir:}``."""
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"  # the same at every look, and no other run's

    def sweep_dir(before: str | None) -> str:
        if before and not (Path(before) / "multirun.yaml").exists():
            raise UserError(f"sweep.resume={before}: is not the directory of a sweep; name one, as outputs/sweeps/...")
        return before or f"outputs/sweeps/{stamp}"

    def name(*, _root_: DictConfig) -> str:
        return run_name(_root_, _root_.hydra.runtime.choices)

    def run_dir(*, _root_: DictConfig) -> str:
        return str(run_directory(_root_.resume)) if _root_.get("resume") else f"outputs/{name(_root_=_root_)}/{stamp}"

    OmegaConf.register_new_resolver("run_name", name, replace=True)
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", sweep_dir, replace=True, use_cache=True)  # one for all its jobs


def run_name(cfg: DictConfig, choices: Mapping[str, Any]) -> str:
    """What the run is called: ``name``, else the experiment, else the model.

    Raises UserError for a name that is not one part of a path: it would lead out of outputs/.
    """
    name, experiment = cfg.get("name"), choices.get("experiment")
    if name is None:
        return str(experiment if experiment not in (None, "null") else choices.get("model"))
    if not re.fullmatch(r'[^<>:"/\\|?*\x00-\x1f]*[^<>:"/\\|?*\x00-\x1f. ]', str(name)):
        raise UserError(f'name={name}: must be the name of one folder, without / \\ : * ? " < > | and no . at its end')
    return str(name)


def checkpoint_path(run_dir: Path, name: str) -> Path:
    """Where a checkpoint lies: ``last``, ``previous`` (the last before it), ``best``, ``before_nan``."""
    return run_dir / "checkpoints" / f"{name}.ckpt"


def run_lock(run_dir: Path) -> FileLock:
    """The lock that a process holds while it works on the run. It is had at once, or raises filelock's Timeout."""
    return FileLock(run_dir / ".lock", timeout=0, fallback_to_soft=False)


def find_run(path: str | Path, trained: bool = False) -> Path:
    """``path``; where its last part is ``latest``, the run beside it that was started, or went on, last.

    ``trained`` prefers those that have kept weights. A word and not a link, since everything that follows links, such
    as TensorBoard, would show that run twice. Raises UserError where there is no run beside it.
    """
    path = Path(path).expanduser()
    if path.name != "latest" or path.exists():
        return path
    started = sorted(path.parent.glob(f"*/{CONFIG}"), key=lambda config: (config.stat().st_mtime_ns, config))
    if not started:
        others = sorted({config.parents[1].name for config in path.parent.parent.glob(f"*/*/{CONFIG}")})
        there = f"; there are runs of {', '.join(others)}" if others else ""
        raise UserError(f"{path}: there is no run in {path.parent}{there}")
    runs = [config.parent for config in started]
    kept = [run for run in runs if checkpoint_path(run, "last").exists()] if trained else []
    return (kept or runs)[-1]


def run_directory(resume: str) -> Path:
    """The run directory that ``resume`` names: itself, or the one its checkpoint file lies in.

    Raises UserError where there is no run.
    """
    path = find_run(str(resume), trained=True)
    folder = path.parent.parent if path.suffix == ".ckpt" else path
    for needed in {path, folder, folder / CONFIG}:
        if not needed.exists():
            raise UserError(f"resume={resume}: {needed} does not exist; name a run directory or a checkpoint in one")
    return folder


def read_run_config(run_dir: Path, trust: Sequence[str] | None = ()) -> DictConfig:
    """The config of the run in ``run_dir``.

    Raises UserError for one that is damaged, or that names targets which are neither ours nor of a package in
    ``trust``: it may come from a stranger. None trusts all, for a config of the caller's own.
    """
    path = run_dir / CONFIG
    try:
        own = OmegaConf.load(path)
        OmegaConf.resolve(own)
    except (YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    sections = [key for key in GROUPS if key not in MAY_BE_EMPTY]
    if not isinstance(own, DictConfig) or not all(isinstance(own.get(key), DictConfig) for key in sections):
        raise UserError(f"{path}: damaged, not the config of a run; {', '.join(sections)} must each be there")
    if strange := [key for key in MAY_BE_EMPTY if not isinstance(own.get(key), DictConfig | None)]:
        raise UserError(f"{path}: damaged, {strange[0]} is not a section")
    for target in _targets(own) if trust is not None else ():
        _check_target(target, path, trust or ())
    return own


def resumed_config(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config of the run that ``cfg.resume`` names, with the changes in ``overrides`` that a run allows.

    Raises UserError for any other change, saying what differs.
    """
    cfg.resume = str(find_run(str(cfg.resume), trained=True))
    own = read_run_config(run_directory(cfg.resume), list(cfg.trust))
    keys = ["resume", "trust", *(override.split("=")[0].lstrip("+~") for override in overrides)]
    if root := own.data.get("root"):  # the data may have moved since: what is said now wins, or a folder that is gone
        moved = "data.root" in keys or "MNIST_LAB_DATA" in os.environ or not Path(root).expanduser().exists()
        cfg.data.root = own.data.root = cfg.data.root if moved else root
    for key in keys:
        now, then = OmegaConf.select(cfg, key), OmegaConf.select(own, key)
        if key in MAY_CHANGE + DEVICES:
            OmegaConf.update(own, key, now)
        elif key == "trainer" and now:
            own.trainer.update({name: value for name, value in now.items() if f"trainer.{name}" in DEVICES})
        elif key.partition(".")[0] == "view":  # as a whole: its keys depend on where it shows
            own.view = cfg.get("view")
        elif now != then:
            differs = f"{then} there, {now} here" if not isinstance(now, DictConfig) else "not the same there and here"
            raise UserError(f"{key}: a run goes on with its own config ({differs}); leave {key} out or start a new run")
    return own


# Where the classes must be defined that a config from elsewhere may make.
_OURS = {"networks", "classifier", "schedules", "data", "augment", "callbacks"}
_OURS |= {"tensorboard", "view", "sweeps", "speed"}
_HARMLESS = (*(f"mnist_lab.{name}" for name in _OURS), "torch.optim", "pytorch_lightning.trainer")


def _targets(node: Any) -> Iterator[str]:
    """The targets that ``node`` names, at any depth."""
    values = node.values() if isinstance(node, DictConfig) else node if isinstance(node, ListConfig) else ()
    for value in values:
        yield from _targets(value)
    if isinstance(node, DictConfig) and node.get("_target_"):
        yield str(node["_target_"])


def _check_target(name: str, path: Path, trust: Sequence[str]) -> None:
    """Raise UserError unless ``name`` is a class of ours, of torch.optim or of a package in ``trust``.

    The name alone says little: a module that imports os is a way to os.system. Only what it leads to counts.
    """
    known = name.startswith(("mnist_lab.", "torch.optim.", "pytorch_lightning.Trainer", *trust))
    target = pydoc.locate(name) if known else None
    home = f"{getattr(target, '__module__', '')}."
    if not isinstance(target, type) or not home.startswith(tuple(f"{package}." for package in (*_HARMLESS, *trust))):
        other = "a run of another version of mnist_lab cannot go on; " if name.startswith("mnist_lab.") else ""
        raise UserError(
            f"{path}: names {name}, which is not a class of mnist_lab or torch.optim; {other}"
            "where it is your own, allow its package: trust=[package] for train.py, --trust package for predict, "
            'export, ensemble and explore, in Python mnist_lab.load(run, trust=["package"])'
        )
