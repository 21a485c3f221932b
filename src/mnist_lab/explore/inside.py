"""What goes on in a network when it looks at an image: every layer's values, one unit's sum, where it looked."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_lab.networks.layers import Normalize, PaddedConv2d, ShiftedCopies
from mnist_lab.networks.small_resnet import ResidualPair

Array = np.ndarray[Any, Any]

IG_POINTS = 8  # between a blank image and the image, for integrated gradients
WINDOW, STRIDE = 4, 2  # pixels that are taken away at once, and from one such window to the next

_KINDS: tuple[tuple[Any, str], ...] = (
    (nn.Conv2d, "convolution"),
    (nn.Linear, "dense"),
    ((nn.BatchNorm1d, nn.BatchNorm2d), "batch norm"),
    (nn.ReLU, "ReLU"),
    (nn.Sigmoid, "sigmoid"),
    (nn.MaxPool2d, "max pooling"),
    (nn.AvgPool2d, "mean pooling"),
    (nn.AdaptiveAvgPool2d, "mean of each channel"),
    (Normalize, "normalised image"),
    (ResidualPair, "input added, ReLU"),
    (ShiftedCopies, "mean over shifted copies"),
)
_SILENT = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d)  # leave every value as it is in evaluation mode


class Step(NamedTuple):
    """A module of the network whose output is shown; ``weights``, ``stride``, ``before`` where it has weights.

    ``window`` is the side of what a pooling joins; ``before`` are the pixels of padding above and to the left.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: tuple[int, ...] | None = None
    stride: int = 1
    before: int = 0
    window: int = 0


class Unit(NamedTuple):
    """What a unit of a convolution or a dense layer summed: ``inputs`` times ``weights``, and ``bias``."""

    inputs: Array  # (channels, height, width), or (inputs,)
    weights: Array  # of the same shape
    bias: float
    sum: float


class Inside:
    """Looks into ``network``, images (n, 1, 28, 28) in [0, 1] -> logits (n, 10), whatever modules it is made of.

    Images are uint8 (28, 28). Every output of a module is a step, unless it only passes on what a module inside it,
    or a step before it, has put out.
    """

    def __init__(self, network: nn.Module):
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._modules = dict(network.named_modules())
        self.steps: list[Step] = []
        for name, (_, output) in self._trace(np.zeros((28, 28), np.uint8))[1].items():
            self.steps.append(_step(name, self._modules[name], output))

    def look(self, image: Array) -> tuple[Array, list[Array]]:
        """The logits (10,) and the output of each step, of its shape."""
        logits, seen = self._trace(image)
        empty = {step.name: torch.full(step.shape, math.nan) for step in self.steps}
        return logits.numpy(), [seen.get(step.name, (None, empty[step.name]))[1].numpy() for step in self.steps]

    def unit(self, image: Array, step: int, index: int) -> Unit:
        """What unit ``index`` of ``step``, a convolution or a dense layer, summed. Raises ValueError for others."""
        chosen = self._weighted(step)
        module = self._modules[chosen.name]
        if not 0 <= index < math.prod(chosen.shape):
            raise ValueError(f"step {step}, unit {index}: there is no such unit")
        given, output = self._trace(image)[1][chosen.name]
        assert given is not None
        value = float(output.flatten()[index])
        if isinstance(module, nn.Linear):
            position, row = divmod(index, module.out_features)
            inputs, weights = given.reshape(-1, module.in_features)[position], module.weight[row]
        else:
            assert isinstance(module, nn.Conv2d)
            row, y, x = (int(at) for at in np.unravel_index(index, chosen.shape))
            inputs, weights = _patch(module, given, row, y, x), module.weight[row]
        bias = 0.0 if module.bias is None else float(module.bias[row])
        return Unit(inputs.numpy(), weights.numpy(), bias, value)

    def weights(self, step: int) -> Array:
        """Of the convolution or dense layer ``step``, of its ``weights`` shape. Raises ValueError for others."""
        weights: Array = self._modules[self._weighted(step).name].weight.numpy()
        return weights

    def _weighted(self, step: int) -> Step:
        if not 0 <= step < len(self.steps) or self.steps[step].weights is None:
            raise ValueError(f"step {step}: has no weights")
        return self.steps[step]

    def gradient(self, image: Array, target: int) -> Array:
        """By how much the logit of ``target`` grows when a pixel (28, 28) gets more ink, from 0 to 1."""
        return self._gradients(_tensor(image), target)[0].numpy()

    def integrated_gradients(self, image: Array, target: int) -> Array:
        """What each pixel (28, 28) adds to the logit of ``target``, compared with a blank image.

        The gradients on the way from the blank image, times the ink (Sundararajan et al. 2017). By and large they add
        up to the difference of the two logits.
        """
        x = _tensor(image)
        way = (torch.arange(IG_POINTS) + 0.5) / IG_POINTS
        return (self._gradients(way.view(-1, 1, 1, 1) * x, target).mean(0) * x[0, 0]).numpy()

    @torch.inference_mode()
    def occlusion(self, image: Array, target: int) -> Array:
        """By how much the logit of ``target`` falls when the ink is taken away around a pixel (28, 28).

        Windows of 4x4 are blanked one at a time, two pixels apart; a pixel gets the mean of those that cover it.
        """
        x = _tensor(image)
        places = [(y, x) for y in range(0, 28 - WINDOW + 1, STRIDE) for x in range(0, 28 - WINDOW + 1, STRIDE)]
        places_with_ink = [(r, c) for r, c in places if image[r : r + WINDOW, c : c + WINDOW].any()]
        copies = x.repeat(len(places_with_ink) + 1, 1, 1, 1)
        for copy, (row, column) in zip(copies, places_with_ink, strict=False):
            copy[0, row : row + WINDOW, column : column + WINDOW] = 0
        logits = self.network(copies)[:, target]
        falls, covered = np.zeros((28, 28), np.float32), np.zeros((28, 28), np.float32)
        for row, column in places:
            covered[row : row + WINDOW, column : column + WINDOW] += 1
        for (row, column), logit in zip(places_with_ink, logits.tolist(), strict=False):
            falls[row : row + WINDOW, column : column + WINDOW] += float(logits[-1]) - logit
        return falls / covered

    def _gradients(self, images: Tensor, target: int) -> Tensor:
        """Of the logit of ``target`` by the pixels: (n, 28, 28)."""
        images = images.requires_grad_()
        # of a copy: a network may work in place
        return torch.autograd.grad(self.network(images.clone())[:, target].sum(), images)[0][:, 0]

    @torch.inference_mode()
    def _trace(self, image: Array) -> tuple[Tensor, dict[str, tuple[Tensor | None, Tensor]]]:
        """The logits, and in their order for each module that is a step its input, where it has weights, and output.

        They are clones: an activation that works in place would change what was noted before it. Of a module that is
        called several times the last call counts.
        """
        seen: dict[str, tuple[Tensor | None, Tensor]] = {}
        last: Tensor | None = None

        def note(name: str) -> Any:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
                nonlocal last
                passed_on = next(module.children(), None) is not None and last is not None and _same(output, last)
                if not isinstance(output, Tensor) or passed_on or isinstance(module, _SILENT):
                    return
                seen.pop(name, None)
                given = inputs[0][0].clone() if isinstance(module, nn.Linear | nn.Conv2d) else None
                last = output
                seen[name] = given, output[0].clone()

            return hook

        hooks = [module.register_forward_hook(note(name)) for name, module in self._modules.items()]
        try:
            logits = self.network(_tensor(image))[0]
        finally:
            for hook in hooks:
                hook.remove()
        return logits, seen


def _tensor(image: Array) -> Tensor:
    return torch.from_numpy(np.array(image, np.uint8)).view(1, 1, 28, 28) / 255


def _same(output: Any, last: Tensor) -> bool:
    return isinstance(output, Tensor) and output.data_ptr() == last.data_ptr() and output.numel() == last.numel()


def _step(name: str, module: nn.Module, output: Tensor) -> Step:
    kind = next((kind for types, kind in _KINDS if isinstance(module, types)), type(module).__name__)
    shape = tuple(output.shape)
    if isinstance(module, nn.Conv2d):
        top = _padding(module)[0]
        return Step(name, kind, shape, tuple(module.weight.shape), int(module.stride[0]), top)
    if isinstance(module, nn.Linear):
        return Step(name, kind, shape, tuple(module.weight.shape))
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        size = module.kernel_size
        return Step(name, kind, shape, window=size if isinstance(size, int) else size[0])
    return Step(name, kind, shape)


def _padding(conv: nn.Conv2d) -> tuple[int, int, int, int]:
    """Above, below, left and right."""
    if isinstance(conv, PaddedConv2d):
        return conv.before, conv.after, conv.before, conv.after
    if conv.padding == "same":
        totals = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return totals[0] // 2, totals[0] - totals[0] // 2, totals[1] // 2, totals[1] - totals[1] // 2
    rows, columns = (0, 0) if isinstance(conv.padding, str) else conv.padding
    return int(rows), int(rows), int(columns), int(columns)


def _patch(conv: nn.Conv2d, given: Tensor, row: int, y: int, x: int) -> Tensor:
    """What the unit of channel ``row`` at ``y``, ``x`` sees of ``given`` (channels, height, width)."""
    top, bottom, left, right = _padding(conv)
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    padded = F.pad(given[None], (left, right, top, bottom), mode)[0]
    channels = conv.in_channels // conv.groups
    first = row // (conv.out_channels // conv.groups) * channels
    (height, width), (down, along) = conv.kernel_size, conv.dilation
    y, x = y * conv.stride[0], x * conv.stride[1]
    return padded[first : first + channels, y : y + down * height : down, x : x + along * width : along]
