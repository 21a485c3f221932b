"""Stops a run of a search that has fallen behind the others."""

from collections.abc import Callable

import pytorch_lightning as pl

from mnist_lab.classifier import DigitClassifier


class Pruning(pl.Callback):
    """Hands each validation accuracy, with its step, to ``report``, which raises where the run is to stop.

    What was reported before, by a run that goes on, is not reported again.
    """

    def __init__(self, report: Callable[[int, float], None]):
        self.report = report

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, unless training is over."""
        assert isinstance(pl_module, DigitClassifier)
        if trainer.state.fn == "fit" and "val_accuracy" in pl_module.last and trainer.global_step < trainer.max_steps:
            self.report(trainer.global_step, pl_module.last["val_accuracy"])
