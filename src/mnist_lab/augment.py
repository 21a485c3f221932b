"""Random changes of the training images, drawn anew in every epoch: shifts, affine maps, elastic distortions.

They work on whole batches, on the device that holds the images. What is drawn is drawn for a whole epoch at once, and
an image's pixels depend on nothing but the image and its row of that; so neither where a run is interrupted nor the
number of processes changes a bit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_lab.data.batches import Augmentation

_PEN = 2.25  # pixels, the width of MNIST's strokes


class Shift(Augmentation):
    """Moves each image by a whole number of pixels, up to ``pixels`` down or up and right or left.

    Raises ValueError for ``pixels`` outside 0 to 14.
    """

    def __init__(self, pixels: int = 2):
        if not 0 <= pixels <= 14:
            raise ValueError(f"pixels={pixels}: must be from 0 to 14")
        self.pixels = pixels

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """int64 (count, 2): pixels down and to the right."""
        return torch.randint(-self.pixels, self.pixels + 1, (count, 2), generator=generator)

    def __call__(self, images: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """What comes in at the edge is background, 0."""
        padded = F.pad(images, (self.pixels,) * 4)
        windows = padded.unfold(1, 28, 1).unfold(2, 28, 1)  # (n, places down, places across, 28, 28), without a copy
        down, right = (self.pixels - drawn).unbind(1)
        return windows[torch.arange(len(images), device=images.device), down, right]


class Affine(Augmentation):
    """Scales, stretches, shears, turns and shifts each image about its centre, in this order, by linear interpolation.

    Each number is the largest that is drawn; all are drawn uniformly, in both directions. ``degrees``: the angle.
    ``scale``: 0.1 for sizes from 1 / 1.1 to 1.1. ``stretch``: 0.1 for 1.1 times as wide and 1 / 1.1 times as high, or
    the reverse. ``shear``: 0.2 moves what is a pixel higher up to 0.2 pixels to the right, or left. ``shift``: pixels
    in each direction. Pixels from outside the image are background, 0.

    Raises ValueError for ``degrees`` outside 0 to 180, ``shift`` outside 0 to 14, and the others outside 0 to 1.
    """

    def __init__(
        self,
        degrees: float = 10.0,
        scale: float = 0.1,
        stretch: float = 0.0,
        shear: float = 0.0,
        shift: float = 2.0,
    ):
        for name, value, most in (
            ("degrees", degrees, 180),
            ("scale", scale, 1),
            ("stretch", stretch, 1),
            ("shear", shear, 1),
            ("shift", shift, 14),
        ):
            _check(name, value, most)
        self.degrees, self.scale, self.stretch, self.shear, self.shift = degrees, scale, stretch, shear, shift

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """float32 (count, 6), as :func:`affine_maps` makes them."""
        angle, size, wide, shear, right, down = _uniform(count, 6, generator)
        size, wide = (1 + self.scale) ** size, (1 + self.stretch) ** wide
        shifts = self.shift * right, self.shift * down
        return affine_maps(self.degrees * angle, size * wide, size / wide, self.shear * shear, *shifts)

    def __call__(self, images: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """Take each pixel from where the map of its image says."""
        return _sampled(images, _places(drawn))


class Elastic(Affine):
    """What :class:`Affine` does, and a distortion as of a drawing on rubber (after Simard et al. 2003).

    ``points`` x ``points`` places in a square lattice over the image are moved by up to ``pixels`` in each direction,
    and what lies between moves smoothly with them.

    Raises ValueError for ``pixels`` outside 0 to 14 and ``points`` outside 2 to 14.
    """

    def __init__(
        self,
        pixels: float = 2.0,
        points: int = 5,
        degrees: float = 10.0,
        scale: float = 0.1,
        stretch: float = 0.05,
        shear: float = 0.1,
        shift: float = 1.5,
    ):
        super().__init__(degrees, scale, stretch, shear, shift)
        _check("pixels", pixels, 14)
        if not 2 <= points <= 14:
            raise ValueError(f"points={points}: must be from 2 to 14")
        self.pixels, self.points = pixels, points
        # How far each pixel follows each place of the lattice, along one direction: (28, points), rows of sum 1.
        apart = torch.arange(28)[:, None] - torch.linspace(0, 27, points)
        self.weights = torch.softmax(-0.5 * (apart / (0.6 * 27 / (points - 1))).square(), dim=1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """float32 (count, 6 + 2 x points x points): the affine map, and how far each place moves right and down."""
        moves = self.pixels / 14 * _uniform(count, 2 * self.points**2, generator)
        return torch.cat([super().draw(count, generator), moves.t()], dim=1)

    def __call__(self, images: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """Take each pixel from where the affine map says, as much away from there as the lattice has moved it."""
        weights = self.weights.to(images.device)
        moves = drawn[:, 6:].reshape(-1, self.points, self.points)
        moved = weights.expand(len(moves), -1, -1).bmm(moves).bmm(weights.t().expand(len(moves), -1, -1))
        return _sampled(images, _places(drawn[:, :6]) + moved.view(-1, 2, 28, 28))


class Handwriting(Elastic):
    """What :class:`Elastic` does, after some of the ones have got the long upstroke that many people begin them with.

    MNIST's writers hardly do. ``upstrokes`` is the share of the images with label 1 that get one, drawn with a pen from
    the top of the digit to the left and down; the new centre of mass goes where MNIST has it.

    Raises ValueError for ``upstrokes`` outside 0 to 1.
    """

    def __init__(self, upstrokes: float = 0.5, **elastic: float):
        super().__init__(**elastic)  # type: ignore[arg-type]
        _check("upstrokes", upstrokes, 1)
        self.upstrokes = upstrokes

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """float32 (count, 2 + ...): how far an upstroke goes right and down, 0 for none, and what Elastic draws."""
        wanted, angle, length = torch.rand(3, count, generator=generator)
        angle, length = torch.deg2rad(25 + 40 * angle), (4 + 10 * length) * (wanted < self.upstrokes)
        ends = torch.stack([-length * torch.cos(angle), length * torch.sin(angle)], dim=1)
        return torch.cat([ends, super().draw(count, generator)], dim=1)

    def __call__(self, images: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """Draw, and let the affine map centre what was drawn on."""
        chosen = ((labels == 1) & (drawn[:, 1] > 0)).nonzero().flatten()
        ones, ends, maps = images[chosen], drawn[chosen, :2], drawn[:, 2:].clone()
        pixels = torch.arange(28.0, device=images.device)
        top = (ones.amax(dim=2) > 0.5).float().argmax(dim=1)  # its row
        ink = ones[torch.arange(len(ones), device=images.device), top]
        tip = torch.stack([(ink * pixels).sum(1) / ink.sum(1).clamp(min=1e-6), top], dim=1).view(-1, 2, 1, 1)
        away = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy")) - tip  # of each pixel from the tip
        along = ends.view(-1, 2, 1, 1)
        part = ((away * along).sum(1, keepdim=True) / along.square().sum(1, keepdim=True)).clamp(0, 1)
        distance = (away - part * along).square().sum(1).sqrt()
        both = torch.maximum(ones, (_PEN / 2 + 0.5 - distance).clamp(0, 1))
        maps[chosen, 2], maps[chosen, 5] = (
            maps[chosen, place] - (_centre(ones, axis) - _centre(both, axis)) / 14 for place, axis in ((2, 1), (5, 2))
        )
        return super().__call__(images.index_copy(0, chosen, both), labels, maps)


def _centre(images: Tensor, axis: int) -> Tensor:
    """Where the mass of images (n, 28, 28) is, in pixels: across for what is summed over ``axis`` 1, else down."""
    mass = images.sum(axis)
    return (mass * torch.arange(28.0, device=images.device)).sum(1) / mass.sum(1)


def affine_maps(degrees: Tensor, width: Tensor, height: Tensor, shear: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Where the pixels come from (n, 6) of an image that is changed about its centre.

    First it is made ``width`` times as wide and ``height`` times as high, then sheared to the right by ``shear`` pixels
    for each pixel upwards, then turned counter-clockwise, then moved by pixels.

    A row is (a, b, c, d, e, f): what is seen at (x, y) was at (ax + by + c, dx + ey + f), where x goes from -1 to 1
    from left to right and y downwards.
    """
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    a, b = (cos + shear * sin) / width, (shear * cos - sin) / width
    d, e = sin / height, cos / height
    right, down = right / 14, down / 14
    return torch.stack([a, b, -a * right - b * down, d, e, -d * right - e * down], dim=1)


def _places(maps: Tensor) -> Tensor:
    """Where each pixel comes from, (n, 2, 28, 28), by the affine ``maps`` (n, 6).

    In elementary steps: a product of matrices would round otherwise for another number of images.
    """
    line = ((2 * torch.arange(28, device=maps.device) + 1) / 28 - 1).view(1, 1, 28)
    across, down, constant = maps.view(-1, 2, 3, 1).unbind(2)
    return (across * line + constant).unsqueeze(2) + (down * line).unsqueeze(3)


def _sampled(images: Tensor, places: Tensor) -> Tensor:
    """Images whose pixels come from ``places`` (n, 2, 28, 28)."""
    return F.grid_sample(images.unsqueeze(1), places.permute(0, 2, 3, 1), align_corners=False).squeeze(1)


def _uniform(count: int, numbers: int, generator: torch.Generator) -> Tensor:
    """(numbers, count), from -1 to 1."""
    return torch.rand(numbers, count, generator=generator) * 2 - 1


def _check(name: str, value: float, most: float) -> None:
    if not 0 <= value <= most:
        raise ValueError(f"{name}={value}: must be from 0 to {most}")
