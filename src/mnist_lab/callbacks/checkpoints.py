"""The two checkpoints of a run: last.ckpt to go on from, best.ckpt by validation accuracy."""

from pathlib import Path

import pytorch_lightning as pl

from mnist_lab.classifier import Batch, DigitClassifier


class Checkpoints(pl.Callback):
    """Keeps ``checkpoints/last.ckpt`` (every ``every_n_steps``, and at the end) and ``best.ckpt`` in the run directory.

    The best is the first with the highest ``val_accuracy``. Files are written under another name and moved into place,
    so a reader never meets half a file.
    """

    def __init__(self, every_n_steps: int = 1000):
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: must be at least 1")
        self.every_n_steps = every_n_steps

    @staticmethod
    def path(trainer: pl.Trainer, name: str) -> Path:
        """Where the checkpoint ``name`` (``last`` or ``best``) of the run lies."""
        return Path(trainer.default_root_dir) / "checkpoints" / f"{name}.ckpt"

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Save the last now and then."""
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer, "last")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best where this is it."""
        assert isinstance(pl_module, DigitClassifier)
        if "val" in pl_module.best and pl_module.best["val"][1] == trainer.global_step:
            self._save(trainer, "best")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last."""
        self._save(trainer, "last")

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        path = self.path(trainer, name)
        trainer.save_checkpoint(path.with_suffix(".tmp"))
        if trainer.is_global_zero:
            path.with_suffix(".tmp").replace(path)
