"""Plots of many runs, as PNG files or in a page: learning curves, and what accuracy costs."""

import base64
import html
import io
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from mnist_lab.errors import require_extra
from mnist_lab.runs.run import Run
from mnist_lab.sweeps.report import Row, Runs, cells, group, label, notes, run_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of the best rows, the ones with a label: Okabe and Ito's colours for colour-blind readers (jfly.uni-koeln.de/color).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def draw(runs: Runs) -> dict[str, "Figure"]:
    """The figures ``curves`` and ``costs``, where there are runs to draw: with a validation or else a test accuracy.

    Raises UserError where matplotlib is missing.
    """
    require_extra("matplotlib", "plots", "plots")
    from matplotlib.figure import Figure  # here, because a table needs no matplotlib

    columns, rows = group(runs)
    figures = {}
    for name, plot, measures in (
        ("curves", _curves, ("val_accuracy", "peak_test_accuracy")),
        ("costs", _costs, ("val_accuracy", "test_accuracy")),
    ):
        shown = [row for row in rows if any(row.mean_std(measure)[0] is not None for measure in measures)]
        if shown:
            figures[name] = figure = Figure(figsize=(10, 6), layout="constrained")
            axes = list(figure.subplots(1, 2))
            labels = [label(row, columns, rows) + f" ({_part(row)})" for row in shown[: len(_COLOURS)]]
            plot(axes, labels, shown)
            handles, names = axes[0].get_legend_handles_labels()
            some = f"{len(labels)} of {len(rows)} rows of the table" if len(labels) < len(rows) else None
            figure.legend(handles, names, loc="outside lower center", fontsize="small", title=some)
    return figures


def _part(row: Row) -> str:
    """Which images the accuracy of ``row`` is of: validation, or test where nothing was held out."""
    return "test" if row.mean_std("val_accuracy")[0] is None else "validation"


def save(runs: Runs, folder: Path) -> None:
    """Write the figures to ``folder`` as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in draw(runs).items():
        figure.savefig(folder / f"{name}.png", dpi=150)


def page(runs: Runs) -> str:
    """An HTML page with the table and the figures; it loads nothing from elsewhere."""
    images = []
    for name, figure in draw(runs).items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
        data = base64.b64encode(buffer.getvalue()).decode()
        images.append(f'<img alt="{name}" src="data:image/png;base64,{data}">')
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>mnist_lab: report</title><style>'
        "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;font-variant-numeric:tabular-nums}img{max-width:100%;margin:1rem 0}"
        "th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #ccc;white-space:nowrap}"
        "div{overflow-x:auto}</style>"
        f"<h1>{len(runs):,} runs</h1>{_html_table(cells(runs))}"
        f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in notes(runs))}</ul>{''.join(images)}"
        f"<h2>Every run</h2>{_html_table(run_cells(runs))}</html>\n"
    )


def _html_table(lines: list[list[str]]) -> str:
    head, *body = ["".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in lines]
    rows = "".join(f"<tr>{line}</tr>" for line in body)
    return f"<div><table><tr>{head.replace('td>', 'th>')}</tr>{rows}</table></div>"


def _curves(axes: list["Axes"], labels: list[str], rows: list[Row]) -> None:
    """Accuracy and loss over steps: the mean over the seeds, and a band from the lowest to the highest.

    Of the validation images, or, dashed, of the test images where these were watched instead.
    """
    for row, label_, colour in zip(rows, labels, _COLOURS, strict=False):
        curves, part = [Run(folder).metrics for folder in row.runs], _part(row)
        for axis, name, scale in ((axes[0], "accuracy", 100.0), (axes[1], "loss", 1.0)):
            column = f"{'val' if part == 'validation' else part}_{name}"
            points: dict[int, list[float]] = defaultdict(list)
            for curve in curves:
                if column in curve:
                    for step, value in zip(curve.steps(column).tolist(), curve[column].tolist(), strict=True):
                        points[step].append(scale * value)
            steps, style = sorted(points), "--" if part == "test" else "-"
            axis.plot(steps, [fmean(points[s]) for s in steps], style, color=colour, label=label_)
            low, high = [min(points[s]) for s in steps], [max(points[s]) for s in steps]
            axis.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    parts, watched = set(map(_part, rows)), "test, watched while training"
    what = f"validation; dashed: {watched}" if len(parts) == 2 else watched if parts == {"test"} else "validation"
    for axis, name, unit in ((axes[0], "accuracy", "%"), (axes[1], "loss", "cross-entropy")):
        axis.set_title(f"{name}: {what}\n(band: all seeds)", fontsize="medium")
        axis.set(xlabel="step", ylabel=unit)
        axis.set_xlim(left=0)
    if any(len(line.get_xdata()) for line in axes[1].get_lines()):  # type: ignore[arg-type]
        axes[1].set_yscale("log")


def _costs(axes: list["Axes"], labels: list[str], rows: list[Row]) -> None:
    """Accuracy, mean and standard deviation, against parameters and training time, with the Pareto front.

    Of the validation images; where there are none of the test images, which a hollow mark says and no front joins,
    unless all rows are so.
    """
    fronted = "validation" if any(_part(row) == "validation" for row in rows) else "test"
    for axis, measure, unit in ((axes[0], "parameters", "parameters"), (axes[1], "fit_seconds", "seconds of training")):
        points = []
        for i, row in enumerate(rows):
            part, cost = _part(row), row.mean_std(measure)[0] or 0.0
            mean, std = row.mean_std("test_accuracy" if part == "test" else "val_accuracy")
            colour, label_ = (_COLOURS[i], labels[i]) if i < len(labels) else ("#cccccc", None)
            fill = "white" if part == "test" else colour
            accuracy, error = 100 * (mean or 0.0), 100 * (std or 0.0)
            axis.errorbar(cost, accuracy, yerr=error, fmt="o", color=colour, mfc=fill, capsize=3, label=label_)
            points.append((cost, accuracy, part))
        front = pareto_front([(cost, accuracy) for cost, accuracy, part in points if part == fronted])
        axis.step([x for x, _ in front], [y for _, y in front], where="post", color="black", lw=1, label="Pareto front")
        axis.set(title=f"accuracy against {measure.replace('_', ' ')}", xlabel=unit, ylabel="accuracy, %")
        costs = [cost for cost, _, _ in points]
        if min(costs) > 0 and max(costs) / min(costs) >= 10:
            axis.set_xscale("log")


def pareto_front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, gain) for which no other point costs at most as much and gains more, the cheapest first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front
