"""A few moments spread over a run, at which something is shown in TensorBoard."""

import math
import time
from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch

from mnist_lab import drawing
from mnist_lab.classifier import Batch, DigitClassifier
from mnist_lab.loggers import TensorBoard

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def has_tensorboard(trainer: pl.Trainer) -> bool:
    """Whether the run is logged to TensorBoard, on whatever process."""
    return any(isinstance(logger, TensorBoard) for logger in trainer.loggers)


def writer(trainer: pl.Trainer) -> "SummaryWriter | None":
    """Where TensorBoard's data goes; None without TensorBoard, and on processes that keep no records."""
    if not trainer.is_global_zero:
        return None
    return next((logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoard)), None)


def add_picture(to: "SummaryWriter", tag: str, picture: drawing.Picture, step: int) -> None:
    """Hand a picture to TensorBoard."""
    to.add_image(tag, picture, step, dataformats="HWC")


class Moments(pl.Callback):
    """Calls :meth:`show` ``times`` times in a run, from its first step on, and once more at its end.

    The spacing is counted in steps: a tenth of the run's, for 10. Between the first step and the end, one that finds
    more than ``share`` of the training time spent on this already is left out: a run of a second is shown twice. It is
    called with dropout off and without gradients, and whatever it does, the run goes on as it would have without.
    """

    def __init__(self, times: int, share: float):
        if times < 1:
            raise ValueError(f"times={times}: must be at least 1; leave the callback out for none, as in ...=null")
        if not 0 < share <= 1:
            raise ValueError(f"share={share}: must be above 0 and at most 1")
        self.times, self.share = times, share
        self._every, self._began = 1, 0
        self._since = self._spent = 0.0  # when training began; seconds spent here

    def show(self, writer: "SummaryWriter", model: DigitClassifier, batch: Batch) -> None:
        """Show what there is to show at the step ``model.global_step``, of which ``batch`` is the batch."""
        raise NotImplementedError

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Spread the moments."""
        self._every, self._began = math.ceil(trainer.max_steps / self.times), trainer.global_step
        self._since, self._spent = time.perf_counter(), 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Show, before a step that is due. Where a run goes on, its first step was shown before."""
        step = trainer.global_step
        if step % self._every or not (step > self._began or step == 0):
            return
        if step == 0 or self._spent <= self.share * (time.perf_counter() - self._since):
            self._show(trainer, pl_module, batch)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Show, after the last step; an interruption makes any the last."""
        if trainer.global_step >= trainer.max_steps:
            self._show(trainer, pl_module, batch)

    def _show(self, trainer: pl.Trainer, model: pl.LightningModule, batch: Batch) -> None:
        if (to := writer(trainer)) is None:
            return
        assert isinstance(model, DigitClassifier)
        began = time.perf_counter()
        model.eval()
        with torch.no_grad():
            self.show(to, model, batch)
        model.train()
        self._spent += time.perf_counter() - began
