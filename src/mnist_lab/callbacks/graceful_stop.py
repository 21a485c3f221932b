"""Ctrl-C and SIGTERM end a run between two steps, so that it can go on exactly."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytorch_lightning as pl


class GracefulStop(pl.Callback):
    """Lets SIGINT or SIGTERM end the program after the current step, with all saved; a second Ctrl-C ends it at once.

    SIGTERM may come several times for one stop, as from Slurm. ``listen=False`` leaves signals to the caller. ``begin``
    is called as training begins, its checkpoint loaded.
    """

    def __init__(self, listen: bool = True, begin: Callable[[], None] | None = None) -> None:
        self.listen, self.begin = listen, begin
        self.signal: int | None = None  # the number of the one received
        self._before: dict[int, Any] = {}

    def on_train_start(self, *_: Any) -> None:
        if self.begin:
            self.begin()
        if self.listen and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            os._exit(128 + number)
        self.signal = self.signal or number

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        stop = self.signal is not None
        if trainer.world_size > 1:  # all processes stop at the same step
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
            self.signal = self.signal or (signal.SIGTERM if stop else None)
        if stop:  # Lightning's own way to stop would validate first
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step

    def on_fit_end(self, *_: Any) -> None:
        self._restore()
        if self.signal is not None:
            sys.exit(128 + self.signal)  # all is saved

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        self._restore()
        started: list[Any] = getattr(trainer.strategy.launcher, "procs", [])  # of several, they end with this one
        while started:  # Lightning looks after those in the list, and would kill this one too, before it has saved
            started.pop().kill()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
