"""Pictures of many runs, for ``python -m mnist_lab.report --html report.html`` and ``--plots folder``."""

import base64
import csv
import html
import io
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from mnist_lab import report
from mnist_lab.errors import needed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 8  # rows with a name and a colour of their own, the best; more could not be told apart
# Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def draw(runs: list[dict[str, Any]]) -> dict[str, "Figure"]:
    """The figures that ``runs`` allow, by name. Raises UserError where matplotlib is missing."""
    needed("matplotlib", "plots", "plots")
    differing, groups = report.rows(runs)
    groups = [row for row in groups if row.mean("val_accuracy") is not None]
    if not groups:
        return {}
    figures = {"curves": _curves(differing, groups), "costs": _costs(differing, groups)}
    numeric = [key for key in differing if all(_is_number(row.settings.get(key)) for row in groups)]
    if numeric:
        figures["settings"] = _settings(numeric, groups)
    if len(differing) > 1 and len(groups) > 1:
        figures["parallel"] = _parallel(differing, groups)
    return figures


def save(runs: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Write the figures to ``folder`` as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in draw(runs).items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=150)
    return paths


def page(runs: list[dict[str, Any]]) -> str:
    """A page with the table and the figures, all within it."""
    lines = report.lines(runs)
    head, *body = [[html.escape(cell) for cell in line] for line in lines.table]
    table = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in body)
    pictures = []
    for name, figure in draw(runs).items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
        data = base64.b64encode(buffer.getvalue()).decode()
        pictures.append(f'<img alt="{name}" src="data:image/png;base64,{data}">')
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in lines.notes)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>mnist_lab: report</title><style>'
        "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;font-variant-numeric:tabular-nums}img{max-width:100%;margin:1rem 0}"
        "th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #ccc;white-space:nowrap}"
        "div{overflow-x:auto}</style>"
        f"<h1>{len(runs):,} runs</h1><div><table><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>{table}</table>"
        f"</div><ul>{notes}</ul>{''.join(pictures)}</html>\n"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _new(columns: int, height: float) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0 * columns, 8), height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _name(differing: list[str], row: report.Row) -> str:
    return ", ".join(f"{key} {report.setting(row.settings.get(key))}" for key in differing) or "all"


def _accuracy(row: report.Row) -> tuple[float, float]:
    """Mean and spread over seeds, in percent."""
    values = [100 * value for value in row.values("val_accuracy")]
    return fmean(values), stdev(values) if len(values) > 1 else 0.0


def _curves(differing: list[str], groups: list[report.Row]) -> "Figure":
    """Validation accuracy and loss over steps: the mean over seeds, and from the least to the greatest as a band."""
    figure, axes = _new(2, 4.5)
    for row, colour in zip(groups[:_SHOWN], _COLOURS, strict=False):
        for axis, metric, scale in ((axes[0], "val_accuracy", 100.0), (axes[1], "val_loss", 1.0)):
            points: dict[int, list[float]] = defaultdict(list)
            for run in row.runs:
                for step, value in _curve(Path(run["directory"]), metric):
                    points[step].append(scale * value)
            steps = sorted(points)
            axis.plot(steps, [fmean(points[s]) for s in steps], color=colour, label=_name(differing, row))
            low, high = [min(points[s]) for s in steps], [max(points[s]) for s in steps]
            axis.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes[0].set(title="validation accuracy (band: all seeds)", xlabel="step", ylabel="%")
    axes[1].set(title="validation loss (band: all seeds)", xlabel="step", ylabel="cross-entropy")
    axes[1].set_yscale("log")
    axes[0].legend(fontsize="small", title=f"the best {_SHOWN} of {len(groups)}" if len(groups) > _SHOWN else None)
    return figure


def _curve(folder: Path, metric: str) -> list[tuple[int, float]]:
    try:
        with (folder / "metrics.csv").open(newline="") as file:
            return [(int(row["step"]), float(row[metric])) for row in csv.DictReader(file) if row.get(metric)]
    except (OSError, ValueError):  # a run without curves, or cut short in its last row
        return []


def _settings(numeric: list[str], groups: list[report.Row]) -> "Figure":
    """Validation accuracy against each setting that is a number; bars are the spread over seeds."""
    figure, axes = _new(len(numeric), 4)
    for key, axis in zip(numeric, axes, strict=True):
        x = [row.settings[key] for row in groups]
        means, spreads = zip(*map(_accuracy, groups), strict=True)
        axis.errorbar(x, means, yerr=spreads, fmt="o", color=_COLOURS[0], ecolor="#999999", capsize=3)
        axis.set(title=key, xlabel=key, ylabel="validation accuracy, %")
        if min(x) > 0 and max(x) / min(x) >= 10:
            axis.set_xscale("log")
    return figure


def _costs(differing: list[str], groups: list[report.Row]) -> "Figure":
    """Validation accuracy against what it costs; the line joins those that nothing beats in both."""
    figure, axes = _new(2, 4.5)
    for axis, measure, unit in ((axes[0], "parameters", "parameters"), (axes[1], "fit_seconds", "seconds of training")):
        points = [(row.mean(measure) or 0.0, *_accuracy(row), row) for row in groups]
        for i, (x, y, spread, row) in enumerate(points):
            colour = _COLOURS[i] if i < _SHOWN else "#cccccc"
            label = _name(differing, row) if i < _SHOWN else None
            axis.errorbar(x, y, yerr=spread, fmt="o", color=colour, capsize=3, label=label)
        front = pareto([(x, y) for x, y, _, _ in points])
        axis.step([x for x, _ in front], [y for _, y in front], where="post", color="black", lw=1, label="Pareto front")
        axis.set(title=f"accuracy against {measure.replace('_', ' ')}", xlabel=unit, ylabel="validation accuracy, %")
        low, high = min(x for x, *_ in points), max(x for x, *_ in points)
        if low > 0 and high / low >= 10:
            axis.set_xscale("log")
    axes[0].legend(fontsize="small")
    return figure


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (cost, gain), those that no other beats in both, the cheapest first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def _parallel(differing: list[str], groups: list[report.Row]) -> "Figure":
    """A line for each row through its settings to its validation accuracy; the brighter, the better."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    figure, (axis,) = _new(1, 4.5)
    figure.set_figwidth(max(2.2 * (len(differing) + 1), 8))
    columns = [*differing, "validation accuracy, %"]
    accuracies = [_accuracy(row)[0] for row in groups]
    heights: list[list[float]] = []
    for i, key in enumerate(columns):
        values: list[Any] = accuracies if i == len(differing) else [row.settings.get(key) for row in groups]
        if all(_is_number(value) for value in values):
            low, high = min(values), max(values)
            heights.append([(value - low) / ((high - low) or 1) for value in values])
            ticks = [(0.0, report.setting(low)), (1.0, report.setting(high))]
        else:
            names = sorted({str(value) for value in values})
            places = {name: n / max(len(names) - 1, 1) for n, name in enumerate(names)}
            heights.append([places[str(value)] for value in values])
            ticks = [(height, name) for name, height in places.items()]
        axis.axvline(i, color="#999999", lw=1)
        for height, text in ticks:
            axis.annotate(text, (i, height), xytext=(4, 3), textcoords="offset points", fontsize="small")
    shade = Normalize(min(accuracies), max(accuracies) or 1)
    for j in reversed(range(len(groups))):
        axis.plot(range(len(columns)), [h[j] for h in heights], color=colormaps["viridis"](shade(accuracies[j])))
    axis.set_xticks(range(len(columns)), columns)
    axis.set(yticks=[], title="settings and validation accuracy", ylim=(-0.05, 1.1), xlim=(-0.2, len(columns) - 0.5))
    for side in ("left", "right", "top"):
        axis.spines[side].set_visible(False)
    return figure
