import logging

import pytest
import torch
from conftest import Lab
from torch import nn

from mnist_lab.speed.onednn_dense import OneDnnLinear, mkl_is_slow

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


def test_it_says_where_it_stands_aside(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        lab("model=softmax", "data=fake", "trainer=debug", "logger=none")
    assert "speed.onednn_dense stands aside: " in caplog.text
