import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Lab
from torch import nn
from torch.nn.utils import parametrizations, prune

from mnist_lab.networks import Convnet
from mnist_lab.networks.layers import PaddedConv2d
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


class Doubling(PaddedConv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


def own_forward(layer: nn.Module) -> None:
    forward = layer.forward
    layer.forward = lambda images: 2 * forward(images)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        lambda layer: layer.register_forward_hook(lambda module, inputs, output: 2 * output),
        own_forward,
        lambda layer: setattr(layer, "__class__", Doubling),
    ],
    ids=["pruned", "weight_norm", "spectral_norm", "hook", "forward", "subclass"],
)
@pytest.mark.parametrize("place", [0, 2])
def test_a_layer_that_is_changed_during_training_does_what_it_would(change: Callable[[Any], Any], place: int) -> None:
    results = []
    for kind in (nn.Sequential, SpaceToDepthSequential):
        torch.manual_seed(0)
        network = Convnet([6, 12, 24], [6, 5, 4], [1, 2, 2], hidden=20).double()
        network.convolutions.__class__ = kind
        change(network.convolutions[place])
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(2):  # pruning and spectral norm make the weight anew before each call
            loss = network(torch.rand(5, 1, 28, 28).double()).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        results.append([loss, *network.parameters()])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


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
