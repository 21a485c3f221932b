"""Under whatever Lightning ships, and whatever a callback changes during training, LeanSteps are Lightning's steps."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning_callbacks as shipped
import pytest
import pytorch_lightning as pl
import torch
from conftest import Lab
from pytorch_lightning import callbacks

from mnist_lab.speed.lean_steps import LeanSteps

# These do nothing in a step but show how far it is, or are done before the first.
SLOW = ("BasePredictionWriter", "BatchSizeFinder", "Callback", "Checkpoint", "LearningRateFinder", "ModelSummary")
SLOW += ("OnExceptionCheckpoint", "ProgressBar", "RichModelSummary", "RichProgressBar", "TQDMProgressBar")


def test_each_callback_of_this_lightning_is_tried() -> None:
    assert set(shipped.MADE) == set(callbacks.__all__)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in shipped.MADE]
)
def test_a_callback_of_lightnings_does_the_same(name: str, lean_steps: list[int], tmp_path: Path) -> None:
    if why := shipped.missing(name):
        pytest.skip(why)
    theirs = shipped.fit(tmp_path / "theirs", shipped.MADE[name]())
    assert not lean_steps
    ours = shipped.fit(tmp_path / "ours", shipped.MADE[name](), LeanSteps())
    assert lean_steps
    assert not shipped.differences(theirs, ours)


class Meddler(pl.Callback):
    """Does something to the run in the middle of an epoch."""

    def __init__(self, do: Callable[[Any, Any, list[Any]], Any]) -> None:
        self.do, self.noted = do, list[Any]()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == 6 and not self.noted:
            self.noted.append("done")
            self.do(trainer, pl_module, self.noted)

    def state_dict(self) -> dict[str, Any]:
        return {"noted": self.noted}


class Noting(pl.Callback):
    def __init__(self, noted: list[Any]) -> None:
        self.noted = noted

    def on_after_backward(self, trainer: Any, *_: Any) -> None:
        self.noted.append(trainer.global_step)


def step_of_halves(trainer: Any, module: Any, noted: list[Any]) -> None:
    step = module.training_step
    module.training_step = lambda batch, batch_idx: step(batch, batch_idx) / 2


def hook_of_the_instance(trainer: Any, module: Any, noted: list[Any]) -> None:
    module.on_before_backward = lambda loss: noted.append(loss.item())
    module.on_after_backward = None  # which Lightning does not call
    trainer.callbacks[0].on_before_zero_grad = lambda *_: noted.append("zero")


def own_clipping(trainer: Any, module: Any, noted: list[Any]) -> None:
    def clip(optimizer: Any, **limits: Any) -> None:
        torch.nn.utils.clip_grad_norm_(module.parameters(), 0.01)

    module.configure_gradient_clipping = clip


def another_optimizer(trainer: Any, module: Any, noted: list[Any]) -> None:
    trainer.optimizers = [torch.optim.Adam(module.parameters(), lr=0.01)]


def more_is_logged(trainer: Any, module: Any, noted: list[Any]) -> None:
    trainer.log_every_n_steps = 1
    module.log("a", 1.0, on_step=True, on_epoch=False)


def logged(trainer: Any, module: Any, noted: list[Any]) -> None:
    module.log("a", 1.0, on_step=True, on_epoch=True, prog_bar=True)


MEDDLING: dict[str, Callable[[Any, Any, list[Any]], Any]] = {
    "gradients are clipped": lambda trainer, *_: setattr(trainer, "gradient_clip_val", 0.01),
    "gradients are accumulated": lambda trainer, *_: setattr(trainer, "accumulate_grad_batches", 2),
    "more is logged": more_is_logged,
    "a metric is logged": logged,
    "validation is more frequent": lambda trainer, *_: setattr(trainer, "val_check_batch", 3),
    "training stops": lambda trainer, *_: setattr(trainer, "should_stop", True),
    "another optimiser": another_optimizer,
    "a callback more": lambda trainer, module, noted: trainer.callbacks.append(Noting(noted)),
    "a callback less": lambda trainer, *_: setattr(trainer, "callbacks", trainer.callbacks[1:]),
    "a hook of an instance": hook_of_the_instance,
    "a training step of the instance": step_of_halves,
    "a clipping of the instance": own_clipping,
    "a layer is frozen": lambda trainer, module, _: module.backbone.requires_grad_(False),
}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return shipped.fit(tmp_path_factory.mktemp("untouched"), Meddler(lambda *_: None))


@pytest.mark.parametrize("what", MEDDLING)
def test_what_changes_during_training_counts(
    what: str, untouched: dict[str, Any], lean_steps: list[int], tmp_path: Path
) -> None:
    theirs = shipped.fit(tmp_path / "theirs", Meddler(MEDDLING[what]))
    ours = shipped.fit(tmp_path / "ours", Meddler(MEDDLING[what]), LeanSteps())
    assert len(lean_steps) >= 6
    assert not shipped.differences(theirs, ours)
    assert shipped.differences(theirs, untouched), "it changed nothing: nothing was tried"


def test_lightnings_own_callbacks_may_come_after(
    lab: Lab, lean_steps: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    added = "+callbacks.kept={_target_: pytorch_lightning.callbacks.ModelCheckpoint, every_n_train_steps: 5}"
    with caplog.at_level(logging.INFO):
        run = lab(
            "model=softmax", "data=fake", "trainer=debug", "logger=none", added, "trainer.max_steps=10",
            *(f"trainer.{which}=true" for which in ("enable_checkpointing", "enable_progress_bar")),
        )  # fmt: skip
    assert run.result.status == "done"
    assert len(lean_steps) == 10
    assert "lean_steps stands aside" not in caplog.text
