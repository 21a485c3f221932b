"""The checkpoints of a run: last.ckpt to go on from, best.ckpt by validation accuracy."""

import contextlib
import os
import time
from pathlib import Path

import pytorch_lightning as pl

from mnist_lab.classifier import Batch, DigitClassifier
from mnist_lab.files import whole


class Checkpoints(pl.Callback):
    """Keeps ``last.ckpt``, the one before it as ``previous.ckpt``, and ``best.ckpt`` in the run's folder checkpoints.

    The last is saved every ``every_n_steps``, every ``every_n_minutes`` if set (in a run of one process), and at the
    end. The best is the first with the highest ``val_accuracy``. A reader never meets half a file, and what the loggers
    hold is written first, so no checkpoint is ahead of the curves.
    """

    def __init__(self, every_n_steps: int = 1000, every_n_minutes: float | None = None):
        for name, value in {"every_n_steps": every_n_steps, "every_n_minutes": every_n_minutes}.items():
            if value is not None and value <= 0:
                raise ValueError(f"{name}={value}: must be above 0")
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self._saved_at = time.monotonic()

    @staticmethod
    def path(trainer: pl.Trainer, name: str) -> Path:
        """Where the checkpoint ``name`` (``last`` or ``best``) of the run lies."""
        return Path(trainer.default_root_dir) / "checkpoints" / f"{name}.ckpt"

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Save the last now and then."""
        if trainer.global_step % self.every_n_steps == 0 or self._minutes_are_over(trainer):
            self._saved_at = time.monotonic()
            self.save(trainer, "last")

    def _minutes_are_over(self, trainer: pl.Trainer) -> bool:
        if self.every_n_minutes is None or trainer.world_size > 1:  # the clocks of several processes differ
            return False
        return time.monotonic() > self._saved_at + 60 * self.every_n_minutes

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best where this is it."""
        assert isinstance(pl_module, DigitClassifier)
        if "val" in pl_module.best and pl_module.best["val"][1] == trainer.global_step:
            self.save(trainer, "best")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last."""
        self.save(trainer, "last")

    @classmethod
    def save(cls, trainer: pl.Trainer, name: str) -> None:
        """Save the run as it is now under ``name``, unless weights are no numbers: then what is there is better.

        Raises OSError where it cannot be written.
        """
        if not all(p.isfinite().all() for p in trainer.lightning_module.parameters()):
            return
        for logger in trainer.loggers:
            logger.save()
        path = cls.path(trainer, name)
        with whole(path) if trainer.is_global_zero else contextlib.nullcontext(path) as partial:
            trainer.save_checkpoint(partial)
            if name == "last" and trainer.is_global_zero and path.exists():
                os.replace(path, path.with_name("previous.ckpt"))  # noqa: PTH105
