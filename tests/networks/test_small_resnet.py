from typing import Any

import pytest
import torch
from torch import nn

from mnist_lab.networks import SmallResNet


def trained(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_parameters_by_hand() -> None:
    of_convs = 9 * (1 * 8 + 8 * 11 + 11 * 11 + 11 * 11 + 11 * 11)
    of_dense, shifts = 11 * 10 + 10, 8 + 11 * 4
    assert trained(SmallResNet([8, 11, 11], [1, 2, 2], residual=False)) == of_convs + of_dense + 2 * shifts
    assert trained(SmallResNet([8, 11, 11], [1, 2, 2], False, batch_norm="shift")) == of_convs + of_dense + shifts
    assert trained(SmallResNet([8, 11, 11], [1, 2, 2], False, batch_norm="none")) == of_convs + of_dense + shifts
    assert trained(SmallResNet([4], [3])) == 9 * (4 + 2 * 16) + 2 * 3 * 4 + 50


def test_stages_halve_the_image_and_the_last_is_averaged() -> None:
    shapes: list[torch.Size] = []
    network = SmallResNet([4, 6, 8], [1, 3, 1], stride=2)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, output: shapes.append(output.shape[1:]))
    means: list[torch.Tensor] = []
    network.dense[-1].register_forward_pre_hook(lambda layer, inputs: means.append(inputs[0]))
    last = network.convolutions(torch.rand(2, 1, 28, 28))
    assert [tuple(shape) for shape in shapes] == [(4, 14, 14), (6, 7, 7), (6, 7, 7), (6, 7, 7), (8, 3, 3)]
    network.dense(last)
    torch.testing.assert_close(means[0], last.mean((2, 3)))


def test_a_pair_adds_its_input() -> None:
    torch.manual_seed(0)
    network = SmallResNet([4], [3]).eval()
    conv, normal, relu, pair = network.convolutions
    hidden = relu(normal(conv(torch.rand(2, 1, 28, 28))))
    one, norm_one, _, two, norm_two = pair
    expected = (hidden + norm_two(two(norm_one(one(hidden)).relu()))).relu()
    torch.testing.assert_close(pair(hidden), expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"widths": []}, "widths="),
        ({"widths": [4, 0]}, r"widths=\[4, 0\]"),
        ({"convs": [1]}, "must be of one length"),
        ({"convs": [1, 2]}, r"convs=\[1, 2\]: must be odd where residual"),
        ({"stride": 0}, "stride="),
        ({"pool": "min"}, "pool=min: must be one of max, mean"),
        ({"batch_norm": "yes"}, "batch_norm=yes"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"widths": [4] * 6, "convs": [1] * 6}, "nothing is left of 28 pixels"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SmallResNet(**{"widths": [4, 6], "convs": [1, 3]} | options)
