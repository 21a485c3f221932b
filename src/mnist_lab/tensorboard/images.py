"""Pictures of digits, weights, activations and confusions, as uint8 arrays (height, width, 3)."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mnist_lab.mosaic import Array, as_bytes, enlarged, in_rows, mosaic

BLUE, RED = np.array([20, 60, 180]), np.array([190, 20, 30])  # of positive and negative weights
EMPTY, HIT, MISTAKE = 246, np.array([70, 120, 210]), np.array([230, 90, 90])  # in a confusion matrix
_INK = (40, 40, 40)
_GAP, _TOP = 4, 20  # pixels between tiles, and for the title
_FONT = ImageFont.load_default(13)


def digits(images: Tensor, labels: Tensor, predicted: Tensor, title: str) -> Array:
    """Digits (n, 28, 28), ten in a row at double size, each with its label and prediction, mistakes on red."""
    rows = mosaic(as_bytes(images.numpy()), labels.numpy(), predicted.numpy(), columns=min(10, len(images)), scale=2)
    return np.asarray(_titled(rows, f"{title}; label left, predicted right"))


def weights(images: Tensor, title: str, names: Sequence[str] = ()) -> Array:
    """Weights (n, height, width): positive blue, negative red, zero white, all on one scale. ``names`` number them."""
    columns, size = (5, 112) if len(images) <= 10 else (10, 56)
    strength = (images / images.abs().max().clamp(min=1e-12)).numpy()[..., None]
    coloured = 255 + np.abs(strength) * (np.where(strength > 0, BLUE, RED) - 255)
    rows = _grid(coloured, columns, size)
    drawn, tile = _titled(rows, title), rows.shape[1] // min(columns, len(images))
    for i, name in enumerate(names):
        row, column = divmod(i, columns)
        ImageDraw.Draw(drawn).text((_GAP + column * tile, _TOP + row * tile), name, _INK, _FONT)
    return np.asarray(drawn)


def activations(layers: Sequence[tuple[str, Tensor]]) -> Array:
    """Named layers of channels (n, height, width), one below the other, each from black at its least to white."""
    parts = []
    for name, channels in layers:
        low, high = channels.aminmax()
        grey = ((channels - low) / (high - low).clamp(min=1e-12) * 255).numpy()[..., None].repeat(3, axis=3)
        parts.append(np.asarray(_titled(_grid(grey, 16, 56), name)))
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in parts])


def confusion(counts: Tensor) -> Array:
    """A confusion matrix (10, 10), true digits in rows and predicted ones in columns, as its axes say.

    The diagonal is blue, by its part of the row; mistakes are red, by the square root of their number.
    """
    matrix, diagonal = counts.numpy(), np.eye(10, dtype=bool)
    mistakes = matrix[~diagonal]
    of_row = matrix / matrix.sum(axis=1, keepdims=True).clip(1)
    strength = np.where(diagonal, of_row, np.sqrt(matrix / mistakes.max().clip(1)))[..., None]
    colours = np.full((11, 11, 3), 255.0)  # the first row and column are for the names of the digits
    colours[1:, 1:] = EMPTY + strength * (np.where(diagonal[..., None], HIT, MISTAKE) - EMPTY)
    texts = [["", *"0123456789"], *([str(label), *(str(n or "") for n in row)] for label, row in enumerate(matrix))]
    title = f"{mistakes.sum():,} of {matrix.sum():,} wrong"
    drawn = _titled(_grid(colours.reshape(121, 1, 1, 3), 11, 40), title)
    for row, column in np.ndindex(11, 11):
        middle = _GAP + 44 * column + (20 if column else 30), _TOP + 44 * row + (20 if row else 30)
        ImageDraw.Draw(drawn).text(middle, texts[row][column], _INK, _FONT, anchor="mm")
    for name, angle, corner in (("predicted", 0, (_GAP + 44, _TOP)), ("true", 90, (_GAP, _TOP + 44))):  # the axes
        written = Image.new("RGB", (440, 16), "white")
        ImageDraw.Draw(written).text((220, 8), name, _INK, _FONT, anchor="mm")
        drawn.paste(written.rotate(angle, expand=True), corner)
    return np.asarray(drawn)


def sprite(images: Tensor) -> Image.Image:
    """Digits (n, 28, 28) side by side in a square, row after row, as the embedding projector wants them."""
    side = math.ceil(math.sqrt(len(images)))
    black = np.zeros((side * side - len(images), 28, 28), np.uint8)
    return Image.fromarray(in_rows(np.concatenate([as_bytes(images.numpy()), black]), side))


def _grid(tiles: Array, columns: int, size: int) -> Array:
    """Tiles (n, height, width, 3) in rows, a gap between them, each enlarged to at most ``size`` pixels if it fits."""
    large = enlarged(tiles.astype(np.uint8), max(1, size // tiles.shape[2]))
    spaced = np.pad(large, ((0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
    return in_rows(spaced, min(columns, len(tiles)))


def _titled(picture: Array, title: str) -> Image.Image:
    """A picture on white with a line of text above it."""
    height, width, _ = picture.shape
    room = max(width + _GAP, math.ceil(_FONT.getlength(title)) + 2 * _GAP)
    drawn = Image.new("RGB", (room, _TOP + height), "white")
    drawn.paste(Image.fromarray(picture), (_GAP, _TOP))
    ImageDraw.Draw(drawn).text((_GAP, 2), title, _INK, _FONT)
    return drawn
