"""The checkpoints of a run: last.ckpt to go on from, best.ckpt by validation accuracy."""

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from mnist_lab.runs.atomic import atomic_write
from mnist_lab.runs.directory import checkpoint_path


class Checkpoints(pl.Callback):
    """Keeps ``last.ckpt``, the one before it as ``previous.ckpt``, and ``best.ckpt`` in the run's folder checkpoints.

    The last is saved every ``every_n_steps``, every ``every_n_minutes`` if set (in a run of one process), and at the
    end; the weights of the steps in ``keep`` stay, as ``step100.ckpt``. The best is the first with the highest
    ``val_accuracy``. A reader never meets half a file. Loggers are flushed before each save, so no checkpoint is ahead
    of the curves.
    """

    def __init__(self, every_n_steps: int = 1000, every_n_minutes: float | None = None, keep: list[int] | None = None):
        for name, value in {"every_n_steps": every_n_steps, "every_n_minutes": every_n_minutes}.items():
            if value is not None and value <= 0:
                raise ValueError(f"{name}={value}: must be above 0")
        self.every_n_steps, self.every_n_seconds = every_n_steps, 60 * (every_n_minutes or math.inf)
        self._saved_at, self.keep = time.monotonic(), keep or []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        alone = trainer.world_size == 1  # the clocks of several processes differ
        late = alone and time.monotonic() > self._saved_at + self.every_n_seconds
        if late or trainer.global_step % self.every_n_steps == 0:
            self._saved_at = time.monotonic()
            save_checkpoint(trainer, "last")
        if trainer.global_step in self.keep:
            save_checkpoint(trainer, f"step{trainer.global_step}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if "val" in pl_module.best and pl_module.best["val"][1] == trainer.global_step:
            save_checkpoint(trainer, "best")

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        save_checkpoint(trainer, "last")


def save_checkpoint(trainer: pl.Trainer, name: str) -> None:
    """Save the run under ``name``, unless a weight is NaN or Inf. Raises OSError where it cannot be written."""
    if not all(p.isfinite().all() for p in trainer.lightning_module.parameters()):
        return
    for logger in trainer.loggers:
        logger.save()
    path = checkpoint_path(Path(trainer.default_root_dir), name)
    with atomic_write(path) if trainer.is_global_zero else contextlib.nullcontext(path) as partial:
        trainer.save_checkpoint(partial)
        if name == "last" and trainer.is_global_zero and path.exists():
            path.replace(path.with_name("previous.ckpt"))
