"""What the networks share: checked options, initial values, dense and convolutional layers, batch normalisation."""

import contextlib
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

INITS = ("zeros", "truncated_normal", "he", "torch")
BATCH_NORMS = ("none", "shift", "scale_and_shift")
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def one_of(argument: str, value: str, allowed: Iterable[str]) -> None:
    """Raise a ValueError that lists the choices unless ``value`` is one of them."""
    if value not in allowed:
        raise ValueError(f"{argument}={value}: must be one of {', '.join(allowed)}")


def positive(argument: str, *values: float) -> None:
    """Raise a ValueError unless there are values and each is above zero."""
    if not values or min(values) <= 0:
        raise ValueError(f"{argument}={list(values)}: must hold at least one number, each above 0")


@dataclass(frozen=True)
class Init:
    """Initial values of a layer.

    ``truncated_normal`` redraws beyond two standard deviations, as TensorFlow's function of that name does; ``he`` is
    He et al. 2015 for ReLU; ``torch`` leaves PyTorch's own default, biases included.
    """

    kind: str
    std: float
    bias: float

    def __post_init__(self) -> None:
        one_of("init", self.kind, INITS)
        if self.kind == "truncated_normal":
            positive("weight_std", self.std)

    def apply(self, weight: Tensor, bias: Tensor | None, bias_value: float | None = None) -> None:
        """Fill ``weight`` and ``bias`` in place; ``bias_value`` replaces the bias, for a last layer that differs."""
        if self.kind == "zeros":
            nn.init.zeros_(weight)
        elif self.kind == "truncated_normal":
            nn.init.trunc_normal_(weight, std=self.std, a=-2 * self.std, b=2 * self.std)
        elif self.kind == "he":
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        if bias is not None and self.kind != "torch":
            nn.init.constant_(bias, self.bias if bias_value is None else bias_value)


class PaddedConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME or VALID padding. Input (batch, in_channels, size, size).

    ``same``: the output is ceil(size / stride) wide. The padding needed is split evenly, and an odd one goes after:
    28 -> 14 with a 5x5 kernel and stride 2 pads 1 before and 2 after; a 6x6 kernel with stride 1 pads 2 before and 3
    after. ``valid`` pads nothing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        size: int,
        bias: bool = True,
        padding: str = "same",
    ):
        super().__init__(in_channels, out_channels, kernel, stride, bias=bias)
        self.out_size = -(-size // stride) if padding == "same" else (size - kernel) // stride + 1
        total = max((self.out_size - 1) * stride + kernel - size, 0)
        self.before, self.after = total // 2, total - total // 2
        if self.before == self.after:
            self.padding = (self.before, self.before)

    def forward(self, input: Tensor) -> Tensor:
        """(batch, in_channels, size, size) -> (batch, out_channels, out_size, out_size)."""
        if self.before != self.after:
            input = F.pad(input, (self.before, self.after, self.before, self.after))
        return super().forward(input)


def halved(layers: nn.Sequential, images: Tensor) -> Tensor:
    """What ``layers`` (a convolution, an activation, a convolution; strides of 1, then 2) give, by a cheaper way back.

    The two need never meet as an image: what the first makes of the 2x2 pixels of a cell are four times its channels
    in an image of half the size. To make them, it takes strides of 2 with its kernel in four places; and the second, to
    read them, strides of 1 with a kernel of a quarter of the pixels and four times the channels. Zeros fill the gaps.
    Sums are taken in another order, so results differ in the last bits. (batch, c, size, size), of an even size ->
    (batch, out_channels of the second, size / 2, size / 2).
    """
    first, activation, second = layers
    assert isinstance(first, PaddedConv2d)
    assert isinstance(second, PaddedConv2d)
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


class _OneDnnLinear(torch.autograd.Function):
    """A dense layer in float32 by oneDNN's matrix products, where torch calls MKL's."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        inputs, weight = ctx.saved_tensors
        of_inputs = _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        return of_inputs, _product(gradient.t(), inputs.t()), gradient.sum(0)


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.t() + bias``."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return result


@functools.cache
def _mkl_is_slow() -> bool:
    """Whether this is a processor of AMD's with AVX-512, for which MKL has no kernels of its own."""
    with contextlib.suppress(OSError):
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
        amd = amd and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        return amd and torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return False


class Dense(nn.Linear):
    """``nn.Linear`` that trains in less than half the time where MKL is slow: docs/BENCHMARKS.md has the figures."""

    _LARGE = 2**17  # weights, from which on the gain is above the cost of a call

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        large = self.training and self.weight.numel() >= self._LARGE and self.bias is not None
        plain = input.dtype == torch.float32 and input.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if large and plain and _mkl_is_slow():
            result: Tensor = _OneDnnLinear.apply(input, self.weight, self.bias)
            return result
        return super().forward(input)


def linear(inputs: int, outputs: int, init: Init, bias: bool = True, bias_value: float | None = None) -> nn.Linear:
    """A dense layer, initialised."""
    layer = Dense(inputs, outputs, bias=bias)
    init.apply(layer.weight, layer.bias, bias_value)
    return layer


def conv(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    size: int,
    init: Init,
    bias: bool = True,
    padding: str = "same",
) -> PaddedConv2d:
    """A convolution, initialised."""
    layer = PaddedConv2d(inputs, outputs, kernel, stride, size, bias, padding)
    init.apply(layer.weight, layer.bias)
    return layer


def norm(kind: str, features: int, init: Init, spatial: bool = False) -> list[nn.Module]:
    """Batch normalisation that goes before the activation, or nothing for ``none``.

    Its shift takes the place of the layer's bias and starts at the bias's value. ``shift`` has no scale of its own,
    which is all a ReLU needs (the next layer can scale). Running averages move by 1% a step.
    """
    one_of("batch_norm", kind, BATCH_NORMS)
    if kind == "none":
        return []
    layer = (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(features, momentum=0.01)
    nn.init.constant_(layer.bias, init.bias)
    layer.weight.requires_grad_(kind == "scale_and_shift")
    return [layer]


def dropout(keep: float) -> list[nn.Module]:
    """Dropout that keeps a value with probability ``keep`` and scales what is kept by 1 / keep; nothing for 1."""
    if not 0 < keep <= 1:
        raise ValueError(f"keep={keep}: the probability to keep a value must be above 0 and at most 1")
    return [nn.Dropout(1 - keep)] if keep < 1 else []


def readout(
    inputs: int, hidden: int, activation: str, keep: float, batch_norm: str, start: Init, output_bias: float
) -> nn.Sequential:
    """The end of a convnet: flatten to ``inputs`` values, one dense layer with dropout, 10 logits."""
    return nn.Sequential(
        nn.Flatten(),
        linear(inputs, hidden, start, bias=batch_norm == "none"),
        *norm(batch_norm, hidden, start),
        ACTIVATIONS[activation](),
        *dropout(keep),
        linear(hidden, 10, start, bias_value=output_bias),
    )
