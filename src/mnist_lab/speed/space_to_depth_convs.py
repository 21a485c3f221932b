"""A convolution with stride 1 and one with stride 2 after it, computed as convolutions of a half-size image.

The 2x2 pixels of each cell become four times the channels, so that few channels fill a processor's vectors and the
backward pass needs no stride of 2. Figure: a step of the strided convnet takes 5.9 ms instead of 7.1 ms. Risk: sums are
taken in another order, so results differ in the last bits. It stands aside in evaluation and for other networks.
"""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_lab.networks.layers import PaddedConv2d
from mnist_lab.speed import stand_aside

_MOST_CHANNELS = 24  # of the first layer; more fill a processor's vectors by themselves


class SpaceToDepthConvs(pl.Callback):
    """Makes a sequence of layers that begins this way a :class:`SpaceToDepthSequential` while it trains."""

    _sequences: Sequence[nn.Sequential] = ()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._sequences = [m for m in pl_module.modules() if type(m) is nn.Sequential and _suits(m)]
        if not self._sequences:
            stand_aside("space_to_depth_convs", "the network does not begin with convolutions of strides 1 and 2")
        for sequence in self._sequences:
            sequence.__class__ = SpaceToDepthSequential

    def on_fit_end(self, *_: Any) -> None:
        for sequence in self._sequences:
            if type(sequence) is SpaceToDepthSequential:
                sequence.__class__ = nn.Sequential  # type: ignore[assignment]

    def on_exception(self, *_: Any) -> None:
        self.on_fit_end()


def _suits(sequence: nn.Sequential) -> bool:
    """Whether the first three layers are what the trick computes and nothing waits for their being called.

    Hooks are how pruning and spectral norm make a layer's weight before each call, and a layer may have a forward of
    its own.
    """
    match layers := list(sequence)[:3]:
        case PaddedConv2d(stride=(1, 1)) as first, activation, PaddedConv2d(stride=(2, 2)) as second:
            plain = type(first) is type(second) is PaddedConv2d and first.out_channels <= _MOST_CHANNELS
            return plain and not [*activation.parameters(), *activation.buffers()] and not any(map(_watched, layers))
    return False


def _watched(layer: nn.Module) -> bool:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return "forward" in vars(layer) or any(getattr(layer, kind) for kind in hooks)


class SpaceToDepthSequential(nn.Sequential):
    """A sequence whose first three layers are computed by :func:`space_to_depth_convs` in training."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, c, size, size), of an even size -> whatever the last layer gives."""
        layers: list[Any] = list(self)
        output = input
        if self.training and _suits(self):
            first, activation, second, *layers = layers
            output = space_to_depth_convs(first, activation, second, input)
        for layer in layers:
            output = layer(output)
        return output


def space_to_depth_convs(first: PaddedConv2d, activation: nn.Module, second: PaddedConv2d, images: Tensor) -> Tensor:
    """The output of ``second(activation(first(images)))`` for convolutions with strides 1 and 2.

    The first convolution takes strides of 2 with its kernel in the four places of a cell. The second then takes strides
    of 1, with a kernel of a quarter of the pixels and four times the channels. Zeros fill the gaps. (batch, c, size,
    size), of an even size -> (batch, out_channels of the second, size / 2, size / 2).
    """
    places = [(down, right) for down in (0, 1) for right in (0, 1)]
    kernels = torch.cat([F.pad(first.weight, (right, 1 - right, down, 1 - down)) for down, right in places])
    bias = None if first.bias is None else first.bias.repeat(4)
    images = F.pad(images, (first.before, first.after, first.before, first.after))
    cells = activation(F.conv2d(images, kernels, bias, stride=2))

    front = second.before % 2  # so that the kernel begins where a cell does
    back = (second.kernel_size[0] + front) % 2
    kernel = F.pixel_unshuffle(F.pad(second.weight, (front, back, front, back)), 2)  # (out, c x 4, k, k)
    kernel = torch.unflatten(kernel, 1, (-1, 4)).transpose(1, 2).flatten(1, 2)  # (out, 4 x c, k, k), as the cells are
    before = (second.before + front) // 2
    after = kernel.shape[-1] - 1 - before
    if before != after:
        cells = F.pad(cells, (before, after, before, after))
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    return F.conv2d(cells, kernel, second.bias, padding=before if before == after else 0)
