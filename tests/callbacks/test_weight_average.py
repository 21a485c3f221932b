import functools
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from conftest import Lab, quiet_trainer
from torch import Tensor

from mnist_lab import Run
from mnist_lab.callbacks import Checkpoints, WeightAverage
from mnist_lab.classifier import DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.errors import UserError
from mnist_lab.networks import MLP
from mnist_lab.schedules import Schedule

RUN = ["model=mlp_relu", "model.hidden=[30]", "model.batch_norm=scale_and_shift", "model.dropout=0.2", "data=fake"]
RUN += ["data.batch_size=30", "logger=none", "ema=0.9", "trainer.val_check_interval=20"]


def saved(run: Run, name: str = "last") -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run.directory / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def loss_and_errors(run: Run, checkpoint: str = "last") -> tuple[float, int]:
    """Of the test images, by hand."""
    data = DigitsDataModule("fake", str(run.directory), generated=run.config.data.generated)
    data.setup()
    images, labels = data.test
    with torch.no_grad():
        logits = run.network(checkpoint)(images[:, None] / 255)
    return F.cross_entropy(logits, labels).item(), int((logits.argmax(1) != labels).sum())


def test_the_average_is_the_moving_average_of_all_steps(tmp_path: Path) -> None:
    states: list[dict[str, Tensor]] = []

    class Noted(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            states.append({name: tensor.clone() for name, tensor in pl_module.state_dict().items()})

    network = MLP([20], batch_norm="scale_and_shift")
    model = DigitClassifier(network, functools.partial(torch.optim.SGD, lr=0.1), Schedule())
    trainer = quiet_trainer(tmp_path, [WeightAverage(0.8), Noted(), Checkpoints()], max_steps=12)
    trainer.fit(model, DigitsDataModule("fake", str(tmp_path), batch_size=20, generated=[200, 70]))
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    names = [name for name, tensor in states[0].items() if tensor.is_floating_point()]
    assert any("running_var" in name for name in names)
    for name in names:
        expected = states[0][name]
        for state in states[1:]:
            expected = 0.8 * expected + 0.2 * state[name]
        torch.testing.assert_close(kept["state_dict"][name], expected)
    assert same(kept["current_model_state"], states[-1])


def test_the_average_is_what_is_validated_and_tested_and_loaded(lab: Lab) -> None:
    run = lab(*RUN, "trainer.max_steps=70", to="last")
    loss, errors = loss_and_errors(run)
    assert run.result.test_loss == pytest.approx(loss, rel=1e-5)
    assert run.result.test_errors == errors
    assert not same(saved(run)["state_dict"], saved(run)["current_model_state"])
    assert run.result.settings["ema"] == 0.9
    before = run.result.test_loss
    lab("fit=false", f"resume={run.directory}")
    assert run.result.test_loss == before


def test_the_best_average_is_tested_where_it_is_asked_for(lab: Lab) -> None:
    best = lab(*RUN, "optim.lr=0.02", "trainer.max_steps=100", "checkpoint=best")
    assert best.result.best_step is not None
    assert best.result.best_step < 100
    assert best.result.test_loss == pytest.approx(loss_and_errors(best, "best")[0], rel=1e-5)
    assert best.result.test_loss != pytest.approx(loss_and_errors(best, "last")[0], rel=1e-2)
    assert not same(saved(best, "best")["state_dict"], saved(best, "best")["current_model_state"])


@pytest.mark.parametrize("checkpoint", ["last", "previous"])  # saved at the end of a run, and after a step
def test_an_averaged_run_goes_on_as_if_it_had_never_stopped(checkpoint: str, lab: Lab) -> None:
    whole = lab(*RUN, "test=false", "trainer.max_steps=70", to="whole")
    often = "callbacks.checkpoints.every_n_steps=20"
    begun = lab(*RUN, "test=false", "trainer.max_steps=47", often, to="begun")
    assert saved(begun, checkpoint)["global_step"] == {"last": 47, "previous": 40}[checkpoint]
    lab(f"resume={begun.directory}/checkpoints/{checkpoint}.ckpt", "trainer.max_steps=70")
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert same(saved(begun)[part], saved(whole)[part])
    assert begun.result.val_accuracy == whole.result.val_accuracy


@pytest.mark.parametrize("decay", [0, 1, -0.5])
def test_a_decay_out_of_range_is_named(decay: float, lab: Lab) -> None:
    with pytest.raises(UserError, match=rf"ema={decay}.*: must be above 0 and below 1"):
        lab(*RUN, f"ema={decay}")
