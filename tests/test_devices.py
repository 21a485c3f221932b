"""The way through a GPU, where there is none: on fake CUDA tensors, which have a device and a type but no values.

They refuse tensors of different devices in one operation, and every ``.item()``, which would wait for the GPU.
"""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mnist_lab.build import classifier
from mnist_lab.classifier import CrossEntropy, DigitClassifier
from mnist_lab.data import Batches
from mnist_lab.runs.directory import register_resolvers

MODELS = sorted({path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")} - {"other"})  # which is the user's own


def model_of(*overrides: str) -> DigitClassifier:
    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return classifier(compose("config", list(overrides)))


def fake(mode: FakeTensorMode, device: str, shape: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    return FakeTensor(mode, torch.empty(shape, dtype=dtype, device="meta"), torch.device(device))


def moved(mode: FakeTensorMode, model: DigitClassifier, device: str) -> Any:
    """A context in which the weights of ``model`` are fake ones on ``device``."""
    weights = [*model.named_parameters(), *model.named_buffers()]
    return _reparametrize_module(model, {name: fake(mode, device, w.shape, w.dtype) for name, w in weights})


def batches_on(mode: FakeTensorMode, device: str, dtype: torch.dtype = torch.uint8, **options: Any) -> Batches:
    """Of 40 images: one batch of 32 and one of 8."""
    images, labels = fake(mode, device, (40, 28, 28), dtype), fake(mode, device, (40,), torch.int64)
    return Batches(images, labels, 32, **options)


def check_on_gpu(model: DigitClassifier, batches: Batches) -> None:
    for images, labels in itertools.islice(batches, 3):  # of those for training, one of the next epoch too
        assert (images.device.type, images.dtype) == ("cuda", torch.float32)
        model.train()
        logits = model(images)
        for loss in (model.loss, CrossEntropy("sum"), CrossEntropy(written_out=True)):
            assert loss(logits, labels).device.type == "cuda"
        model.eval()
        sums = model.evaluate((images, labels))
        assert (sums.device.type, sums.dtype) == ("cuda", torch.float64)  # to add up there, without a wait for the GPU


@pytest.mark.parametrize("name", [*MODELS, "mlp_relu model.batch_norm=shift", "convnet model.dropout=0.25"])
def test_batches_loss_and_evaluation_of_every_model_stay_on_the_gpu(name: str) -> None:
    model = model_of(*f"model={name}".split())
    with FakeTensorMode() as mode, moved(mode, model, "cuda"):
        check_on_gpu(model, batches_on(mode, "cuda", seed=0))


@pytest.mark.parametrize("normalize", [{}, {"mean": 0.1, "std": 0.3}])
def test_the_options_of_the_data_stay_on_the_gpu(normalize: Any) -> None:
    model = model_of("model=softmax")
    with FakeTensorMode() as mode, moved(mode, model, "cuda"):
        for dtype, part in itertools.product((torch.uint8, torch.float32), ({}, {"rank": 1, "world_size": 2})):
            for order in ({"seed": 0}, {}):
                check_on_gpu(model, batches_on(mode, "cuda", dtype, **order, **normalize, **part))


@pytest.mark.parametrize("spoilt", ["a tensor of the CPU", "a wait"])
def test_fake_tensors_find_what_they_are_here_for(spoilt: str) -> None:
    model = model_of("model=softmax")
    with FakeTensorMode() as mode, moved(mode, model, "cuda"):
        images, labels = next(iter(batches_on(mode, "cuda")))
        with pytest.raises(Exception, match="device" if spoilt == "a tensor of the CPU" else "_local_scalar_dense"):
            model.evaluate((images, labels.cpu())) if spoilt == "a tensor of the CPU" else model(images).sum().item()


class NoFloat64(TorchDispatchMode):
    """Refuses to make a float64 tensor on a device other than the CPU, as Apple's GPUs do."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.dtype is torch.float64 and tensor.device.type != "cpu":
                raise TypeError(f"{tensor.device.type} has no float64")
        return made


@pytest.mark.parametrize("name", ["softmax", "convnet"])
def test_no_float64_on_apples_gpu(name: str) -> None:
    model = model_of(f"model={name}")
    with FakeTensorMode() as mode, moved(mode, model, "mps"), NoFloat64():
        sums = model.evaluate((fake(mode, "mps", (32, 1, 28, 28)), fake(mode, "mps", 32, torch.int64)))
        assert (sums.device.type, sums.dtype) == ("cpu", torch.float64)
        with pytest.raises(TypeError, match="mps has no float64"):
            fake(mode, "mps", 3).double()


def test_the_random_numbers_of_apples_gpu_are_in_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, set_again = torch.arange(3), []
    monkeypatch.setattr(DigitClassifier, "device", torch.device("mps"))
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: drawn)
    monkeypatch.setattr(torch.mps, "set_rng_state", set_again.append)
    before, after, checkpoint = model_of("model=softmax"), model_of("model=softmax"), {}
    before._trainer = SimpleNamespace(datamodule=SimpleNamespace(mean=0.0, std=1.0))
    before.on_save_checkpoint(checkpoint)
    after._trainer = SimpleNamespace(world_size=1)
    after.on_load_checkpoint(checkpoint)
    after.on_train_start()
    assert set_again == [drawn]
