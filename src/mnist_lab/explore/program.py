"""A network of ours as a list of operations with 8-bit weights, for the forward pass in page/network.js."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from mnist_lab.errors import UserError
from mnist_lab.networks import MLP, Convnet, SmallResNet, Softmax
from mnist_lab.networks.layers import Normalize, PaddedConv2d, ShiftedCopies
from mnist_lab.networks.small_resnet import ResidualPair

Array = np.ndarray[Any, Any]
Operation = dict[str, Any]
_BLOCK = 32  # weights that share a scale


class Program:
    """``operations`` in their order, and ``packed``, the bytes of their weights.

    A weight is a whole number from -127 to 127 times the scale of its block, 32 weights of one unit; scales, biases
    and the scale and shift of batch norm are float32. ``weights``, ``bias`` and so on of an operation are where they
    begin in ``packed``. Raises UserError for a module that is none of ours.
    """

    def __init__(self, network: nn.Module):
        self.packed = bytearray()
        self.operations = self._of(network, "")

    def _of(self, module: nn.Module, name: str) -> list[Operation]:
        at = {"name": name}
        inner = f"{name}." if name else ""
        match module:
            case ResidualPair():
                return [{"op": "residual", **at, "inside": self._each(module, inner)}]
            case nn.Sequential():
                return self._each(module, inner)
            case ShiftedCopies():
                inside = self._of(module.network, f"{inner}network")
                return [{"op": "shifts", **at, "pixels": module.pixels, "inside": inside}]
            case Softmax():
                return [{"op": "flatten"}, *self._of(module.linear, f"{inner}linear")]
            case MLP():
                return self._of(module.layers, f"{inner}layers")
            case Convnet() | SmallResNet():
                parts = ("convolutions", "dense")
                return [op for part in parts for op in self._of(getattr(module, part), inner + part)]
            case PaddedConv2d():
                padding = {"stride": module.stride[0], "before": module.before, "after": module.after}
                return [{"op": "convolution", **at, **padding, **self._weights(module)}]
            case nn.Linear():
                return [{"op": "dense", **at, **self._weights(module)}]
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                return [{"op": "affine", **at, **self._batch_norm(module)}]
            case Normalize():
                return [{"op": "normalize", **at, "mean": module.mean, "std": module.std}]
            case nn.MaxPool2d() | nn.AvgPool2d():
                op = "max_pool" if isinstance(module, nn.MaxPool2d) else "mean_pool"
                return [{"op": op, **at, "window": module.kernel_size}]
            case nn.ReLU() | nn.Sigmoid() | nn.AdaptiveAvgPool2d():
                return [{"op": {nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}.get(type(module), "mean"), **at}]
            case nn.Flatten():
                return [{"op": "flatten"}]
            case nn.Dropout() | nn.Identity():
                return []
        raise UserError(
            f"--format html: has no forward pass for {type(module).__name__}, only for mnist_lab's own networks; "
            "python -m mnist_lab.explore shows any network"
        )

    def _each(self, modules: nn.Sequential, inner: str) -> list[Operation]:
        return [op for name, module in modules.named_children() for op in self._of(module, inner + name)]

    def _weights(self, layer: nn.Linear | nn.Conv2d) -> Operation:
        whole, scales = _quantized(layer.weight.detach().flatten(1).numpy())
        found = {"shape": list(layer.weight.shape), "block": _BLOCK}
        found |= {"scales": self._put(scales), "weights": self._put(whole)}
        return found | ({} if layer.bias is None else {"bias": self._put(layer.bias.detach().numpy())})

    @torch.no_grad()
    def _batch_norm(self, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> Operation:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        shift = layer.bias - layer.running_mean * scale
        return {"channels": len(scale), "scale": self._put(scale.numpy()), "shift": self._put(shift.numpy())}

    def _put(self, values: Array) -> int:
        """Append ``values``, as bytes or as float32, on a boundary of four bytes: where they begin."""
        self.packed += bytes(-len(self.packed) % 4)
        begin = len(self.packed)
        self.packed += (values if values.dtype == np.int8 else values.astype("<f4")).tobytes()
        return begin


def quantized(network: nn.Module) -> nn.Module:
    """A copy of ``network`` with the weights that a :class:`Program` of it has."""
    network = copy.deepcopy(network)
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            whole, scales = _quantized(layer.weight.detach().flatten(1).numpy())
            values = whole * np.repeat(scales, _BLOCK, axis=1)[:, : whole.shape[1]]
            layer.weight.data = torch.from_numpy(values.astype(np.float32)).view_as(layer.weight)
    return network


def _quantized(rows: Array) -> tuple[Array, Array]:
    """Whole numbers (units, n) and the scale of each block (units, blocks), for weights (units, n)."""
    width = -(-rows.shape[1] // _BLOCK) * _BLOCK
    blocks = np.pad(rows, ((0, 0), (0, width - rows.shape[1]))).reshape(len(rows), -1, _BLOCK)
    scales = (np.abs(blocks).max(axis=2) / 127).astype(np.float32)
    whole = np.rint(blocks / np.where(scales, scales, 1)[..., None]).astype(np.int8)
    return whole.reshape(len(rows), width)[:, : rows.shape[1]], scales
