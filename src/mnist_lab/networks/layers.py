"""What the networks share: checked options, initial values, padding, batch normalisation, dropout, cost."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
Layer = TypeVar("Layer", nn.Linear, "PaddedConv2d")


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
        one_of("init", self.kind, ("zeros", "truncated_normal", "he", "torch"))
        if self.kind == "truncated_normal":
            positive("weight_std", self.std)

    def __call__(self, layer: Layer, bias: float | None = None) -> Layer:
        """Fill the weights and biases of ``layer``; ``bias`` replaces the usual bias, for a last layer that differs."""
        if self.kind == "zeros":
            nn.init.zeros_(layer.weight)
        elif self.kind == "truncated_normal":
            nn.init.trunc_normal_(layer.weight, std=self.std, a=-2 * self.std, b=2 * self.std)
        elif self.kind == "he":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None and self.kind != "torch":
            nn.init.constant_(layer.bias, self.bias if bias is None else bias)
        return layer


class PaddedConv2d(nn.Conv2d):
    """A convolution of ``inputs`` to ``outputs`` channels with TensorFlow's SAME or VALID padding.

    ``same``: the output is ceil(size / stride) wide. The padding needed is split evenly, and an odd one goes after:
    28 -> 14 with a 5x5 kernel and stride 2 pads 1 before and 2 after. ``valid`` pads nothing.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, size: int, bias: bool = True, padding: str = "same"
    ):
        super().__init__(inputs, outputs, kernel, stride, bias=bias)
        self.out_size = -(-size // stride) if padding == "same" else (size - kernel) // stride + 1
        total = max((self.out_size - 1) * stride + kernel - size, 0)
        self.before, self.after = total // 2, total - total // 2
        if self.before == self.after:
            self.padding = (self.before, self.before)

    def forward(self, input: Tensor) -> Tensor:
        """(batch, inputs, size, size) -> (batch, outputs, out_size, out_size)."""
        if self.before != self.after:
            input = F.pad(input, (self.before, self.after, self.before, self.after))
        return super().forward(input)


class WhiteningConv2d(PaddedConv2d):
    """A first layer that is not trained: the classifier lets :meth:`prepare` make its filters from training images.

    Half of them take the patches of the images apart into principal components, the strongest first, each scaled to a
    variance of about 1; the others are their negatives, since a ReLU keeps one sign only. From D. Page 2019, "How to
    Train Your ResNet 8", and K. Jordan 2024, arXiv 2404.00498.
    """

    def __init__(self, outputs: int, kernel: int, stride: int, size: int, padding: str = "same"):
        if kernel > size:
            raise ValueError(f"kernels={kernel}: whitening takes a kernel that fits into {size} pixels")
        if outputs % 2 or outputs > 2 * kernel**2:
            raise ValueError(
                f"channels={outputs}: whitening by {kernel}x{kernel} takes an even number up to {2 * kernel**2}"
            )
        super().__init__(1, outputs, kernel, stride, size, bias=False, padding=padding)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:
        """Make the filters from ``images`` (n, 1, size, size)."""
        patches = F.unfold(images, self.kernel_size, stride=self.stride).transpose(0, 1).flatten(1)
        variances, components = torch.linalg.eigh(patches.cov())  # in ascending order
        scaled = components / (variances + 0.005 * variances.mean()).sqrt()  # which keeps noise from becoming large
        half = scaled.T.flip(0)[: self.out_channels // 2].view(-1, 1, *self.kernel_size)
        self.weight.copy_(torch.cat([half, -half]))


def norm(kind: str, features: int, init: Init, spatial: bool = False) -> list[nn.Module]:
    """Batch normalisation that goes before the activation, or nothing for ``none``.

    Its shift takes the place of the layer's bias and starts at the bias's value. ``shift`` has no scale of its own,
    which is all a ReLU needs (the next layer can scale). Running averages move by 1% a step.
    """
    one_of("batch_norm", kind, ("none", "shift", "scale_and_shift"))
    if kind == "none":
        return []
    layer = (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(features, momentum=0.01)
    nn.init.constant_(layer.bias, init.bias)
    layer.weight.requires_grad_(kind == "scale_and_shift")
    return [layer]


def dropout_layer(probability: float) -> list[nn.Module]:
    """Dropout that zeroes a value with ``probability``, which is 1 minus TensorFlow's ``keep_prob``; nothing for 0."""
    if not 0 <= probability < 1:
        raise ValueError(f"dropout={probability}: the probability to zero a value must be at least 0 and below 1")
    return [nn.Dropout(probability)] if probability > 0 else []


def mean_over_shifts(network: nn.Module, images: Tensor, pixels: int) -> Tensor:
    """Logits (batch, 10): the logarithm of the mean probability over copies of each image, the image itself last.

    The copies are shifted by up to ``pixels`` down or up and right or left, and repeat the image's border where they
    are. 0 pixels: the network's own logits.
    """
    if not pixels:
        own: Tensor = network(images)
        return own
    padded = F.pad(images, (pixels,) * 4, mode="replicate")
    each = [(down, right) for down in range(2 * pixels + 1) for right in range(2 * pixels + 1)]
    each.sort(key=lambda place: place == (pixels, pixels))
    copies = [network(padded[..., down : down + 28, right : right + 28]).float().log_softmax(1) for down, right in each]
    return torch.stack(copies).logsumexp(0) - math.log(len(copies))


@torch.no_grad()
def multiply_adds(network: nn.Module) -> int:
    """How many multiplications with an addition it takes to recognise an image, in evaluation mode.

    Those of convolutions and linear layers are counted, which is the custom; the rest is a few per cent.
    """
    count, hooks, training = 0, [], network.training

    def note(layer: nn.Conv2d | nn.Linear, inputs: object, output: Tensor) -> None:
        nonlocal count
        count += output.numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            hooks.append(layer.register_forward_hook(note))
    network.eval()(torch.zeros(1, 1, 28, 28))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return count


class ShiftedCopies(nn.Module):
    """A network that answers as :func:`mean_over_shifts` says."""

    def __init__(self, network: nn.Module, pixels: int):
        super().__init__()
        self.network, self.pixels = network, pixels

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28) -> logits (batch, 10)."""
        return mean_over_shifts(self.network, images, self.pixels)


class Normalize(nn.Module):
    """(images - mean) / std, for a network that was trained on images normalised in this way."""

    def __init__(self, mean: float, std: float):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, images: Tensor) -> Tensor:
        """Intensities in [0, 1] -> normalised, of the same shape."""
        return (images - self.mean) / self.std
