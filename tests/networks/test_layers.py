import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from mnist_lab.networks import MLP, Convnet, SmallResNet, Softmax
from mnist_lab.networks.layers import (
    Init,
    PaddedConv2d,
    ShiftedCopies,
    WhiteningConv2d,
    dropout_layer,
    mean_over_shifts,
    multiply_adds,
    norm,
)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after", "out"),
    [
        (28, 5, 2, 1, 2, 14),  # by hand: (14 - 1) * 2 + 5 - 28 = 3, one before and two after
        (14, 4, 2, 1, 1, 7),
        (28, 6, 1, 2, 3, 28),
        (28, 5, 1, 2, 2, 28),
        (7, 1, 2, 0, 0, 4),
    ],
)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int, before: int, after: int, out: int) -> None:
    torch.manual_seed(0)
    layer = PaddedConv2d(2, 3, kernel, stride, size)
    assert (layer.before, layer.after, layer.out_size) == (before, after, out)
    images = torch.rand(1, 2, size, size)
    padded = np.pad(images[0].numpy(), [(0, 0), (before, after), (before, after)])
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = np.empty((3, out, out), np.float32)
    for row in range(out):
        for column in range(out):
            patch = padded[:, row * stride : row * stride + kernel, column * stride : column * stride + kernel]
            expected[:, row, column] = (weight * patch).sum(axis=(1, 2, 3)) + bias
    np.testing.assert_allclose(layer(images)[0].detach().numpy(), expected, atol=1e-5)


def test_truncated_normal_is_redrawn_beyond_two_deviations_not_clamped() -> None:
    torch.manual_seed(0)
    layer = Init("truncated_normal", 0.1, 0.25)(nn.Linear(500, 400))
    weight = layer.weight.detach()
    assert weight.abs().max() <= 0.2
    assert (weight.abs() > 0.1999).float().mean() < 0.001  # clamping would pile up 4.6% there
    assert weight.std().item() == pytest.approx(0.0880, abs=0.0005)  # of a normal cut at two deviations: 0.8796 of it
    assert layer.bias.unique().tolist() == [0.25]


def test_the_other_initial_values() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(200, 500)
    assert Init("he", 0.1, 0.5)(layer, 0.0) is layer
    assert layer.weight.std().item() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert layer.bias.unique().tolist() == [0.0]
    assert not Init("zeros", 0.1, 0.5)(nn.Linear(5, 5, bias=False)).weight.any()
    before = copy.deepcopy(layer)
    Init("torch", 0.1, 0.5)(layer)
    assert torch.equal(layer.weight, before.weight)
    assert torch.equal(layer.bias, before.bias)


def test_batch_norm_shifts_and_only_scales_when_asked() -> None:
    start = Init("truncated_normal", 0.1, 0.1)
    assert norm("none", 5, start) == []
    (shift,), (both,) = norm("shift", 5, start), norm("scale_and_shift", 5, start, spatial=True)
    assert [name for name, p in shift.named_parameters() if p.requires_grad] == ["bias"]
    assert [name for name, p in both.named_parameters() if p.requires_grad] == ["weight", "bias"]
    assert shift.bias.tolist() == pytest.approx([0.1] * 5)
    normal = shift(torch.randn(1000, 5) * 7 + 3)
    torch.testing.assert_close(normal.mean(dim=0), torch.full((5,), 0.1), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std(dim=0), torch.ones(5), atol=1e-2, rtol=0)


def test_dropout_zeroes_some_values_and_scales_up_the_others() -> None:
    torch.manual_seed(0)
    assert dropout_layer(0.0) == []
    (layer,) = dropout_layer(0.25)
    values = layer(torch.ones(100_000))
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (values > 0).float().mean().item() == pytest.approx(0.75, abs=0.01)
    for probability in (1.0, -0.1, 1.01):
        with pytest.raises(ValueError, match=f"dropout={probability}: "):
            dropout_layer(probability)


def test_whitening_makes_patches_uncorrelated_with_the_same_variance() -> None:
    torch.manual_seed(0)
    images = nn.functional.avg_pool2d(torch.rand(200, 1, 30, 30), 3, stride=1)  # neighbours are alike
    layer = WhiteningConv2d(8, 3, 2, 28, "valid")
    layer.prepare(images)
    seen = layer(images).transpose(0, 1).flatten(1)
    assert seen.shape == (8, 200 * 13 * 13)
    torch.testing.assert_close(seen[:4], -seen[4:])
    covariance = seen[:4].cov()
    assert covariance.diagonal().tolist() == pytest.approx([1.0] * 4, abs=0.05)  # the strongest four of nine
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3
    assert not [p for p in layer.parameters() if p.requires_grad]
    images[:, :, :, ::2] = 0.5  # two of three columns of a patch are always blank
    layer.prepare(images)
    assert layer.weight.isfinite().all()
    assert layer.weight.abs().max() < 1000


def test_batch_norms_running_averages_move_by_a_hundredth() -> None:
    (layer,) = norm("shift", 1, Init("zeros", 0.1, 0.0))
    layer(torch.tensor([[2.0], [4.0]]))
    assert layer.running_mean.item() == pytest.approx(0.01 * 3)
    assert layer.running_var.item() == pytest.approx(0.99 * 1 + 0.01 * 2)  # the variance of 2 and 4 over n - 1 is 2


def test_dropout_is_off_in_evaluation() -> None:
    (layer,) = dropout_layer(0.25)
    assert torch.equal(layer.eval()(torch.ones(1000)), torch.ones(1000))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Init("ones", 0.1, 0.0), "init=ones: must be one of zeros, truncated_normal, he, torch"),
        (lambda: Init("truncated_normal", -0.1, 0.0), r"weight_std=\[-0.1\]: must hold at least one number"),
        (lambda: norm("yes", 5, Init("he", 0.1, 0.0)), "batch_norm=yes: must be one of none, shift, scale_and_shift"),
        (lambda: WhiteningConv2d(20, 3, 1, 28), "channels=20: whitening by 3x3 takes an even number up to 18"),
        (lambda: WhiteningConv2d(2, 29, 1, 28), "kernels=29: whitening takes a kernel that fits into 28 pixels"),
        (lambda: WhiteningConv2d(5, 5, 1, 28), "channels=5: whitening by 5x5 takes an even number up to 50"),
        (lambda: dropout_layer(1.0), "dropout=1.0: the probability to zero a value must be at least 0 and below 1"),
    ],
)
def test_impossible_options_are_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


MULTIPLY_ADDS: list[tuple[nn.Module, int]] = [
    (Softmax(), 784 * 10),
    (MLP([200, 30], batch_norm="shift"), 784 * 200 + 200 * 30 + 30 * 10),
    (Convnet([6, 12], [6, 5], [1, 2], hidden=20), 784 * 36 * 6 + 196 * 25 * 6 * 12 + 196 * 12 * 20 + 20 * 10),
    (SmallResNet([4, 8], [3, 1]), 784 * 9 * (4 + 2 * 16) + 196 * 9 * 4 * 8 + 8 * 10),
    (nn.Sequential(nn.Conv2d(1, 4, 3, groups=1), nn.Conv2d(4, 8, 3, groups=4)), 26**2 * 9 * 4 + 24**2 * 9 * 8),
    (ShiftedCopies(Softmax(), 1), 9 * 784 * 10),
]


@pytest.mark.parametrize(("network", "count"), MULTIPLY_ADDS)
def test_multiply_adds_by_hand(network: nn.Module, count: int) -> None:
    before, random_state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert multiply_adds(network) == count
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks for module in network.modules())


def test_the_mean_over_shifts_is_that_of_the_probabilities() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    images = torch.zeros(3, 1, 28, 28)
    images[..., 2:26, 2:26] = torch.rand(3, 1, 24, 24)
    probabilities = sum(network(images.roll((a, b), (2, 3))).softmax(1) for a in (-1, 0, 1) for b in (-1, 0, 1)) / 9
    torch.testing.assert_close(mean_over_shifts(network, images, 1).exp(), probabilities)
    assert torch.equal(mean_over_shifts(network, images, 0), network(images))
    grey = torch.full((3, 1, 28, 28), -0.4)  # as the ground is where images are normalised: what comes in is ground too
    torch.testing.assert_close(mean_over_shifts(network, grey, 2), network(grey).log_softmax(1))


def test_the_last_of_the_shifted_copies_is_the_image_itself() -> None:
    seen: list[torch.Tensor] = []
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    network.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 1, 28, 28)
    mean_over_shifts(network, images, 1)
    assert len(seen) == 9
    assert torch.equal(seen[-1], images)
