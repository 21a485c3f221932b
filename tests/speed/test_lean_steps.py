import csv
import functools
import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import quiet_trainer

from mnist_lab.callbacks import Checkpoints, NanGuard, TrainMetrics
from mnist_lab.classifier import DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.networks import MLP
from mnist_lab.schedules import OneCycle
from mnist_lab.speed.lean_steps import LeanSteps

STEPS, KEPT = 60, 31  # the checkpoint of step 31 becomes previous.ckpt at the end


class Witness(pl.Callback):
    """Writes down everything that it is told of, and when; logs a metric as the callbacks of others do."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def _note(self, name: str, trainer: Any, *values: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        self.seen.append((name, trainer.global_step, loop.batch_idx, loop._batches_that_stepped, *values))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._note("start", trainer, batch_idx, batch[0].sum().item(), batch[1].tolist())

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._note("zero_grad", trainer, type(optimizer).__name__.removeprefix("Lightning"))

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self._note("before_backward", trainer, loss.item(), loss.requires_grad)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self._note("after_backward", trainer, next(pl_module.parameters()).grad.sum().item())

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._note("before_step", trainer, optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._note("end", trainer, batch_idx, sorted(outputs), outputs["loss"].item(), outputs["loss"].requires_grad)
        pl_module.log("seen", float(len(self.seen)), on_step=True, on_epoch=False)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._note("validated", trainer)


def fit(folder: Path, *last: pl.Callback, resume: Path | None = None, **options: Any) -> Witness:
    """Train 60 steps of an MLP with dropout, one cycle and much to see, logging every 7th and validating each 13."""
    torch.manual_seed(1)
    model = DigitClassifier(
        MLP([20], dropout=0.2), functools.partial(torch.optim.Adam, lr=0.01, fused=True), OneCycle()
    )
    witness = Witness()
    watching = [witness, TrainMetrics(7), NanGuard(), Checkpoints(every_n_steps=KEPT)]
    trainer = quiet_trainer(
        folder,
        [*watching, *last],
        KEPT if resume else -1,
        **{"max_steps": STEPS, "log_every_n_steps": 7, "val_check_interval": 13} | options,
    )
    data = DigitsDataModule("fake", str(folder), batch_size=20, generated=[200, 70])
    trainer.fit(model, data, ckpt_path=str(resume) if resume else None, weights_only=True)
    return witness


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def curves(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_clip_val": 0.5}, {"precision": "bf16-mixed"}, {"max_steps": 57}, {"log_every_n_steps": 5}],
    ids=str,
)
def test_lean_steps_are_lightnings_steps_to_the_last_bit(
    options: dict[str, Any], lean_steps: list[int], tmp_path: Path
) -> None:
    theirs = fit(tmp_path / "theirs", **options)
    assert not lean_steps
    ours = fit(tmp_path / "ours", LeanSteps(), **options)
    assert len(lean_steps) > STEPS / 3
    assert ours.seen == theirs.seen
    assert curves(tmp_path / "ours") == curves(tmp_path / "theirs")
    for name in ("last", "previous", "best"):
        assert same(checkpoint(tmp_path / "ours", name), checkpoint(tmp_path / "theirs", name)), name


def test_a_checkpoint_of_a_lean_step_goes_on_as_if_nothing_had_been(lean_steps: list[int], tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", LeanSteps())
    assert KEPT - 1 in lean_steps  # the step that the checkpoint was made after
    rest = fit(tmp_path / "rest", LeanSteps(), resume=tmp_path / "whole" / "checkpoints" / "previous.ckpt")
    began = next(n for n, seen in enumerate(whole.seen) if seen[:2] == ("start", KEPT))
    assert rest.seen == whole.seen[began:]
    last = [checkpoint(tmp_path / run, "last")["state_dict"] for run in ("whole", "rest")]
    assert same(*last)


@pytest.mark.parametrize(
    ("options", "why"),
    [({"accumulate_grad_batches": 2}, "accumulated gradients"), ({"profiler": "simple"}, "a profiler")],
    ids=str,
)
def test_a_run_that_needs_more_takes_lightnings_steps_and_says_so(
    options: dict[str, Any], why: str, lean_steps: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fit(tmp_path, LeanSteps(), **options)
    assert not lean_steps
    assert f"speed.lean_steps stands aside: {why}" in caplog.text


def test_another_lightning_takes_its_own_steps(
    lean_steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pl, "__version__", "2.7.0")
    with caplog.at_level(logging.INFO):
        fit(tmp_path, LeanSteps())
    assert not lean_steps
    assert "it follows Lightning 2.6, not 2.7.0" in caplog.text
