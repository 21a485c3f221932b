"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

log = logging.getLogger(__name__)
# With what is measured beside it no wider than 80 columns, up to ten million steps and ten hours.
_BAR = "{percentage:3.0f}%|{bar}| {n}/{total} {remaining} left{postfix}"
_SHOWN = {"train_loss": "loss {:.4g}", "train_accuracy": "acc {:.2%}", "images_per_second": "{:,.0f} images/s"}


class Progress(pl.Callback):
    """A bar over the run's steps on a terminal and in a notebook, else a log line every ``every_n_seconds``.

    It shows loss and accuracy of the last batch that was measured, and the accuracy of the last evaluation: ``val``, or
    ``test`` where only that is watched.
    """

    def __init__(self, every_n_seconds: float = 10.0):
        if every_n_seconds <= 0:
            raise ValueError(f"every_n_seconds={every_n_seconds}: must be above 0")
        self.every_n_seconds = every_n_seconds
        self._bar: tqdm[Any] | None = None
        self._next, self._total, self._in_sweep = 0.0, 0, False
        self._measured: dict[str, str] = {}

    def prepare(self, run_dir: Path, from_step: int, in_sweep: bool) -> None:
        self._in_sweep = in_sweep  # whose jobs have no bar: it tells how each ended

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._total, self._measured = trainer.max_steps, {}  # an interruption lowers it
        terminal = not self._in_sweep and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        if trainer.is_global_zero and terminal:
            done = trainer.global_step
            self._bar = tqdm(total=self._total, initial=done, bar_format=_BAR, dynamic_ncols=True, mininterval=0.2)
        self._next = 0.0 if self._bar is not None else time.monotonic() + self.every_n_seconds

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
        if time.monotonic() >= self._next:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        watched = trainer.datamodule.watched  # type: ignore[attr-defined]
        interrupted = trainer.max_steps < self._total
        if not watched or interrupted or pl_module.evaluated_at == trainer.global_step:
            self._end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._total and trainer.state.fn == "validate":  # of the last weights, after training
            self._end(trainer, pl_module)

    def on_exception(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._total = None, 0

    def _end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._show(trainer, pl_module)
        self.on_exception()

    def _show(self, trainer: pl.Trainer, pl_module: Any) -> None:
        now = trainer.callback_metrics
        self._measured |= {name: text.format(now[name].item()) for name, text in _SHOWN.items() if name in now}
        part = next(iter(trainer.datamodule.watched), "")  # type: ignore[attr-defined]
        if (accuracy := pl_module.last.get(f"{part}_accuracy")) is not None:
            self._measured["watched"] = f"{part} {accuracy:.2%}"
        if self._bar is not None:
            self._next = time.monotonic() + 0.5
            self._bar.set_postfix_str(" ".join(t for n, t in self._measured.items() if n != "images_per_second"))
        elif trainer.is_global_zero:
            self._next = time.monotonic() + self.every_n_seconds
            log.info("  ".join([f"step {trainer.global_step:,} of {self._total:,}", *self._measured.values()]))
