import functools
import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import Lab, quiet_trainer
from torch import nn
from torch.nn.utils import parametrizations

from mnist_lab.classifier import DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.networks import MLP
from mnist_lab.schedules import Schedule
from mnist_lab.speed.onednn_dense import LARGE, OneDnnDense, OneDnnLinear, mkl_is_slow

SLOW = pytest.mark.skipif(not mkl_is_slow(), reason="MKL has kernels for this processor, the trick stands aside")


@SLOW
def test_a_large_dense_layer_trains_to_the_same_results() -> None:
    torch.manual_seed(0)
    layer, plain = OneDnnLinear(784, 200), nn.Linear(784, 200)
    plain.load_state_dict(layer.state_dict())
    images = torch.rand(100, 784, requires_grad=True)
    gradients = []
    for dense in (layer, plain):
        loss = dense(images).square().sum()
        gradients.append([loss, *torch.autograd.grad(loss, [images, *dense.parameters()])])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    assert "_OneDnnLinear" in type(layer(images).grad_fn).__name__
    assert torch.equal(layer.eval()(images), plain(images))


@SLOW
def test_a_run_uses_it_and_leaves_a_plain_network(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = OneDnnLinear.forward
    monkeypatch.setattr(OneDnnLinear, "forward", lambda self, x: calls.append(self.training) or forward(self, x))
    options = ["model=mlp_relu", "data=fake", "trainer=debug", "logger=none"]
    on, off = lab(*options, to="on"), lab(*options, "speed.onednn_dense=false", to="off")
    assert calls.count(True) == 20  # one layer of 784 x 200, one call a step
    for ours, theirs in zip(on.network().parameters(), off.network().parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert {type(layer) for layer in on.network().modules() if isinstance(layer, nn.Linear)} == {nn.Linear}


@SLOW
@pytest.mark.parametrize("shape", [(2, 5, 784), (784,), (0, 784)], ids=str)
def test_an_input_of_another_shape_goes_through_the_plain_layer(shape: tuple[int, ...]) -> None:
    layer, images = OneDnnLinear(784, 200), torch.rand(*shape)
    loss = layer(images).square().sum()
    loss.backward()
    assert torch.equal(layer(images), nn.Linear.forward(layer, images))


class Parametrizing(pl.Callback):
    """Gives the large dense layer a weight norm in the middle of training."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            (large,) = (m for m in pl_module.modules() if isinstance(m, nn.Linear) and m.weight.numel() >= LARGE)
            parametrizations.weight_norm(large)


@SLOW
def test_a_layer_that_is_parametrised_during_training_stays_so(tmp_path: Path) -> None:
    model = DigitClassifier(MLP([200]), functools.partial(torch.optim.SGD, lr=0.01), Schedule())
    trainer = quiet_trainer(tmp_path, [OneDnnDense(), Parametrizing()], max_steps=5)
    trainer.fit(model, DigitsDataModule("fake", str(tmp_path), batch_size=20, generated=[200, 70]))
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_it_says_where_it_stands_aside(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        lab("model=softmax", "data=fake", "trainer=debug", "logger=none")
    assert "speed.onednn_dense stands aside: " in caplog.text
