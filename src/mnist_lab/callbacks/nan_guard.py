"""Stops a run whose loss is NaN or infinite."""

import math
import sys
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from mnist_lab.callbacks.checkpoints import save_checkpoint
from mnist_lab.errors import UserError


class NanGuard(pl.Callback):
    """Checks every training loss before it reaches the weights, and ends the run with the likely cause.

    The weights as they are then, the last good ones, are kept in ``checkpoints/before_nan.ckpt``. Where a NaN gradient
    has spoilt them the step before, with a loss still finite, ``last.ckpt`` holds the last good ones. On a GPU each
    check waits for the step to finish, so there it checks every ``every_n_steps_on_gpu`` steps.
    """

    def __init__(self, every_n_steps_on_gpu: int = 50):
        if every_n_steps_on_gpu < 1:
            raise ValueError(f"every_n_steps_on_gpu={every_n_steps_on_gpu}: must be at least 1")
        self.every_n_steps_on_gpu = every_n_steps_on_gpu

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        step = trainer.global_step
        if (loss.device.type != "cpu" and step % self.every_n_steps_on_gpu) or math.isfinite(loss.item()):
            return
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        cure = f"a learning rate of {lr:g} is likely too high; try optim.lr={lr / 10:g}"
        if getattr(pl_module.loss, "written_out", False):
            cure = "the written-out cross-entropy takes log(0); loss.written_out=false computes it from logits, safely"
        batch = step % pl_module.trainer.datamodule.steps_per_epoch
        save_checkpoint(trainer, "before_nan")
        if not trainer.is_global_zero:  # the loss is that of all processes: one of them says so
            sys.exit(1)
        raise UserError(f"the training loss is {loss.item()} at step {step}, batch {batch} of its epoch: {cure}")
