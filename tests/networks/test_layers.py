from collections.abc import Callable

import numpy as np
import pytest
import torch

from mnist_lab.networks.layers import Dense, Init, PaddedConv2d, _mkl_is_slow, dropout, norm


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
    weight, bias = torch.empty(400, 500), torch.empty(400)
    Init("truncated_normal", 0.1, 0.25).apply(weight, bias)
    assert weight.abs().max() <= 0.2
    assert (weight.abs() > 0.1999).float().mean() < 0.001  # clamping would pile up 4.6% there
    assert weight.std().item() == pytest.approx(0.0880, abs=0.0005)  # of a normal cut at two deviations: 0.8796 of it
    assert bias.unique().tolist() == [0.25]


def test_the_other_initial_values() -> None:
    torch.manual_seed(0)
    weight, bias = torch.ones(500, 200), torch.ones(500)
    Init("he", 0.1, 0.5).apply(weight, bias, 0.0)
    assert weight.std().item() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert bias.unique().tolist() == [0.0]
    Init("zeros", 0.1, 0.5).apply(weight, bias)
    assert not weight.any()
    before = torch.rand(5, 5)
    kept = before.clone()
    Init("torch", 0.1, 0.5).apply(kept, None)
    assert torch.equal(kept, before)


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


def test_dropout_keeps_a_share_and_scales_it_up() -> None:
    torch.manual_seed(0)
    assert dropout(1.0) == []
    (layer,) = dropout(0.75)
    values = layer(torch.ones(100_000))
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (values > 0).float().mean().item() == pytest.approx(0.75, abs=0.01)
    for keep in (0.0, -1.0, 1.01):
        with pytest.raises(ValueError, match="keep="):
            dropout(keep)


def test_batch_norms_running_averages_move_by_a_hundredth() -> None:
    (layer,) = norm("shift", 1, Init("zeros", 0.1, 0.0))
    layer(torch.tensor([[2.0], [4.0]]))
    assert layer.running_mean.item() == pytest.approx(0.01 * 3)
    assert layer.running_var.item() == pytest.approx(0.99 * 1 + 0.01 * 2)  # the variance of 2 and 4 over n - 1 is 2


def test_dropout_is_off_in_evaluation() -> None:
    (layer,) = dropout(0.25)
    assert torch.equal(layer.eval()(torch.ones(1000)), torch.ones(1000))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Init("ones", 0.1, 0.0), "init=ones: must be one of zeros, truncated_normal, he, torch"),
        (lambda: Init("truncated_normal", -0.1, 0.0), r"weight_std=\[-0.1\]: must hold at least one number"),
        (lambda: norm("yes", 5, Init("he", 0.1, 0.0)), "batch_norm=yes: must be one of none, shift, scale_and_shift"),
        (lambda: dropout(0.0), "keep=0.0: the probability to keep a value must be above 0 and at most 1"),
    ],
)
def test_impossible_options_are_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.skipif(not _mkl_is_slow(), reason="MKL has kernels for this processor, torch's own way is taken")
@pytest.mark.parametrize("bias", [True, False])
def test_a_large_dense_layer_trains_by_another_way_to_the_same_results(bias: bool) -> None:
    torch.manual_seed(0)
    layer = Dense(784, 200, bias=bias)
    plain = torch.nn.Linear(784, 200, bias=bias)
    plain.load_state_dict(layer.state_dict())
    images = torch.rand(100, 784, requires_grad=True)
    gradients = []
    for dense in (layer, plain):
        loss = dense(images).square().sum()
        gradients.append([loss, *torch.autograd.grad(loss, [images, *dense.parameters()])])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    expected = "_OneDnnLinear" if bias else "MmBackward"
    assert expected in type(layer(images).grad_fn).__name__
