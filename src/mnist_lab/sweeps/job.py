"""A job of a sweep, around the run that it is."""

import logging
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import TaskFunction
from omegaconf import DictConfig

from mnist_lab.config import flatten_config
from mnist_lab.errors import Pruned, UserError
from mnist_lab.runs.directory import CONFIG, MAY_CHANGE, checkpoint_path
from mnist_lab.runs.result import FILE, Result
from mnist_lab.runs.run import read_result

log = logging.getLogger(__name__)
_LIFECYCLE = "mnist_lab.runs.lifecycle"  # the name of a log: how the run ended, and how it alone goes on


def train(cfg: DictConfig) -> float | None:
    """What ``train.py`` does with ``cfg``."""
    from mnist_lab.runs.lifecycle import run  # here, because the process of the sweep does without torch

    return run(cfg)


class SweepJob:
    """Calls ``task_function``, unless an earlier start of the same sweep has done the job.

    A job that was interrupted or failed goes on from its last checkpoint. Its log has all that it says; on the console
    there are warnings only, each once: the sweep tells how its jobs ended, and how it goes on.
    """

    def __init__(self, task_function: TaskFunction):
        self.task_function = task_function
        self._warnings: set[str] = set()

    def __call__(self, cfg: DictConfig) -> Any:
        """What the run returns; None where it was pruned."""
        run_dir = Path(HydraConfig.get().runtime.output_dir)
        for handler in logging.getLogger().handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(self._is_news)
        if before := earlier_result(cfg, run_dir):
            if before.status in ("done", "pruned"):
                return before.best_val_accuracy
            cfg.resume = str(run_dir) if checkpoint_path(run_dir, "last").exists() else None
        try:
            return self.task_function(cfg)
        except Pruned:
            return None

    def _is_news(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        news = record.levelno >= logging.WARNING and record.name != _LIFECYCLE and said not in self._warnings
        self._warnings.add(said)
        return news


def earlier_result(cfg: DictConfig, run_dir: Path) -> Result | None:
    """What an earlier start of the job ``cfg`` has left in ``run_dir``; None where that is nothing that can be read.

    Raises UserError where a run of other settings lies there.
    """
    if not (run_dir / FILE).exists() and not (run_dir / CONFIG).exists():
        return None
    try:
        before = read_result(run_dir)
    except UserError as error:
        log.warning(f"{error}; the job runs again")
        return None
    if before.settings:  # none: it died before it began
        _check_same_settings(run_dir, before.settings, flatten_config(cfg))
    return before


def _check_same_settings(run_dir: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise UserError where a run of other settings lies in ``run_dir``, saying what differs."""
    different = [key for key in {**now, **then} if now.get(key) != then.get(key) and key not in MAY_CHANGE]
    if different:
        changes = ", ".join(f"{key} ({then.get(key)}, now {now.get(key)})" for key in different[:3])
        raise UserError(
            f"{run_dir}: holds a run of other settings: {changes}; repeat the sweep's own command, "
            "or name another hydra.sweep.dir"
        )
