"""A run under any callback that Lightning ships, to be compared with and without LeanSteps."""

import csv
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from conftest import quiet_trainer
from pytorch_lightning import callbacks as theirs

from mnist_lab.callbacks import TrainMetrics
from mnist_lab.classifier import DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.networks import MLP
from mnist_lab.schedules import OneCycle, Schedule

HOOKS = [n for n in vars(pl.Callback) if n.startswith("on_") and "checkpoint" not in n and n != "on_exception"]
TIMES = ("images_per_second", "train/", "validate/", "DeviceStatsMonitor")  # columns that no two runs have the same


class Unfreezing(theirs.BaseFinetuning):
    """Trains the first layer from the second epoch on."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer)


class Averaging(theirs.WeightAveraging):
    """The mean of the weights after each step."""


# How each is made. What logs, averages, prunes or stops does it within the 25 steps and 3 epochs of a run.
MADE: dict[str, Callable[[], pl.Callback]] = {
    "BackboneFinetuning": lambda: theirs.BackboneFinetuning(1, backbone_initial_lr=0.01, should_align=False),
    "BaseFinetuning": Unfreezing,
    "BasePredictionWriter": theirs.BasePredictionWriter,
    "BatchSizeFinder": lambda: theirs.BatchSizeFinder(steps_per_trial=2, init_val=10, max_trials=2),
    "Callback": theirs.Callback,
    "Checkpoint": theirs.Checkpoint,
    "DeviceStatsMonitor": lambda: theirs.DeviceStatsMonitor(cpu_stats=True),
    "EarlyStopping": lambda: theirs.EarlyStopping("val_accuracy", mode="min", patience=1),
    "GradientAccumulationScheduler": lambda: theirs.GradientAccumulationScheduler({0: 1, 1: 3, 2: 2}),
    "LambdaCallback": theirs.LambdaCallback,  # each run has one with every hook
    "LearningRateFinder": lambda: theirs.LearningRateFinder(num_training_steps=30, update_attr=True, attr_name="lr"),
    "LearningRateMonitor": lambda: theirs.LearningRateMonitor("step", log_momentum=True),
    "ModelCheckpoint": lambda: theirs.ModelCheckpoint(every_n_train_steps=4, save_top_k=-1),
    "ModelPruning": lambda: theirs.ModelPruning("l1_unstructured", amount=0.3),
    "ModelSummary": theirs.ModelSummary,
    "OnExceptionCheckpoint": lambda: theirs.OnExceptionCheckpoint("."),
    "ProgressBar": theirs.ProgressBar,
    "RichModelSummary": lambda: theirs.RichModelSummary(),
    "RichProgressBar": lambda: theirs.RichProgressBar(),
    "StochasticWeightAveraging": lambda: theirs.StochasticWeightAveraging(0.05, swa_epoch_start=1, annealing_epochs=2),
    "SpikeDetection": lambda: theirs.SpikeDetection(warmup=2, finite_only=True),
    "ThroughputMonitor": lambda: theirs.ThroughputMonitor(lambda batch: len(batch[1]), window_size=3),
    "Timer": lambda: theirs.Timer({"hours": 1}, interval="step"),
    "TQDMProgressBar": lambda: theirs.TQDMProgressBar(refresh_rate=1),
    "EMAWeightAveraging": lambda: theirs.EMAWeightAveraging(decay=0.9),
    "WeightAveraging": Averaging,
}
NEEDS = {"RichModelSummary": "rich", "RichProgressBar": "rich", "DeviceStatsMonitor": "psutil"}


def missing(name: str) -> str | None:
    """Why a callback cannot be tried here; None where it can."""
    module = NEEDS.get(name)
    return f"{module} is not installed" if module and not importlib.util.find_spec(module) else None


def fit(folder: Path, callback: pl.Callback, *more: pl.Callback, **options: Any) -> dict[str, Any]:
    """What a run of 25 steps in epochs of 10 leaves and what was called in it."""
    torch.manual_seed(1)
    # torch's schedules cannot follow parameters that come later
    schedule = Schedule() if isinstance(callback, theirs.BaseFinetuning) else OneCycle()
    model = DigitClassifier(MLP([20], dropout=0.2), functools.partial(torch.optim.SGD, lr=0.1), schedule)
    model.backbone = next(layer for layer in model.network.modules() if isinstance(layer, torch.nn.Linear))
    model.lr = 0.1
    called: list[Any] = []

    def noting(hook: str) -> Callable[..., None]:
        def note(trainer: Any, *_: Any) -> None:
            progress = trainer.fit_loop.epoch_loop.batch_progress
            fields = (trainer.accumulate_grad_batches, trainer.should_stop, sorted(trainer.callback_metrics))
            called.append((hook, trainer.global_step, trainer.current_epoch, progress.state_dict(), *fields))

        return note

    watching = theirs.LambdaCallback(**{hook: noting(hook) for hook in HOOKS})
    trainer = quiet_trainer(
        folder,
        [TrainMetrics(5), callback, *more, watching],
        **{"max_steps": 25, "limit_train_batches": 10, "log_every_n_steps": 5, "val_check_interval": 4} | options,
        enable_progress_bar=isinstance(callback, theirs.ProgressBar),
        enable_checkpointing=isinstance(callback, theirs.Checkpoint),
    )
    trainer.fit(model, DigitsDataModule("fake", str(folder), batch_size=20, generated=[300, 60], validation_size=50))
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v if not k.startswith(TIMES) else bool(v) for k, v in row.items()} for row in csv.DictReader(file)]
    state = {} if isinstance(callback, theirs.Timer) else callback.state_dict()
    return {
        "called": called,
        "weights": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "loops": trainer.fit_loop.state_dict(),
        "curves": rows,
        "callback": {key: value for key, value in state.items() if key != "dirpath" and "path" not in key},
    }


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two results differ, to the last bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one for line in differences(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            line for i, pair in enumerate(zip(one, other, strict=True)) for line in differences(*pair, f"{path}.{i}")
        ]
    equal = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if equal else [f"{path}: {one} and {other}"]
