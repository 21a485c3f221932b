"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from mnist_lab.classifier import Batch

log = logging.getLogger(__name__)
_SHOWN = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_second")


class Progress(pl.Callback):
    """A bar over the run's steps on a terminal; where stderr is none, a log line every ``every_n_seconds``."""

    def __init__(self, every_n_seconds: float = 10.0):
        if every_n_seconds <= 0:
            raise ValueError(f"every_n_seconds={every_n_seconds}: must be above 0")
        self.every_n_seconds = every_n_seconds
        self._bar: tqdm[Any] | None = None
        self._next, self._total = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        self._next = time.monotonic() + self.every_n_seconds
        self._total = trainer.max_steps  # an interruption lowers it
        if sys.stderr.isatty() and trainer.is_global_zero:
            self._bar = tqdm(
                total=self._total, initial=trainer.global_step, unit="step", dynamic_ncols=True, mininterval=0.2
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Move on; the values shown change a few times a second at most."""
        now = time.monotonic()
        if self._bar is not None:
            if now >= self._next:
                self._next = now + 0.5
                self._bar.set_postfix_str(_values(trainer), refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)
        elif now >= self._next and trainer.is_global_zero:
            self._next = now + self.every_n_seconds
            self._line(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the last values."""
        if self._bar is not None:
            self._bar.set_postfix_str(_values(trainer))
        self._close()
        if trainer.is_global_zero and not sys.stderr.isatty():
            self._line(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal tidy."""
        self._close()

    def _line(self, trainer: pl.Trainer) -> None:
        log.info(f"step {trainer.global_step:,} of {self._total:,}  {_values(trainer)}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _values(trainer: pl.Trainer) -> str:
    shown = {name: trainer.callback_metrics[name].item() for name in _SHOWN if name in trainer.callback_metrics}
    return "  ".join(
        f"{name} {value:,.0f}" if "second" in name else f"{name} {value:.4f}" for name, value in shown.items()
    )
