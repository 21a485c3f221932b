"""The six panels of the codelab "TensorFlow and deep learning, without a PhD", drawn from recorded arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_lab.mosaic import BARE_WIDTH, HEIGHT, WIDTH, Array, mosaic
from mnist_lab.view.recording import LEVELS, Curve, Digits, Moment

ALL = (1, 2, 3, 4, 5, 6)
CHOICES = {str(n): (n,) for n in ALL} | {"7": (1, 2), "8": (4, 5), "9": (3, 6), "0": ALL, "escape": ALL}
# From Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
_TRAINING, _WATCHED, _OTHERS = "#56B4E9", "#D55E00", ("#009E73", "#CC79A7", "#E69F00", "#000000", "#999999")
_BLUES, _GREENS = ("#d6e6f4", "#9dc6e0", "#4a98c9", "#15508f"), ("#d5efcf", "#9ed798", "#4bb062", "#12713a")
_LEGIBLE = 24  # pixels of the screen; in a narrower place labels would only be in the way
_PARTS = {"val": "validation", "test": "test", None: "validation"}
_NOT_RECORDED = "not recorded:\ntrain with view=file, web or window"


class Board:
    """Draws moments on ``figure``: the panels that are selected, each with the zoom that somebody has given it."""

    def __init__(self, figure: Figure):
        self.figure = figure
        self.selected: tuple[int, ...] = ALL
        self._axes: dict[int, Axes] = {}
        self._limits: dict[int, tuple[Any, Any]] = {}  # as drawn; where they differ now, somebody has zoomed

    def select(self, panels: tuple[int, ...]) -> None:
        """Show ``panels``, some of 1 to 6, from the next drawing on."""
        self.selected = panels
        self._axes.clear()

    def reset_zoom(self) -> None:
        """Show all of each panel again, from the next drawing on."""
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
        widths = [4, 4, 5] if columns == 3 else None
        grid = self.figure.add_gridspec(len(self.selected) // columns, columns, width_ratios=widths)
        grid.update(left=0.045, right=0.985, top=0.9, bottom=0.105, wspace=0.17, hspace=0.3)
        self._axes = {panel: self.figure.add_subplot(grid[i]) for i, panel in enumerate(self.selected)}
        self._title = self.figure.text(0.045, 0.962, "", fontsize=12, weight="bold")
        self._status = self.figure.text(0.045, 0.018, "", fontsize=9, color="#444444")


def accuracy(axes: Axes, moment: Moment, others: tuple[Moment, ...]) -> None:
    """Panel 1: training and watched accuracy, in percent, over steps."""
    values = _curves(axes, moment, others, "accuracy", "1  accuracy, %")
    if len(values):
        axes.set_ylim(min(values.min(), 95), 100.3)


def loss(axes: Axes, moment: Moment, others: tuple[Moment, ...]) -> None:
    """Panel 2: training and watched cross-entropy over steps, times 100 as the codelab has it: summed over a batch."""
    values = _curves(axes, moment, others, "loss", "2  cross-entropy, times 100")
    if len(values):
        axes.set_ylim(0, max(1.02 * values.max(), 1e-3))


def training_digits(axes: Axes, digits: Digits | None) -> None:
    """Panel 3: the first hundred digits of the current batch."""
    if digits is None:
        _nothing(axes, "3  training digits", _NOT_RECORDED)
        return
    _mosaic(axes, digits, columns=10)
    title = f"3  training digits: {digits.correct.sum()} of {len(digits.correct)} correct"
    axes.set(title=title, xticks=[], yticks=[])


def watched_digits(axes: Axes, moment: Moment) -> None:
    """Panel 6: up to 1,000 watched digits, forty in a row, with a scale that reads as accuracy."""
    digits, title = moment.watched, f"6  {_PARTS[moment.part]} digits"
    if digits is None:
        _nothing(axes, title, "no validation set:\nraise data.validation_size" if moment.training else _NOT_RECORDED)
        return
    pixel = _mosaic(axes, digits, columns=40)
    total, bottom = len(digits.labels), axes.get_ylim()[0]
    axes.set_title(f"{title}: {digits.correct.mean():.1%} of {total:,} correct")
    # The mistakes come first, so they end at the height that the scale marks with the accuracy.
    percent = total / 40 * HEIGHT / 100
    fine = next((step for step in (1, 2, 5) if step * percent * pixel > 12), 10)
    marks = [*range(0, 90, 20), *range(90, 101, fine)]
    axes.set_yticks([(100 - mark) * percent for mark in marks], [f"{mark} %" for mark in marks], fontsize=8)
    axes.set(xticks=[], ylim=(bottom, 0))


_PANELS: dict[int, Callable[[Axes, Moment, tuple[Moment, ...]], None]] = {
    1: accuracy,
    2: loss,
    3: lambda axes, moment, others: training_digits(axes, moment.training),
    4: lambda axes, moment, others: _bands(axes, moment.weights, "4  weights: all, 96 %, 80 %, middle half", _BLUES),
    5: lambda axes, moment, others: _bands(axes, moment.biases, "5  biases: all, 96 %, 80 %, middle half", _GREENS),
    6: lambda axes, moment, others: watched_digits(axes, moment),
}


def _curves(axes: Axes, moment: Moment, others: tuple[Moment, ...], kind: str, title: str) -> Array:
    """Draw training and watched curves, ``moment``'s in the foreground; the finite values of all."""
    values = [np.array([])]
    for i, run in reversed(list(enumerate((moment, *others)))):
        name = f"{run.name}: " if others else ""
        for part, label, colour, dashes, width, order in (
            ("train", "training batch", _TRAINING, ":", 0.8, 2),
            (run.part or "val", _PARTS[run.part], _WATCHED, "--", 1.8, 3),
        ):
            curve = run.curves.get(f"{part}_{kind}")
            if curve is None or not len(curve.steps):
                continue
            values.append(100 * curve.values)
            style: dict[str, Any] = {"color": _OTHERS[i % 5 - 1], "ls": dashes} if i else {"color": colour}
            axes.plot(curve.steps, values[-1], label=name + label, lw=width, zorder=order, **style)
    if axes.lines:
        axes.legend(fontsize=8, loc="lower right" if kind == "accuracy" else "upper right", framealpha=0.9)
    axes.set(title=title, xlabel="step", axisbelow=True)
    axes.grid(color="#e5e5e5")
    axes.tick_params(labelsize=8)
    found = np.concatenate(values)
    return np.extract(np.isfinite(found), found)


def _bands(axes: Axes, quantiles: Curve | None, title: str, colours: tuple[str, ...]) -> None:
    """Panels 4 and 5: fill the bands between the quantiles of all weights or biases, darkest the middle half."""
    if quantiles is None or not len(quantiles.steps):
        _nothing(axes, title, _NOT_RECORDED)
        return
    steps, boundaries = quantiles.steps, quantiles.values
    if len(steps) == 1:  # a single moment has no width
        steps, boundaries = np.array([steps[0], steps[0] + 1]), np.repeat(boundaries, 2, axis=0)
    bands = len(LEVELS) - 1
    for band in range(bands):
        colour = colours[min(band, bands - 1 - band)]
        axes.fill_between(steps, boundaries[:, band], boundaries[:, band + 1], color=colour, lw=0)
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
    cell = WIDTH if labelled else BARE_WIDTH
    pixel = min(room.width / (columns * cell), room.height / (rows * HEIGHT))
    scale = int(np.clip(np.ceil(pixel), 1, 3))
    picture = mosaic(digits.images, digits.labels, digits.predictions, columns, scale, labelled, mistakes_first=True)
    axes.imshow(picture, extent=(0, columns * cell, rows * HEIGHT, 0), interpolation="antialiased")
    return float(pixel)
