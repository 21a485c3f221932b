"""Stops a run of a search that has fallen behind the others."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig

from mnist_lab.classifier import DigitClassifier
from mnist_lab.errors import Pruned
from mnist_lab.sweeps.study import open_study

if TYPE_CHECKING:
    from optuna.trial import Trial


class Pruning(pl.Callback):
    """Reports each validation accuracy but the last to the run's study, and raises Pruned if Optuna says so.

    In a run that belongs to no search, or to one without a pruner, it does nothing. It runs last, so a run that is
    stopped has written its curves and checkpoints before.
    """

    runs_last = True
    _trial: "Trial | None" = None

    def prepare(self, run_dir: Path, from_step: int, in_sweep: bool) -> None:
        hydra = HydraConfig.get() if in_sweep else None
        if hydra and hydra.sweeper.get("pruner", "none") != "none":
            from optuna.trial import Trial

            study = open_study(hydra.sweeper, Path(hydra.sweep.dir))
            # A trial has the number of its job.
            trial = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, hydra.job.num)
            self._trial = Trial(study, trial)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DigitClassifier)
        step, accuracy = trainer.global_step, pl_module.last.get("val_accuracy")
        if self._trial is None or trainer.state.fn != "fit" or accuracy is None or step >= trainer.max_steps:
            return
        self._trial.report(accuracy, step)
        if self._trial.should_prune():
            raise Pruned(f"behind other trials at step {step:,}, with a validation accuracy of {accuracy:.2%}")
