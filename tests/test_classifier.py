import functools
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from conftest import quiet_trainer
from torch import nn

from mnist_lab.callbacks import Checkpoints, NanGuard, TrainMetrics
from mnist_lab.classifier import CrossEntropy, DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.errors import UserError
from mnist_lab.networks import MLP, Convnet, Softmax
from mnist_lab.schedules import Exponential, Schedule, Step


def test_the_three_forms_of_cross_entropy_agree() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(7, 10), torch.arange(7)
    by_hand = sum(-math.log(logits[i].softmax(0)[label]) for i, label in enumerate(labels.tolist()))
    assert CrossEntropy("sum")(logits, labels).item() == pytest.approx(by_hand, rel=1e-5)
    assert CrossEntropy("mean")(logits, labels).item() == pytest.approx(by_hand / 7, rel=1e-5)
    assert CrossEntropy("sum", written_out=True)(logits, labels).item() == pytest.approx(by_hand, rel=1e-5)
    assert CrossEntropy(written_out=True)(logits, labels).item() == pytest.approx(by_hand / 7, rel=1e-5)


def test_the_written_out_form_turns_into_nan_where_the_stable_one_does_not() -> None:
    logits, labels = torch.tensor([[200.0] + [0.0] * 9]), torch.tensor([0])
    assert math.isnan(CrossEntropy(written_out=True)(logits, labels).item())
    assert CrossEntropy()(logits, labels).item() == 0


def trained(
    network: nn.Module,
    folder: Path,
    steps: int = 5,
    seed: int = 0,
    rate: float = 0.01,
    callbacks: tuple[pl.Callback, ...] = (),
    loss: CrossEntropy | None = None,
    schedule: Schedule | None = None,
    **options: Any,
) -> tuple[DigitClassifier, pl.Trainer, list[float]]:
    """Train on generated images; the training loss of each step too."""
    losses: list[float] = []

    class Noted(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            losses.append(outputs["loss"].item())

    datamodule = DigitsDataModule("fake", str(folder), seed=seed, batch_size=20, generated=[200, 70], **options)
    model = DigitClassifier(
        network, functools.partial(torch.optim.Adam, lr=rate), schedule or Exponential(floor=0.0), loss
    )
    trainer = quiet_trainer(folder, [Noted(), *callbacks], max_steps=steps)
    trainer.fit(model, datamodule)
    return model, trainer, losses


NETWORKS = {
    "softmax": Softmax,
    "mlp": lambda: MLP([30, 20], dropout=0.25),
    "strided": lambda: Convnet([4, 8], [5, 4], [2, 2], hidden=20, dropout=0.25),
}
# A change that is meant to leave the mathematics alone must leave these alone. Where one is meant to change them, the
# failing test prints the new ones.
GOLDEN: dict[str, list[float]] = {
    "softmax": [2.302585, 2.708835, 2.327710, 1.811251, 1.839163],
    "mlp": [2.290583, 2.276527, 2.289132, 2.179979, 2.362613],
    "strided": [2.314803, 2.326297, 2.313810, 2.279392, 2.309593],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_losses(name: str, tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    _, _, losses = trained(NETWORKS[name](), tmp_path)
    assert losses == pytest.approx(GOLDEN[name], rel=1e-4), [f"{loss:.6f}" for loss in losses]


def test_evaluation_is_the_mean_over_images_with_dropout_off(tmp_path: Path) -> None:
    model, trainer, _ = trained(MLP([20], dropout=0.5), tmp_path, eval_batch_size=30)  # 30, 30, 10
    trainer.test(model, trainer.datamodule, verbose=False)
    images, labels = trainer.datamodule.test
    model.eval()
    with torch.no_grad():
        logits = model(images.unsqueeze(1) / 255)
    assert model.last["test_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert model.last["test_errors"] == (logits.argmax(1) != labels).sum().item()
    assert model.last["test_accuracy"] == pytest.approx(1 - model.last["test_errors"] / 70)


def test_a_summed_loss_is_still_evaluated_by_the_image(tmp_path: Path) -> None:
    model, _, losses = trained(Softmax(), tmp_path, steps=5, loss=CrossEntropy("sum"))
    assert losses[0] == pytest.approx(20 * math.log(10), rel=1e-5)
    assert model.last["val_loss"] < math.log(10)


def test_the_best_is_the_first_of_the_highest(tmp_path: Path) -> None:
    model, _, _ = trained(Softmax(), tmp_path, steps=40, rate=0.01)
    accuracy, step = model.best["val"]
    assert accuracy == 1.0
    assert step < 40
    assert model.evaluated_at == 40


def test_frozen_parameters_are_left_to_rest() -> None:
    network = MLP([20], batch_norm="shift")
    model = DigitClassifier(network, functools.partial(torch.optim.SGD, lr=0.1), Schedule())
    (group,) = model.configure_optimizers().param_groups
    assert len(group["params"]) == sum(p.requires_grad for p in network.parameters()) == 4


@pytest.mark.parametrize(("written_out", "cure"), [(True, "loss.written_out=false"), (False, "optim.lr=")])
def test_a_loss_that_is_no_number_ends_the_run_with_the_cause(written_out: bool, cure: str, tmp_path: Path) -> None:
    network = Softmax()
    if not written_out:
        nn.init.constant_(network.linear.weight, math.inf)
    else:
        nn.init.normal_(network.linear.weight, std=50)
    with pytest.raises(UserError, match=r"at step 0, batch 0 of its epoch: .*" + cure):
        trained(network, tmp_path, loss=CrossEntropy(written_out=written_out), callbacks=(NanGuard(),))


def test_the_weights_before_the_nan_are_kept(tmp_path: Path) -> None:
    network = Softmax()
    with pytest.raises(UserError, match="log"):
        trained(network, tmp_path, steps=500, rate=2.0, loss=CrossEntropy(written_out=True), callbacks=(NanGuard(),))
    assert network.linear.weight.isfinite().all()
    kept = torch.load(tmp_path / "checkpoints" / "before_nan.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(kept["network.linear.weight"], network.linear.weight)


def test_checkpoints_hold_tensors_and_plain_values_only(tmp_path: Path) -> None:
    model, _, _ = trained(Softmax(), tmp_path, steps=12, callbacks=(Checkpoints(every_n_steps=5),))
    last, best = (torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    assert (last["global_step"], best["global_step"]) == (12, model.best["val"][1])
    assert torch.equal(last["state_dict"]["network.linear.weight"], model.network.linear.weight)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}


def test_checkpoints_by_the_clock(tmp_path: Path) -> None:
    trained(Softmax(), tmp_path, steps=12, callbacks=(Checkpoints(every_n_minutes=1e-9),))
    saved = [torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("previous", "last")]
    assert [checkpoint["global_step"] for checkpoint in saved] == [12, 12]  # after the last step, and at the end


def test_train_metrics_are_of_the_batch_before_it_is_trained_on(tmp_path: Path) -> None:
    _, _, losses = trained(Softmax(), tmp_path, steps=12, callbacks=(TrainMetrics(every_n_steps=5),))
    rows = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    noted = {
        int(row[0]): float(row[rows[0].index("train_loss")]) for row in rows[1:] if row[rows[0].index("train_loss")]
    }
    assert noted == pytest.approx({step: losses[step] for step in (0, 5, 10)}, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reduction": "max"}, "reduction=max: must be mean or sum"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: must be at least 0 and below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1"),
        ({"label_smoothing": 0.1, "written_out": True}, "label_smoothing=0.1: the written-out form has none"),
    ],
)
def test_a_loss_that_there_is_not_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CrossEntropy(**options)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_label_smoothing_spreads_a_part_of_the_target(reduction: str) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(7, 10), torch.arange(7)
    target = 0.8 * F.one_hot(labels, 10) + 0.02
    expected = -(target * logits.log_softmax(1)).sum() / (7 if reduction == "mean" else 1)
    torch.testing.assert_close(CrossEntropy(reduction, label_smoothing=0.2)(logits, labels), expected)


@pytest.mark.parametrize("name", ["mlp", "strided"])
def test_the_seed_fixes_every_bit_of_the_weights(name: str, tmp_path: Path) -> None:
    def weights(run: str, seed: int) -> torch.Tensor:
        pl.seed_everything(seed, verbose=False)
        model, _, _ = trained(NETWORKS[name](), tmp_path / run, seed=seed)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    once = weights("once", 7)
    assert torch.equal(once, weights("again", 7))
    assert not torch.allclose(once, weights("other", 8), atol=0.01)


@pytest.mark.parametrize(("interval", "every"), [("step", 4), ("epoch", 1)])
def test_the_rate_falls_by_steps_or_by_epochs(interval: str, every: int, tmp_path: Path) -> None:
    rates: list[float] = []

    class Rates(pl.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    # 80 of the 200 images are held out, so 6 batches of 20 make an epoch.
    schedule = Step(interval=interval, every=every, factor=0.5)
    trained(Softmax(), tmp_path, steps=13, rate=0.1, schedule=schedule, callbacks=(Rates(),), validation_size=80)
    unit = {"step": 4, "epoch": 6}[interval]
    assert rates == pytest.approx([0.1 * 0.5 ** (step // unit) for step in range(13)])


def test_last_holds_the_newest_evaluation_of_all_that_is_watched(tmp_path: Path) -> None:
    model, trainer, _ = trained(Softmax(), tmp_path, steps=10, watch_test=True)
    kinds = ("loss", "accuracy", "errors")
    assert {*model.last} == {f"{part}_{kind}" for part in ("val", "test") for kind in kinds}
    watched = dict(model.last)
    trainer.test(model, trainer.datamodule, verbose=False)
    assert model.last == pytest.approx({f"test_{kind}": watched[f"test_{kind}"] for kind in kinds})


def test_spoilt_weights_are_never_saved(tmp_path: Path) -> None:
    network = Softmax()
    with torch.no_grad():  # a probability so small that the loss is finite and its gradient is not
        network.linear.bias.copy_(torch.tensor([0.0] + [-95.0] * 9))
    with pytest.raises(UserError, match="at step 1"):
        trained(network, tmp_path, loss=CrossEntropy(written_out=True), callbacks=(NanGuard(), Checkpoints(1)))
    assert not network.linear.weight.isfinite().all()
    assert not list(tmp_path.rglob("*.ckpt"))
