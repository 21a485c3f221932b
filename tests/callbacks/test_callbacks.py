import csv
import functools
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import quiet_trainer
from torch import nn

from mnist_lab.callbacks import Checkpoints, NanGuard, Progress, TrainMetrics
from mnist_lab.classifier import CrossEntropy, DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.errors import UserError
from mnist_lab.networks import MLP, Softmax
from mnist_lab.schedules import Schedule


def fit(
    network: nn.Module,
    folder: Path,
    *callbacks: pl.Callback,
    steps: int = 10,
    rate: float = 0.1,
    loss: CrossEntropy | None = None,
) -> DigitClassifier:
    """Train on generated images with plain SGD, evaluating every 5 steps."""
    model = DigitClassifier(network, functools.partial(torch.optim.SGD, lr=rate), Schedule(), loss)
    trainer = quiet_trainer(folder, list(callbacks), max_steps=steps)
    trainer.fit(model, DigitsDataModule("fake", str(folder), batch_size=20, generated=[200, 70]))
    return model


def saved(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("loss", "cure"),
    [
        (CrossEntropy(written_out=True), "loss.written_out=false"),
        (CrossEntropy(), "a learning rate of 0.1 is likely too high; try optim.lr=0.01"),
    ],
)
def test_nan_guard_names_step_batch_and_cure_and_spares_the_weights(
    loss: CrossEntropy, cure: str, tmp_path: Path
) -> None:
    class Spoil(pl.Callback):
        """Makes the images of step 12 NaN: at 180 images, 9 batches an epoch, it is batch 3 of the next."""

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 12:
                batch[0].fill_(math.nan)

    network = Softmax()
    with pytest.raises(UserError) as raised:
        fit(network, tmp_path, Spoil(), NanGuard(), steps=20, loss=loss)
    assert str(raised.value).startswith("the training loss is nan at step 12, batch 3 of its epoch: ")
    assert cure in str(raised.value)
    assert network.linear.weight.isfinite().all()
    kept = saved(tmp_path, "before_nan")
    assert kept["global_step"] == 12
    assert torch.equal(kept["state_dict"]["network.linear.weight"], network.linear.weight)


def test_nan_guard_leaves_a_healthy_run_alone(tmp_path: Path) -> None:
    guarded, free = Softmax(), Softmax()
    fit(guarded, tmp_path / "guarded", NanGuard())
    fit(free, tmp_path / "free")
    assert torch.equal(guarded.linear.weight, free.linear.weight)
    assert not (tmp_path / "guarded" / "checkpoints").exists()


def test_best_is_the_first_of_the_highest_and_last_the_end(tmp_path: Path) -> None:
    class Accuracies(pl.Callback):
        """Pretends that these were measured, at steps 5, 10, 15 and 20."""

        measured = iter([0.5, 0.9, 0.9, 0.7])

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            # Callbacks come before the module, which logs the sums: (loss, recognised, images).
            pl_module._sums = {"val": torch.tensor([1.0, next(self.measured) * 10, 10.0], dtype=torch.float64)}

    model = fit(Softmax(), tmp_path, Accuracies(), Checkpoints(every_n_steps=1000), steps=20)
    assert model.best == {"val": (pytest.approx(0.9), 10)}
    assert saved(tmp_path, "best")["global_step"] == 10
    assert saved(tmp_path, "last")["global_step"] == 20
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_the_last_of_every_n_steps_survives_a_run_that_breaks_off(tmp_path: Path) -> None:
    class BreakOff(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 10:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fit(Softmax(), tmp_path, BreakOff(), Checkpoints(every_n_steps=4), steps=20)
    assert (saved(tmp_path, "previous")["global_step"], saved(tmp_path, "last")["global_step"]) == (4, 8)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pl.Trainer.save_checkpoint

    def full_disk(trainer: pl.Trainer, path: Path, *rest: Any) -> None:
        if trainer.global_step < 8:
            return write(trainer, path, *rest)
        Path(path).write_bytes(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt'"):
        fit(Softmax(), tmp_path, Checkpoints(every_n_steps=4))
    assert saved(tmp_path, "last")["global_step"] == 4
    assert not [path.name for path in (tmp_path / "checkpoints").iterdir() if path.suffix != ".ckpt"]


def test_train_metrics_are_logged_at_0_n_2n_with_dropout_off(tmp_path: Path) -> None:
    expected: dict[int, float] = {}

    class Measure(pl.Callback):
        """The loss on the batch about to be trained on, by another route."""

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            assert pl_module.training, "training goes on with dropout"
            images, labels = batch
            layers = [layer for layer in pl_module.network.layers if not isinstance(layer, nn.Dropout)]
            with torch.no_grad():
                logits = nn.Sequential(*layers)(images)
            expected[trainer.global_step] = nn.functional.cross_entropy(logits, labels).item()

    fit(MLP([20], dropout=0.5), tmp_path, TrainMetrics(every_n_steps=4), Measure(), steps=10, rate=0.05)
    with (tmp_path / "metrics.csv").open() as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file) if row["train_loss"]}
    assert {step: float(row["train_loss"]) for step, row in rows.items()} == pytest.approx(
        {step: expected[step] for step in (0, 4, 8)}, rel=1e-5
    )
    assert {float(row["learning_rate"]) for row in rows.values()} == {0.05}
    assert [bool(row["images_per_second"]) for row in rows.values()] == [False, True, True]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (NanGuard, {"every_n_steps_on_gpu": 0}, "every_n_steps_on_gpu=0: must be at least 1"),
        (TrainMetrics, {"every_n_steps": 0}, "every_n_steps=0: must be at least 1"),
        (Checkpoints, {"every_n_steps": 0}, "every_n_steps=0: must be above 0"),
        (Checkpoints, {"every_n_minutes": -1.0}, "every_n_minutes=-1.0: must be above 0"),
        (Progress, {"every_n_seconds": 0.0}, "every_n_seconds=0.0: must be above 0"),
    ],
)
def test_impossible_options_are_named(kind: type, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**options)
