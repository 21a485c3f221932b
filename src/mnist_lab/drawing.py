"""Pictures of digits, weights, activations and confusions, as uint8 arrays (height, width, 3)."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Picture = NDArray[np.uint8]

INK, BAD = (40, 40, 40), (200, 0, 0)
_TINT = np.array([255, 200, 200])  # behind a mistake
_GAP, _LINE = 4, 16  # pixels between tiles, and for a line of text
_FONT = ImageFont.load_default(13)


def digits(images: Tensor, labels: Tensor, computed: Tensor, title: str, columns: int = 10) -> Picture:
    """Digits (n, 28, 28) in [0, 1] at double size; mistakes on red.

    Below each stands its label at the left and, in red where they differ, the computed one at the right.
    """
    wrong = (labels != computed).numpy()
    paper = np.where(wrong[:, None], _TINT, 255)[:, None, None, :]
    ink = images.clamp(0, 1).numpy()[..., None]
    tiles = _enlarged(paper * (1 - ink), 2)
    drawn, places = _grid(tiles, columns, f"{title}; label left, computed right", below=_LINE)
    draw = ImageDraw.Draw(drawn)
    for (x, y), label, guess in zip(places, labels.tolist(), computed.tolist(), strict=True):
        draw.text((x + 2, y + 57), str(label), INK, _FONT)
        draw.text((x + 46, y + 57), str(guess), INK if guess == label else BAD, _FONT)
    return np.asarray(drawn)


def weights(images: Tensor, title: str, names: Sequence[str] = ()) -> Picture:
    """Weights (n, height, width), blue where positive (for), red where negative (against), white at 0.

    All share one scale. ``names`` stand below them.
    """
    scaled = (images / images.abs().max().clamp(min=1e-12)).numpy()[..., None]
    blue, red = np.array([20, 60, 180]), np.array([190, 20, 30])
    tiles = 255 + np.abs(scaled) * (np.where(scaled > 0, blue, red) - 255)
    tiles = _enlarged(tiles, max(1, (112 if len(images) <= 10 else 56) // images.shape[-1]))
    drawn, places = _grid(tiles, 5 if len(images) <= 10 else 10, title, below=_LINE if names else 0)
    draw = ImageDraw.Draw(drawn)
    for (x, y), name in zip(places, names, strict=False):
        draw.text((x + tiles.shape[2] / 2, y + tiles.shape[1]), name, INK, _FONT, anchor="ma")
    return np.asarray(drawn)


def activations(layers: Sequence[tuple[str, Tensor]]) -> Picture:
    """Named layers of channels (n, height, width) one below the other, each from black at its least to white."""
    parts = []
    for name, channels in layers:
        low, high = channels.aminmax()
        grey = ((channels - low) / (high - low).clamp(min=1e-12) * 255).numpy()[..., None].repeat(3, axis=3)
        parts.append(np.asarray(_grid(_enlarged(grey, max(1, 56 // channels.shape[-1])), 16, name)[0]))
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in parts])


def confusion(counts: Tensor) -> Picture:
    """A confusion matrix (10, 10), a row a label, a column a computed one: hits blue, mistakes the redder the more."""
    size, left, top = 44, 44, 62
    drawn = Image.new("RGB", (left + 10 * size + _GAP, top + 10 * size + _GAP), "white")
    draw = ImageDraw.Draw(drawn)
    missed = int(counts.sum() - counts.trace())
    draw.text(
        (_GAP, 2), f"{missed:,} of {int(counts.sum()):,} wrong; a row a label, a column what was computed", INK, _FONT
    )
    most = max(int((counts - counts.diag().diag()).max()), 1)
    for row in range(10):
        draw.text((left / 2, top + (row + 0.5) * size), str(row), INK, _FONT, anchor="mm")
        draw.text((left + (row + 0.5) * size, top - 14), str(row), INK, _FONT, anchor="mm")
        of_class = max(int(counts[row].sum()), 1)
        for column in range(10):
            count = int(counts[row, column])
            hit = row == column
            strength = count / of_class if hit else math.sqrt(count / most)
            far = np.array([70, 120, 210] if hit else [230, 90, 90])
            colour = tuple(int(c) for c in 255 + strength * (far - 255))
            x, y = left + column * size, top + row * size
            draw.rectangle((x, y, x + size - 2, y + size - 2), colour, (225, 225, 225))
            if count:
                draw.text((x + size / 2, y + size / 2), str(count), INK, _FONT, anchor="mm")
    return np.asarray(drawn)


def sprite(images: Tensor) -> Image.Image:
    """Digits (n, 28, 28) in [0, 1] side by side in a square, row after row, as the embedding projector wants them."""
    side = math.ceil(math.sqrt(len(images)))
    square = np.zeros((side * side, 28, 28), np.uint8)
    square[: len(images)] = (images * 255).numpy()
    return Image.fromarray(square.reshape(side, side, 28, 28).swapaxes(1, 2).reshape(side * 28, side * 28))


def _enlarged(tiles: NDArray[np.floating], times: int) -> Picture:
    return tiles.astype(np.uint8).repeat(times, axis=1).repeat(times, axis=2)


def _grid(tiles: Picture, columns: int, title: str, below: int = 0) -> tuple[Image.Image, list[tuple[int, int]]]:
    """Tiles (n, height, width, 3) on white under a title, ``below`` pixels free under each; and where each one lies."""
    n, height, width, _ = tiles.shape
    columns = min(columns, n)
    size = columns * (width + _GAP) + _GAP, math.ceil(n / columns) * (height + below + _GAP) + _LINE + 2 * _GAP
    drawn = Image.new("RGB", (max(size[0], math.ceil(_FONT.getlength(title)) + 2 * _GAP), size[1]), "white")
    ImageDraw.Draw(drawn).text((_GAP, 2), title, INK, _FONT)
    places = [
        (_GAP + i % columns * (width + _GAP), _LINE + _GAP + i // columns * (height + below + _GAP)) for i in range(n)
    ]
    for tile, place in zip(tiles, places, strict=True):
        drawn.paste(Image.fromarray(tile), place)
    return drawn, places
