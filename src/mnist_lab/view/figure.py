"""The six panels of the codelab "TensorFlow and deep learning, without a PhD", drawn from recorded arrays."""

from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from mnist_lab.view.recording import SHARES, Array, Bands, Digits, Moment

ALL = (1, 2, 3, 4, 5, 6)
CHOICES = {str(n): (n,) for n in ALL} | {"7": (1, 2), "8": (4, 5), "9": (3, 6), "0": ALL, "escape": ALL}
# From Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
_TRAINING, _WATCHED, _OTHERS = "#56B4E9", "#D55E00", ("#009E73", "#CC79A7", "#E69F00", "#000000", "#999999")
_BLUES, _GREENS = ("#d6e6f4", "#9dc6e0", "#4a98c9", "#15508f"), ("#d5efcf", "#9ed798", "#4bb062", "#12713a")
_RECOGNISED, _MISTAKEN, _INK = np.array([[246, 246, 246], [255, 150, 125], [0, 0, 0]], np.uint8)
_TRUE, _COMPUTED, _AGREED = np.array([[0, 50, 130], [140, 0, 30], [150, 150, 150]], np.uint8)
_HIGH, _CELL, _BARE_CELL = 30, 44, 30  # pixels of a digit's place, with labels and without
_LEGIBLE = 24  # pixels of the screen; in a narrower place labels would only be in the way
_PARTS = {"val": "validation", "test": "test", None: "validation"}
_NOT_RECORDED = "not recorded:\ntrain with view=file, web or window"


class Board:
    """Draws moments on ``figure``: the panels that are selected, and what somebody has zoomed in on kept so."""

    def __init__(self, figure: Figure):
        self.figure = figure
        self.selected: tuple[int, ...] = ALL
        self._axes: dict[int, Axes] = {}
        self._limits: dict[int, tuple[Any, Any]] = {}  # as drawn; others now are somebody's zoom

    def select(self, panels: tuple[int, ...]) -> None:
        """Show ``panels``, some of 1 to 6, from the next drawing on."""
        self.selected = panels
        self._axes.clear()

    def reset_zoom(self) -> None:
        """Forget what was zoomed in on."""
        self._limits.clear()

    def draw(self, moment: Moment, others: tuple[Moment, ...] = (), status: str = "") -> None:
        """Draw ``moment``, and the curves of ``others`` beside its own; ``status`` is the line at the bottom."""
        if not self._axes:
            self._lay_out()
        for panel, axes in self._axes.items():
            now = axes.get_xlim(), axes.get_ylim()
            zoomed = panel in self._limits and now != self._limits[panel]
            axes.clear()
            _PANELS[panel](axes, moment, others)
            if zoomed:
                axes.set(xlim=now[0], ylim=now[1])
            else:
                self._limits[panel] = axes.get_xlim(), axes.get_ylim()
        self._title.set_text(f"{moment.name}   step {moment.step:,}")
        self._status.set_text(status)

    def _lay_out(self) -> None:
        self.figure.clear()
        self._limits.clear()
        columns = 3 if len(self.selected) == 6 else len(self.selected)
        widths = [4, 4, 5][:columns] if columns == 3 else None
        grid = self.figure.add_gridspec(
            len(self.selected) // columns, columns,
            left=0.045, right=0.985, top=0.9, bottom=0.105, wspace=0.17, hspace=0.3, width_ratios=widths,
        )  # fmt: skip
        self._axes = {panel: self.figure.add_subplot(grid[i]) for i, panel in enumerate(self.selected)}
        self._title = self.figure.text(0.045, 0.962, "", fontsize=12, weight="bold")
        self._status = self.figure.text(0.045, 0.018, "", fontsize=9, color="#444444")


def accuracy(axes: Axes, moment: Moment, others: tuple[Moment, ...]) -> None:
    """Panel 1: training and watched accuracy, in percent, over steps."""
    values = _curves(axes, moment, others, "accuracy")
    if len(values):
        # The climb at the start is left to a zoom, so that the rest can be told apart.
        low = np.floor(np.percentile(values, 10) / 5) * 5
        axes.set_ylim(min(low, 95), 100.3)
    axes.set(title="1  accuracy, %", xlabel="step")


def loss(axes: Axes, moment: Moment, others: tuple[Moment, ...]) -> None:
    """Panel 2: training and watched cross-entropy over steps, times 100 as the codelab has it: summed over a batch."""
    values = _curves(axes, moment, others, "loss")
    if len(values):
        axes.set_ylim(0, max(1.3 * np.percentile(values, 90), 1e-3))
    axes.set(title="2  cross-entropy, times 100", xlabel="step")


def training_digits(axes: Axes, moment: Moment, others: tuple[Moment, ...]) -> None:
    """Panel 3: the first hundred digits of the current batch."""
    digits = moment.training
    if digits is None:
        _nothing(axes, "3  training digits", _NOT_RECORDED)
        return
    _mosaic(axes, digits, columns=10)
    axes.set_title(f"3  training digits: {digits.right.sum()} of {len(digits.right)} recognised")
    axes.set(xticks=[], yticks=[])


def weights(axes: Axes, moment: Moment, others: tuple[Moment, ...]) -> None:
    """Panel 4: the spread of all weights over steps."""
    _bands(axes, moment.weights, "4  weights, seven equal shares", _BLUES)


def biases(axes: Axes, moment: Moment, others: tuple[Moment, ...]) -> None:
    """Panel 5: the spread of all biases over steps."""
    _bands(axes, moment.biases, "5  biases, seven equal shares", _GREENS)


def watched_digits(axes: Axes, moment: Moment, others: tuple[Moment, ...]) -> None:
    """Panel 6: up to 1,000 watched digits, forty in a row, with a scale that reads as accuracy."""
    digits, part = moment.watched, _PARTS[moment.part]
    if digits is None:
        why = _NOT_RECORDED if moment.training is None else "nothing is watched:\nraise data.validation_size"
        _nothing(axes, f"6  {part} digits", why)
        return
    pixel = _mosaic(axes, digits, columns=40)
    total, bottom = len(digits.labels), axes.get_ylim()[0]
    axes.set_title(f"6  {part} digits: {digits.right.mean():.1%} of {total:,} recognised")
    # So many of the digits from the top down are mistaken as the accuracy lacks of 100 %.
    percent = total / 40 * _HIGH / 100
    fine = next((step for step in (1, 2, 5) if step * percent * pixel > 12), 10)
    marks = [*range(0, 90, 20), *range(90, 101, fine)]
    axes.set_yticks([(100 - mark) * percent for mark in marks], [f"{mark} %" for mark in marks], fontsize=8)
    axes.set(xticks=[], ylim=(bottom, 0))


_PANELS = {1: accuracy, 2: loss, 3: training_digits, 4: weights, 5: biases, 6: watched_digits}


def _curves(axes: Axes, moment: Moment, others: tuple[Moment, ...], kind: str) -> Array:
    """Draw training and watched curves, ``moment``'s in the foreground; the values of all."""
    values = []
    for i, run in reversed(list(enumerate((moment, *others)))):
        name = f"{run.name}: " if others else ""
        for metric, label in ((f"train_{kind}", "training batch"), (f"{run.part or 'val'}_{kind}", _PARTS[run.part])):
            curve = run.curves.get(metric)
            if curve is None or not len(curve.steps):
                continue
            training = metric.startswith("train")
            own = _TRAINING if training else _WATCHED
            style: dict[str, Any] = {"lw": 0.8 if training else 1.8, "color": own if i == 0 else _OTHERS[i % 5 - 1]}
            if i:
                style |= {"ls": ":" if training else "--"}
            axes.plot(curve.steps, 100 * curve.values, label=name + label, zorder=2 + (not training), **style)
            values.append(100 * curve.values)
    if values:
        axes.legend(fontsize=8, loc="lower right" if kind == "accuracy" else "upper right", framealpha=0.9)
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    found = np.concatenate(values) if values else np.array([])
    finite: Array = found[np.isfinite(found)]
    return finite


def _bands(axes: Axes, bands: Bands | None, title: str, colours: tuple[str, ...]) -> None:
    """The darker, the nearer to the middle; a line is the median's share."""
    if bands is None or not len(bands.steps):
        _nothing(axes, title, _NOT_RECORDED)
        return
    steps, boundaries = bands.steps, bands.boundaries
    if len(steps) == 1:  # a single moment has no width
        steps, boundaries = np.array([steps[0], steps[0] + 1]), np.repeat(boundaries, 2, axis=0)
    for share in range(SHARES):
        colour = colours[min(share, SHARES - 1 - share)]
        axes.fill_between(steps, boundaries[:, share], boundaries[:, share + 1], color=colour, lw=0)
    axes.set(title=title, xlabel="step", xlim=(steps[0], steps[-1]))
    axes.grid(color="#00000018")
    axes.tick_params(labelsize=8)


def _nothing(axes: Axes, title: str, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", color="#777777", transform=axes.transAxes)
    axes.set(title=title, xticks=[], yticks=[])


def _mosaic(axes: Axes, digits: Digits, columns: int) -> float:
    """Draw digits in rows; how large a pixel of theirs is on the screen."""
    rows = -(-len(digits.labels) // columns)
    room = axes.get_window_extent()
    labelled = room.width / columns > _LEGIBLE
    cell = _CELL if labelled else _BARE_CELL
    pixel = min(room.width / (columns * cell), room.height / (rows * _HIGH))
    picture = mosaic(digits, columns, int(np.clip(np.ceil(pixel), 1, 3)), labelled)
    axes.imshow(picture, extent=(0, columns * cell, rows * _HIGH, 0), interpolation="antialiased")
    return float(pixel)


def mosaic(digits: Digits, columns: int, scale: int, labelled: bool) -> Array:
    """Digits in rows, the mistaken first and on red: (rows x 30 x scale, columns x 44 x scale, 3) uint8.

    At the left of a digit stands its true label, small, and at the right the computed one; where not ``labelled``,
    neither, and a cell is only 30 wide.
    """
    order = np.argsort(digits.right, kind="stable")
    images, labels, computed, right = (
        a[order] for a in (digits.images, digits.labels, digits.predictions, digits.right)
    )
    n, rows, cell = len(order), -(-len(order) // columns), _CELL if labelled else _BARE_CELL
    cells = np.full((rows * columns, _HIGH * scale, cell * scale, 3), 255, np.uint8)
    inner = cells[:n, scale:-scale, scale:-scale]  # a thin line of white between one and the next
    inner[:] = np.where(right[:, None], _RECOGNISED, _MISTAKEN)[:, None, None]
    left = (cell - 30) // 2 * scale
    ink = images.repeat(scale, axis=1).repeat(scale, axis=2)
    _paint(inner[:, :, left : left + 28 * scale], ink, _INK)
    if labelled:
        glyphs = _glyphs(scale)
        high, wide = glyphs.shape[1:]
        for shown, colour, start in ((labels, _TRUE, 0), (computed, _COMPUTED, inner.shape[2] - wide)):
            inks = np.where(right[:, None], _AGREED, colour)[:, None, None]
            _paint(inner[:, -high:, start : start + wide], glyphs[shown], inks)
    grid = cells.reshape(rows, columns, _HIGH * scale, cell * scale, 3).swapaxes(1, 2)
    return grid.reshape(rows * _HIGH * scale, columns * cell * scale, 3)


def _paint(ground: Array, cover: Array, colour: Array) -> None:
    """Lay ``colour`` over ``ground`` (..., 3), in place, as thick as ``cover`` (...) of 255 says."""
    part = cover[..., None].astype(np.int32)
    ground[:] = ((255 - part) * ground + part * colour) // 255


@cache
def _glyphs(scale: int) -> Array:
    """How thick the ink of each of the figures 0 to 9 is: (10, high, wide) uint8."""
    face = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    font = ImageFont.truetype(str(face), 9 * scale)
    glyphs = []
    for figure in "0123456789":
        glyph = Image.new("L", (7 * scale, 9 * scale))
        ImageDraw.Draw(glyph).text((0.5 * scale, 8 * scale), figure, fill=255, font=font, anchor="ls")
        glyphs.append(np.asarray(glyph))
    return np.stack(glyphs)
