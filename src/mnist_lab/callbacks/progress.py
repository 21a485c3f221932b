"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

log = logging.getLogger(__name__)
_SHOWN = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_second")


class Progress(pl.Callback):
    """A bar over the run's steps on a terminal and in a notebook, else a log line every ``every_n_seconds``."""

    def __init__(self, every_n_seconds: float = 10.0):
        if every_n_seconds <= 0:
            raise ValueError(f"every_n_seconds={every_n_seconds}: must be above 0")
        self.every_n_seconds = every_n_seconds
        self._bar: tqdm[Any] | None = None
        self._next, self._total, self._in_sweep = 0.0, 0, False

    def prepare(self, run_dir: Path, from_step: int, in_sweep: bool) -> None:
        self._in_sweep = in_sweep  # whose jobs have no bar: it tells how each ended

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._total = trainer.max_steps  # an interruption lowers it
        terminal = not self._in_sweep and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        if trainer.is_global_zero and terminal:
            done = trainer.global_step
            self._bar = tqdm(total=self._total, initial=done, unit="step", dynamic_ncols=True, mininterval=0.2)
        self._next = time.monotonic() + (0.5 if self._bar is not None else self.every_n_seconds)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
        if time.monotonic() >= self._next:
            self._show(trainer)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._show(trainer)
        self.on_exception()

    def on_exception(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def _show(self, trainer: pl.Trainer) -> None:
        shown = {name: trainer.callback_metrics[name].item() for name in _SHOWN if name in trainer.callback_metrics}
        text = "  ".join(f"{name} {v:,.0f}" if "second" in name else f"{name} {v:.4f}" for name, v in shown.items())
        if self._bar is not None:
            self._next = time.monotonic() + 0.5
            self._bar.set_postfix_str(text)
        elif trainer.is_global_zero:
            self._next = time.monotonic() + self.every_n_seconds
            log.info(f"step {trainer.global_step:,} of {self._total:,}  {text}")
