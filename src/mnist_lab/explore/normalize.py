"""From a picture or from the strokes of a pen to what a network knows: 28x28, light ink on black, as MNIST was made.

A digit of MNIST fits a box of 20x20 and has its centre of mass in the middle of the picture: at index 14 on average
(LeCun et al. 1998, http://yann.lecun.com/exdb/mnist/). What is so already comes out as it went in, to the byte.
NumPy and Pillow are all this needs. What was chosen by which figure: docs/predict.md.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

Array = np.ndarray[Any, Any]

SIDE, BOX, CENTRE = 28, 20, 14.0
PEN = 2.25  # pixels, the width of a stroke
_FINE = 5  # a picture is worked on with this many pixels for one of the 28
_LARGE = 800  # pixels; a picture with a longer side is reduced first
_FAINT = 0.15  # of the paper's brightness: less contrast is no ink


class Normalized(NamedTuple):
    """An image, uint8 (28, 28), and why there is no telling what it is, where that is so."""

    image: Array
    problem: str | None = None


EMPTY = Normalized(np.zeros((SIDE, SIDE), np.uint8), "nothing is drawn there")


def from_strokes(strokes: Sequence[Any], smallest: float = 0.0) -> Normalized:
    """Draw strokes, each points (n, 2) of x to the right and y downwards in any unit.

    The points are scaled, not a drawing of them, so that the pen is as wide for a small digit as for a large one. A
    drawing of no more than ``smallest`` units is a dot. Raises ValueError for what are not points.
    """
    lines = [np.asarray(stroke, float).reshape(-1, 2) for stroke in strokes if len(stroke)]
    if not lines:
        return EMPTY
    points = np.concatenate(lines)
    if not np.isfinite(points).all():
        raise ValueError("a stroke has a point that is not a number")
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    scale = (BOX - PEN) / extent if extent > smallest else 0.0
    begins = np.concatenate([line[:-1] if len(line) > 1 else line for line in lines])
    ends = np.concatenate([line[1:] if len(line) > 1 else line for line in lines])
    begins, ends = (CENTRE + (at - (low + high) / 2) * scale for at in (begins, ends))
    ink = _pen(begins, ends)
    shift = CENTRE - _centre_of_mass(ink)
    return Normalized(_as_bytes(_pen(begins + shift, ends + shift)), None if scale else "a dot")


def _pen(begins: Array, ends: Array) -> Array:
    """The ink (28, 28) in [0, 1] of a round pen that goes from ``begins`` (n, 2) to ``ends``, in pixels."""
    along = ends - begins
    pixels = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 1, 2)
    part = ((pixels - begins) * along).sum(axis=2) / np.maximum((along**2).sum(axis=1), 1e-12)
    nearest = begins + part.clip(0, 1)[..., None] * along
    distance = np.sqrt(((pixels - nearest) ** 2).sum(axis=2).min(axis=1))
    return np.asarray((PEN / 2 + 0.5 - distance).clip(0, 1)).reshape(SIDE, SIDE)


def from_picture(picture: Image.Image, digits: bool = True) -> Normalized:
    """Find the digit in a picture of any size, mode and polarity, and make it one of MNIST's.

    Without ``digits``, for a network of other data, it is only made grey, light on dark and 28x28. Raises whatever
    Pillow raises for a picture that it cannot read.
    """
    grey = _grey(picture)
    if grey.shape == (SIDE, SIDE):
        for image in (_as_bytes(grey), _as_bytes(1 - grey)):
            if _like_mnist(image) or not digits:
                return Normalized(image)
    if np.ptp(grey) < _FAINT:
        return EMPTY
    if _light_on_dark(grey):
        grey = 1 - grey
    if not digits:
        fitted = ImageOps.pad(Image.fromarray(_as_bytes(1 - grey)), (SIDE, SIDE), Image.Resampling.BOX)
        return Normalized(np.asarray(fitted))
    ink = (1 - grey / _paper(grey)).clip(0, 1)
    if _darkest(ink) < _FAINT:
        return EMPTY
    mask = ink > _darkest(ink) / 2
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if edge.mean() > 0.3:
        return Normalized(_fit(ink), "no ink on a plain ground")
    kept, problem = _digit(mask)
    return Normalized(_fit(ink * kept), problem)


def _grey(picture: Image.Image) -> Array:
    """Brightness float32 (height, width) in [0, 1], upright, of at most _LARGE pixels a side."""
    picture.draft("L", (_LARGE, _LARGE))  # a JPEG is decoded no larger than needed
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":  # 16 or 32 bits
        values = np.nan_to_num(np.asarray(picture, np.float32))
        depths = (255, 4095, 65535) if picture.mode[0] == "I" else (1, 255)
        full = next((depth for depth in depths if values.max() <= depth), depths[-1])
        picture = Image.fromarray((values / max(full, values.max())).clip(0, 1))
    elif picture.has_transparency_data:
        colours = picture.convert("RGBA")
        brightness, opacity = np.asarray(colours.convert("RGB").convert("L"), float), np.asarray(colours.getchannel(3))
        drawn = np.average(brightness, weights=opacity) if opacity.any() else 0
        ground = Image.new("RGBA", colours.size, "white" if drawn < 128 else "black")  # what the ink stands out from
        picture = Image.alpha_composite(ground, colours).convert("L")
    else:
        picture = picture.convert("L")
    picture = picture.reduce(max(1, max(picture.size) // _LARGE))
    return np.asarray(picture, np.float32) / (1 if picture.mode == "F" else 255)


def _like_mnist(image: Array) -> bool:
    """Whether it has what all 70,000 images of MNIST have: a box 19 or 20 long, the centre of mass within a pixel."""
    if not image.any():
        return False
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    return bool(BOX - 1 <= longest <= BOX and np.abs(_centre_of_mass(image) - CENTRE).max() < 0.53)


def _light_on_dark(grey: Array) -> bool:
    """Whether what touches the edge is darker, by and large, than what it lies around; shadows do not count."""
    small = _thumbnail(grey)
    flat = small - _in_windows(np.mean, small, max(small.shape) // 4)
    edge = np.concatenate([flat[0], flat[-1], flat[:, 0], flat[:, -1]])
    return bool(np.median(edge) < (flat.min() + flat.max()) / 2)


def _paper(grey: Array) -> Array:
    """The brightness of the paper under the ink, shadows included: a closing, as wide as no stroke is."""
    small = _thumbnail(grey)
    for extreme in (np.max, np.min):
        small = _in_windows(extreme, small, max(small.shape) // 6)
    whole = Image.fromarray(small).resize(grey.shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(whole).clip(0.05, 1)


def _thumbnail(grey: Array) -> Array:
    size = [max(1, round(side * 96 / max(96, *grey.shape))) for side in grey.shape[::-1]]
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))


def _in_windows(of: Callable[..., Array], grey: Array, reach: int) -> Array:
    """The maximum, minimum or mean in windows that reach so many pixels from each."""
    for axis in (0, 1):
        around = [(reach, reach) if axis == along else (0, 0) for along in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(grey, around, "edge"), 2 * reach + 1, axis)
        grey = np.ascontiguousarray(of(windows, axis=-1))
    return grey


def _darkest(ink: Array) -> float:
    """The ink where there is most, a few specks left out."""
    count = max(2, ink.size // 4000)
    return float(np.partition(ink, -count, axis=None)[-count:].min() or ink.max())


def _digit(mask: Array) -> tuple[Array, str | None]:
    """Which of the ink (height, width) bool is the digit's, and what is wrong with it."""
    height, width = mask.shape
    # Runs of ink in the rows, one after the other in the flat picture, with a blank column at the end of each row.
    flat = np.pad(mask, ((0, 0), (0, 1))).ravel().astype(np.int8)
    changes = np.flatnonzero(np.diff(flat, prepend=0))
    begins, ends = changes[::2], changes[1::2]
    part = _connected(begins, ends, width + 1)
    count = part.max() + 1
    area = np.bincount(part, ends - begins)
    box = np.stack([np.full(count, height), np.full(count, width), np.zeros(count), np.zeros(count)]).astype(int)
    for edge, values in zip(box[:2], divmod(begins, width + 1), strict=True):
        np.minimum.at(edge, part, values)
    for edge, values in zip(box[2:], (begins // (width + 1) + 1, (ends - 1) % (width + 1) + 1), strict=True):
        np.maximum.at(edge, part, values)
    top, left, bottom, right = box
    ruled = (right - left > 0.95 * width) & (bottom - top < 0.1 * height)
    good = (area >= 0.02 * area[~ruled].max(initial=0)) & ~ruled
    good = good if good.any() else ~good
    tall = np.flatnonzero(good & (bottom - top >= 0.4 * (bottom - top)[good].max()) & (area >= 0.1 * area[good].max()))
    several = any(
        min(last[i], last[j]) - max(first[i], first[j]) < 0.25 * min(last[i] - first[i], last[j] - first[j])
        for first, last in ((left, right), (top, bottom))
        for i in tall
        for j in tall[tall > i]
    )
    size = np.array([bottom[good].max() - top[good].min(), right[good].max() - left[good].min()])
    dot = area[good].sum() > 0.7 * size.prod() and size.max() < 1.5 * size.min()
    kept = np.zeros(flat.size + 1, np.int8)
    kept[begins[good[part]]], kept[ends[good[part]]] = 1, -1
    kept = kept[:-1].cumsum().reshape(height, width + 1)[:, :-1]
    return _thicker(kept.astype(np.float32)), "several digits" if several else "a dot" if dot else None


def _connected(begins: Array, ends: Array, row: int) -> Array:
    """Number the connected parts of a picture, given as runs of ink in rows of ``row``: a number for each run."""
    first = np.searchsorted(ends, begins + row - 1, "right")  # of those below that it touches, corners included
    last = np.searchsorted(begins, ends + row + 1, "left")
    # ends are exclusive: a run below that ends at begins + row touches by a corner
    above = np.repeat(np.arange(len(begins)), last - first)
    below = np.arange(len(above)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    below += np.repeat(first, last - first)
    part = np.arange(len(begins))
    while (part[above] != part[below]).any():
        least = np.minimum(part[above], part[below])
        for runs in (above, below):
            np.minimum.at(part, part[runs], least)
        part = part[part]
    return np.unique(part, return_inverse=True)[1]


def _fit(ink: Array) -> Array:
    """Draw the digit of ``ink`` (height, width) with the pen of MNIST, 20 pixels long, its mass in the middle."""
    top, left, height, width = _box(ink)
    scale = _FINE * BOX / max(height, width)
    size = [max(1, round(side * scale)) for side in (width, height)]
    around = (left, top, left + width, top + height)
    fine = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC, around))
    fine = np.pad(fine, _FINE * BOX // 2)
    fine = (2 * fine / _darkest(fine) - 0.5).clip(0, 1)  # pencil becomes ink, what is faint goes
    for _ in range(_FINE):
        pen = _pen_width(fine)
        if PEN - 0.2 <= pen <= PEN + 0.9:  # as wide as MNIST's are
            break
        fine = _thicker(fine) if pen < PEN else 1 - _thicker(1 - fine)
    top, left, height, width = _box(fine)
    scale = max(height, width) / BOX
    y, x = _centre_of_mass(fine)[::-1] + 0.5 - (CENTRE + 0.5) * scale
    margin = 2 * SIDE * _FINE
    canvas = Image.fromarray(np.pad(fine, margin))
    window = (x + margin, y + margin, x + margin + SIDE * scale, y + margin + SIDE * scale)
    image = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX, window))
    return _as_bytes(image / image.max())


def _pen_width(fine: Array) -> float:
    """The width of the strokes, in pixels of the 28: their area by half of their outline."""
    mask = fine > 0.5
    outline = sum(np.count_nonzero(np.diff(mask, axis=axis)) for axis in (0, 1)) * np.pi / 4
    return float(2 * mask.sum() / max(outline, 1) / _FINE)


def _box(ink: Array) -> tuple[int, int, int, int]:
    """Top, left, height and width of where there is ink."""
    rows, columns = (np.flatnonzero((ink > ink.max() / 2).any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _thicker(ink: Array) -> Array:
    """Ink a pixel wider on each side."""
    padded = np.pad(ink, 1)
    whole = np.maximum(np.maximum(padded[:-2], padded[2:]), padded[1:-1])
    return np.asarray(np.maximum(np.maximum(whole[:, :-2], whole[:, 2:]), whole[:, 1:-1]))


def _centre_of_mass(image: Array) -> Array:
    """As the indices x, y."""
    mass = image.astype(float)
    moments = [mass.sum(axis=0) @ np.arange(mass.shape[1]), mass.sum(axis=1) @ np.arange(len(mass))]
    return np.asarray(np.array(moments) / mass.sum())


def _as_bytes(intensities: Array) -> Array:
    return np.asarray(np.rint(intensities * 255)).astype(np.uint8)
