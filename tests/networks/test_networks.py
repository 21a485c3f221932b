import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

from mnist_lab.build import build
from mnist_lab.networks import MLP, Convnet, Softmax

CONF = Path(__file__).parents[2] / "conf" / "model"

# Weights and biases, layer by layer.
PARAMETERS = {
    "softmax": 784 * 10 + 10,
    "mlp_sigmoid": 784 * 200 + 200 + 200 * 100 + 100 + 100 * 10 + 10,
    "mlp_relu": 784 * 200 + 200 + 200 * 100 + 100 + 100 * 60 + 60 + 60 * 30 + 30 + 30 * 10 + 10,
    "strided_convnet": 36 * 6 + 6 + 25 * 6 * 12 + 12 + 16 * 12 * 24 + 24 + 7 * 7 * 24 * 200 + 200 + 200 * 10 + 10,
    "small_resnet": 9 * (16 + 2 * 16**2 + 16 * 32 + 2 * 32**2 + 32 * 64 + 2 * 64**2)
    + 2 * 3 * (16 + 32 + 64)
    + 64 * 10
    + 10,
    "convnet": 25 * 32 + 32 + 25 * 32 * 64 + 64 + 7 * 7 * 64 * 1024 + 1024 + 1024 * 10 + 10,
}


@pytest.mark.parametrize("model", PARAMETERS)
def test_shapes_and_number_of_parameters(model: str) -> None:
    network = build(OmegaConf.load(CONF / f"{model}.yaml"), "model")
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[model]
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 10)
    assert {path.stem for path in CONF.glob("*.yaml")} - {"other"} == PARAMETERS.keys()


def test_pooling_before_the_relu_changes_neither_values_nor_gradients() -> None:
    torch.manual_seed(0)
    network = Convnet([3, 5], [5, 5], pool=True, hidden=7)
    images = torch.rand(4, 1, 28, 28)
    one, other = network.convolutions[0], network.convolutions[3]
    as_told = F.max_pool2d(F.relu(other(F.max_pool2d(F.relu(one(images)), 2))), 2)
    torch.testing.assert_close(network(images), network.dense(as_told))
    network(images).square().sum().backward()
    gradient = one.weight.grad.clone()
    network.zero_grad()
    network.dense(as_told).square().sum().backward()
    torch.testing.assert_close(one.weight.grad, gradient)


def test_batch_norm_takes_the_place_of_the_biases_before_it() -> None:
    for network in (MLP([20], batch_norm="shift"), Convnet([4], [5], [2], hidden=20, batch_norm="shift")):
        trained = [name for name, p in network.named_parameters() if p.requires_grad and p.dim() == 1]
        biases = sum(p.numel() for name, p in network.named_parameters() if name in trained)
        assert biases == 20 + 10 + (4 if isinstance(network, Convnet) else 0)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network, images = MLP([50], dropout=0.5), torch.rand(2, 1, 28, 28)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (Softmax, {"init": "ones"}, "init=ones: must be one of zeros"),
        (MLP, {"hidden": []}, r"hidden=\[\]: must hold at least one"),
        (MLP, {"hidden": [5, 0]}, r"hidden=\[5, 0\]"),
        (MLP, {"hidden": [5], "dropout": 1.0}, "dropout=1.0"),
        (MLP, {"hidden": [5], "activation": "tanhh"}, "activation=tanhh: must be one of relu, sigmoid"),
        (MLP, {"hidden": [5], "batch_norm": "yes"}, "batch_norm=yes"),
        (MLP, {"hidden": [5], "weight_std": 0.0}, "weight_std"),
        (Convnet, {"channels": [4, 8], "kernels": [5], "strides": [1, 2]}, "must be of one length"),
        (Convnet, {"channels": [4], "kernels": [0], "strides": [1]}, "kernels="),
        (Convnet, {"channels": [4], "kernels": [5], "strides": [1], "hidden": 0}, "hidden="),
        (Convnet, {"channels": [4], "kernels": [5], "strides": [0]}, "strides="),
        (Convnet, {"channels": [4], "kernels": [5], "strides": [1], "activation": "elu"}, "activation=elu"),
        (Convnet, {"channels": [4], "kernels": [5], "strides": [1], "batch_norm": "yes"}, "batch_norm=yes"),
        (Convnet, {"channels": [4], "kernels": [5], "strides": [1], "dropout": -0.5}, "dropout=-0.5"),
        (Convnet, {"channels": [4], "kernels": [5], "padding": "none"}, "padding=none: must be one of same, valid"),
        (Convnet, {"channels": [1, 2, 3, 4, 5], "kernels": [5] * 5, "pool": True}, "nothing is left of 28 pixels"),
        (Convnet, {"channels": [], "kernels": []}, "channels="),
    ],
)
def test_impossible_options_are_named(kind: type, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**options)


def test_the_counts_told_in_the_config_are_right() -> None:
    told = {path.stem: re.search(r"([\d,]+) parameters", path.read_text()) for path in CONF.glob("*.yaml")}
    counts = {model: int(found[1].replace(",", "")) for model, found in told.items() if found}
    assert counts == {model: PARAMETERS[model] for model in ("softmax", "mlp_relu")}


@pytest.mark.parametrize("model", sorted(PARAMETERS.keys() - {"small_resnet"}))  # which has no options for biases
def test_first_and_last_biases_are_those_of_the_config(model: str) -> None:
    config = OmegaConf.load(CONF / f"{model}.yaml")
    biases = [p for name, p in build(config, "model").named_parameters() if name.endswith("bias")]
    assert biases[0].unique().tolist() == pytest.approx([config.bias])
    assert biases[-1].unique().tolist() == pytest.approx([config.get("output_bias", config.bias)])


def test_torchs_own_initial_values_are_left_alone() -> None:
    torch.manual_seed(0)
    ours = Softmax(init="torch").linear
    torch.manual_seed(0)
    theirs = torch.nn.Linear(784, 10)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
