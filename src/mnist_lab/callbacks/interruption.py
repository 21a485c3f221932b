"""Ctrl-C and SIGTERM end a run between two steps, so that it can go on exactly."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from mnist_lab.classifier import Batch


class Interruption(pl.Callback):
    """Lets the first SIGINT or SIGTERM end training after the step in hand; a second one ends the program at once.

    ``signal`` is the number of the one received, if any.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Stop here, all processes at the same step. Lightning's own way to stop would validate first."""
        stop = self.signal is not None
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
            self.signal = self.signal or (signal.SIGTERM if stop else None)
        if stop:
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Listen no more."""
        self.on_train_end(trainer, pl_module)
