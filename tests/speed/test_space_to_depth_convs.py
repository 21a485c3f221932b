import logging

import pytest
import torch
from conftest import Lab
from torch import nn

from mnist_lab.networks import Convnet
from mnist_lab.speed.space_to_depth_convs import SpaceToDepthSequential


@pytest.mark.parametrize(
    "kernels", [(6, 5), (5, 5), (3, 4), (4, 2), (7, 6), (1, 1), (2, 7), (5, 8)], ids=lambda k: f"{k[0]}x{k[1]}"
)
def test_the_strided_convnet_trains_to_the_same_results(kernels: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = Convnet([6, 12, 24], [*kernels, 4], [1, 2, 2], hidden=20).double()
    images = torch.rand(5, 1, 28, 28).double()
    results = []
    for kind in (nn.Sequential, SpaceToDepthSequential):
        network.convolutions.__class__ = kind
        logits = network(images)
        results.append([logits, *torch.autograd.grad(logits.square().sum(), list(network.parameters()))])
    for plainly, by_depth in zip(*results, strict=True):
        torch.testing.assert_close(by_depth, plainly, rtol=1e-11, atol=1e-11)
    network.convolutions.__class__ = nn.Sequential
    expected = network.eval()(images)
    network.convolutions.__class__ = SpaceToDepthSequential
    assert torch.equal(network(images), expected)


def test_a_run_uses_it_and_leaves_a_plain_network(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = SpaceToDepthSequential.forward
    monkeypatch.setattr(
        SpaceToDepthSequential, "forward", lambda self, x: calls.append(self.training) or forward(self, x)
    )
    options = ["model=strided_convnet", "data=fake", "trainer=debug", "trainer.max_steps=8", "logger=none"]
    on, off = lab(*options, to="on"), lab(*options, "speed.space_to_depth_convs=false", to="off")
    assert calls.count(True) == 8
    for ours, theirs in zip(on.network().parameters(), off.network().parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [["model=softmax"], ["model=strided_convnet", "model.batch_norm=shift"], ["model=strided_convnet",
     "model.channels=[32,12,24]"], ["model=convnet", "model.channels=[2,2]", "model.hidden=8"]],
)  # fmt: skip
def test_it_says_where_it_stands_aside(options: list[str], lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        lab(
            *options, "data=fake", "trainer=debug", "trainer.max_steps=2", "trainer.val_check_interval=2", "logger=none"
        )
    assert "speed.space_to_depth_convs stands aside: " in caplog.text
