"""Stops a run whose loss is no longer a number."""

import math

import pytorch_lightning as pl
from torch import Tensor

from mnist_lab.callbacks.checkpoints import Checkpoints
from mnist_lab.classifier import DigitClassifier
from mnist_lab.errors import UserError


class NanGuard(pl.Callback):
    """Looks at every training loss before it reaches the weights, and ends the run with the likely cause.

    The weights as they are then, the last good ones, are kept in ``checkpoints/before_nan.ckpt``. Where a gradient that
    is no number has spoilt them the step before, with a loss still finite, ``last.ckpt`` holds the last good ones.

    On a GPU each look waits for the step to finish, so there it looks every ``every_n_steps_on_gpu`` steps.
    """

    def __init__(self, every_n_steps_on_gpu: int = 50):
        if every_n_steps_on_gpu < 1:
            raise ValueError(f"every_n_steps_on_gpu={every_n_steps_on_gpu}: must be at least 1")
        self.every_n_steps_on_gpu = every_n_steps_on_gpu

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Raise UserError where the loss is NaN or infinite."""
        step = trainer.global_step
        if (loss.is_cuda and step % self.every_n_steps_on_gpu) or math.isfinite(loss.item()):
            return
        assert isinstance(pl_module, DigitClassifier)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        cure = (
            "the written-out cross-entropy takes log(0); loss.written_out=false computes it from logits, safely"
            if pl_module.loss.written_out
            else f"a learning rate of {rate:g} is likely too high; try optim.lr={rate / 10:g}"
        )
        batch = step % pl_module.trainer.datamodule.steps_per_epoch  # type: ignore[attr-defined]
        Checkpoints.save(trainer, "before_nan")
        raise UserError(f"the training loss is {loss.item()} at step {step}, batch {batch} of its pass: {cure}")
