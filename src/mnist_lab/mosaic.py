"""Digits in rows, mistakes on red: for the live view and for TensorBoard. Needs neither torch nor matplotlib."""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, Any]

HEIGHT, WIDTH, BARE_WIDTH = 30, 44, 30  # of a digit's cell, in pixels; BARE_WIDTH where no labels are shown
CORRECT, MISTAKEN = (246, 246, 246), (255, 150, 125)  # the ground of a cell
_LABEL, _PREDICTED, _AGREED = (0, 50, 130), (140, 0, 30), (130, 130, 130)


def mosaic(
    images: Array,
    labels: Array,
    predicted: Array,
    columns: int,
    scale: int = 1,
    labelled: bool = True,
    mistakes_first: bool = False,
) -> Array:
    """Draw digits (n, 28, 28) uint8 in rows: uint8 (rows x 30 x scale, columns x 44 x scale, 3).

    At the bottom of a digit's cell stand its label at the left and the predicted digit at the right. Without
    ``labelled`` they are left out and a cell is 30 wide. ``mistakes_first`` puts the mistaken digits before the others.
    """
    correct = labels == predicted
    if mistakes_first:
        order = np.argsort(correct, kind="stable")
        images, labels, predicted, correct = (values[order] for values in (images, labels, predicted, correct))
    width = WIDTH if labelled else BARE_WIDTH
    cells = np.full((len(images), HEIGHT * scale, width * scale, 3), 255, np.uint8)
    inner = cells[:, scale:-scale, scale:-scale]  # a thin white line between cells
    inner[:] = np.where(correct[:, None], CORRECT, MISTAKEN)[:, None, None]
    left = (width - BARE_WIDTH) // 2 * scale
    place = inner[:, :, left : left + 28 * scale]
    place[:] = place * (255 - enlarged(images, scale)[..., None].astype(np.uint16)) // 255
    rows = in_rows(cells, columns)
    if not labelled:
        return rows
    drawn = Image.fromarray(rows)
    for i, (label, guess) in enumerate(zip(labels.tolist(), predicted.tolist(), strict=True)):
        x, y = i % columns * width, i // columns * HEIGHT + HEIGHT - 11
        drawn.paste(_AGREED if guess == label else _LABEL, (scale * (x + 1), scale * y), _glyph(label, scale))
        drawn.paste(_AGREED if guess == label else _PREDICTED, (scale * (x + 35), scale * y), _glyph(guess, scale))
    return np.asarray(drawn)


def in_rows(tiles: Array, columns: int) -> Array:
    """Put tiles (n, height, width, ...) side by side, ``columns`` in a row: (rows x height, columns x width, ...).

    The rest of the last row is white.
    """
    _, *shape = tiles.shape
    filled = np.concatenate([tiles, np.full((-len(tiles) % columns, *shape), 255, np.uint8)])
    grid = filled.reshape(-1, columns, *shape).swapaxes(1, 2)
    return grid.reshape(-1, columns * shape[1], *shape[2:])


def enlarged(images: Array, times: int) -> Array:
    """Repeat each pixel of images (n, height, width, ...) ``times`` times in both directions."""
    return images.repeat(times, axis=1).repeat(times, axis=2)


def as_bytes(images: Array) -> Array:
    """Images of uint8, or of intensities in [0, 1], as uint8."""
    return images if images.dtype == np.uint8 else np.rint(images.clip(0, 1) * 255).astype(np.uint8)


@cache
def _glyph(digit: int, scale: int) -> Image.Image:
    """A bold figure, as a mask of 8 x 10 pixels times ``scale``."""
    mask = Image.new("L", (8 * scale, 10 * scale))
    font, at = ImageFont.load_default(10 * scale), (4 * scale, 9 * scale)
    ImageDraw.Draw(mask).text(at, str(digit), 255, font, anchor="ms", stroke_width=0.3 * scale)
    return mask
