"""The base of callbacks that write something to TensorBoard a few times in a run."""

import math
import time
from typing import Any

import pytorch_lightning as pl
import torch

from mnist_lab.classifier import Batch, DigitClassifier
from mnist_lab.tensorboard.logger import TensorBoard, find_logger


class PeriodicLogger(pl.Callback):
    """Calls :meth:`show` ``times`` times in a run, at equal distances from its first step on, and once at its end.

    Calls between the first and the last are left out while :meth:`show` has taken more than ``max_overhead`` (0 to 1)
    of the training time, so a run of a second gets two. It runs with dropout off and without gradients, and must not
    change the model. Raises ValueError for numbers out of range.
    """

    in_sweeps = False

    def __init__(self, times: int, max_overhead: float):
        if times < 1:
            raise ValueError(f"times={times}: must be at least 1; to switch the callback off, set it to null")
        if not 0 < max_overhead <= 1:
            raise ValueError(f"max_overhead={max_overhead}: must be above 0 and at most 1")
        self.times, self.max_overhead = times, max_overhead

    def show(self, logger: TensorBoard, model: DigitClassifier, batch: Batch) -> None:
        """Write what there is to show at step ``model.global_step``, whose batch is ``batch``."""
        raise NotImplementedError

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._every, self._first_step = math.ceil(trainer.max_steps / self.times), trainer.global_step
        self._began, self._spent = time.perf_counter(), 0.0  # when training began; seconds spent here

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, *_: Any) -> None:
        step = trainer.global_step
        in_time = self._spent <= self.max_overhead * (time.perf_counter() - self._began)
        # Where a run goes on, its first step was shown before.
        if step == 0 or (step % self._every == 0 and step > self._first_step and in_time):
            self._show(trainer, pl_module, batch)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, *_: Any) -> None:
        if trainer.global_step >= trainer.max_steps:
            self._show(trainer, pl_module, batch)

    def _show(self, trainer: pl.Trainer, model: DigitClassifier, batch: Batch) -> None:
        logger = find_logger(trainer)
        if logger is None:
            return
        began = time.perf_counter()
        model.eval()
        with torch.no_grad():
            self.show(logger, model, batch)
        model.train()
        self._spent += time.perf_counter() - began
