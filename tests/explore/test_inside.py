"""What is shown of a network, against values computed by hand or by torch in another way."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_lab.explore.inside import IG_POINTS, Inside
from mnist_lab.networks import MLP, Convnet, SmallResNet, Softmax
from mnist_lab.networks.layers import Normalize, PaddedConv2d, ShiftedCopies


def drawing(seed: int = 0) -> np.ndarray:
    image = np.zeros((28, 28), np.uint8)
    image[5:23, 8:20] = np.random.default_rng(seed).integers(0, 256, (18, 12))
    return image


def tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).view(1, 1, 28, 28) / 255


NETWORKS = {
    "softmax": lambda: Softmax("truncated_normal"),
    "mlp": lambda: MLP([20, 15], "sigmoid", batch_norm="scale_and_shift", dropout=0.5),
    "strided": lambda: Convnet([3, 4], [6, 5], [1, 2], hidden=11, dropout=0.5),
    "pooled": lambda: Convnet([3, 4], [5, 5], pool=True, hidden=11),
    "valid": lambda: Convnet([3, 4], [5, 3], [2, 1], padding="valid", hidden=11, batch_norm="shift"),
    "resnet": lambda: SmallResNet([4, 6], [3, 3], stride=2),
    "plain": lambda: SmallResNet([4, 6], [2, 2], residual=False, pool="mean"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_sum_is_what_it_looked_at_times_its_weights(name: str) -> None:
    torch.manual_seed(0)
    inside, image = Inside(NETWORKS[name]()), drawing()
    _, values = inside.look(image)
    weighted = [i for i, step in enumerate(inside.steps) if step.weights]
    assert weighted
    for i in weighted:
        flat = values[i].ravel()
        for index in {0, len(flat) // 3, len(flat) - 1, int(flat.argmax())}:
            unit = inside.unit(image, i, index)
            assert unit.inputs.shape == unit.weights.shape
            assert (unit.inputs * unit.weights).sum() + unit.bias == pytest.approx(float(flat[index]), abs=1e-5)
            assert unit.sum == pytest.approx(float(flat[index]), abs=1e-6)


def test_the_patch_of_a_strided_convolution_is_where_it_lies_in_the_image() -> None:
    torch.manual_seed(0)
    inside, image = Inside(Convnet([2], [5], [2], hidden=3)), drawing()
    unit = inside.unit(image, 0, 14 * 14 + 6 * 14 + 5)  # channel 1, row 6, column 5; 1 pixel of padding before
    np.testing.assert_allclose(unit.inputs[0], image[11:16, 9:14] / 255, atol=1e-7)
    corner = inside.unit(image, 0, 0)
    assert (corner.inputs[0, 0] == 0).all()
    assert (corner.inputs[0, :, 0] == 0).all()


class Odd(nn.Module):
    """Works in place, uses functions, groups, dilation and circular padding, and calls a layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, groups=2, dilation=2, padding="same")
        self.third = nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular", stride=2)
        self.last = nn.Linear(2 * 14 * 14, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = self.act(self.second(x)) + x
        return self.last(F.gelu(self.third(x)).flatten(1))


def test_any_network_even_one_that_works_in_place() -> None:
    torch.manual_seed(0)
    network, image = Odd(), drawing()
    inside = Inside(network)
    logits, values = inside.look(image)
    with torch.inference_mode():
        np.testing.assert_allclose(logits, network(tensor(image))[0], atol=1e-6)
        np.testing.assert_allclose(values[0], network.first(tensor(image))[0], atol=1e-6)  # not what ReLU made of it
    assert [step.name for step in inside.steps] == ["first", "second", "act", "third", "last"]
    assert (values[0] < 0).any()
    for i in (0, 1, 3, 4):
        for index in (0, values[i].size // 2, values[i].size - 1):
            unit = inside.unit(image, i, index)
            assert (unit.inputs * unit.weights).sum() + unit.bias == pytest.approx(values[i].flat[index], abs=1e-5)
    with pytest.raises(ValueError, match="has no weights"):
        inside.unit(image, 2, 0)


def test_dropout_and_batch_norm_are_those_of_evaluation() -> None:
    torch.manual_seed(0)
    network = Convnet([3], [5], [2], hidden=8, dropout=0.9, batch_norm="scale_and_shift").train()
    inside = Inside(network)
    first, second = inside.look(drawing())[0], inside.look(drawing())[0]
    np.testing.assert_array_equal(first, second)
    with torch.inference_mode():
        np.testing.assert_allclose(first, network.eval()(tensor(drawing()))[0], atol=1e-6)


def test_steps_say_what_they_are() -> None:
    normalised = nn.Sequential(Normalize(0.1, 0.3), Convnet([3, 4], [5, 5], pool=True, hidden=11, dropout=0.5))
    steps = Inside(ShiftedCopies(normalised, 1)).steps
    assert [step.kind for step in steps] == [
        "normalised image", "convolution", "max pooling", "ReLU", "convolution", "max pooling", "ReLU",
        "dense", "ReLU", "dense", "mean over shifted copies",
    ]  # fmt: skip
    assert steps[1][2:] == ((3, 28, 28), (3, 1, 5, 5), 1, 2, 0)
    assert steps[2].window == 2
    assert [step.kind for step in Inside(SmallResNet([4], [3])).steps][-4:] == [
        "batch norm", "input added, ReLU", "mean of each channel", "dense"
    ]  # fmt: skip


def test_gradient_and_integrated_gradients_of_a_linear_network_are_its_weights() -> None:
    network = Softmax("truncated_normal")
    inside, image = Inside(network), drawing()
    weights = network.linear.weight[3].view(28, 28).numpy()
    np.testing.assert_allclose(inside.gradient(image, 3), weights, atol=1e-7)
    np.testing.assert_allclose(inside.integrated_gradients(image, 3), weights * image / 255, atol=1e-7)


def test_gradient_is_what_a_little_more_ink_does() -> None:
    torch.manual_seed(0)
    network = MLP([16], "sigmoid").double()
    image = drawing()
    gradient = Inside(MLP([16], "sigmoid")).network  # any dtype but float32 is not what runs have
    gradient.load_state_dict(network.state_dict())
    found = Inside(gradient).gradient(image, 7)
    x = tensor(image).double()
    for row, column in ((10, 10), (3, 25), (20, 18)):
        more, less = x.clone(), x.clone()
        more[0, 0, row, column] += 1e-4
        less[0, 0, row, column] -= 1e-4
        with torch.inference_mode():
            slope = (network(more) - network(less))[0, 7] / 2e-4
        assert found[row, column] == pytest.approx(float(slope), abs=1e-6)


def test_integrated_gradients_add_up_to_what_the_image_changes() -> None:
    torch.manual_seed(0)
    inside, image = Inside(MLP([30], "sigmoid")), drawing()
    change = inside.look(image)[0][2] - inside.look(np.zeros_like(image))[0][2]
    assert IG_POINTS >= 8
    assert inside.integrated_gradients(image, 2).sum() == pytest.approx(change, rel=1e-2)


def test_occlusion_of_a_linear_network_is_what_its_windows_lose() -> None:
    network = Softmax("truncated_normal")
    inside, image = Inside(network), drawing()
    lost = (network.linear.weight[1].view(28, 28) * tensor(image)[0, 0]).numpy()
    windows = np.array([[lost[r : r + 4, c : c + 4].sum() for c in range(0, 25, 2)] for r in range(0, 25, 2)])
    found = inside.occlusion(image, 1)
    assert found[0, 0] == pytest.approx(windows[0, 0], abs=1e-5)  # a corner is covered once
    assert found[13, 13] == pytest.approx(windows[5:7, 5:7].mean(), abs=1e-4)
    assert (Inside(network).occlusion(np.zeros((28, 28), np.uint8), 1) == 0).all()


def test_padding_is_the_projects_own() -> None:
    conv = PaddedConv2d(1, 1, 6, 2, 28)
    network = nn.Sequential(conv, nn.Flatten(), nn.Linear(14 * 14, 10))
    inside = Inside(network)
    assert inside.steps[0].before == conv.before
