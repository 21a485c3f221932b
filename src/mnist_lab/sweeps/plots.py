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
from mnist_lab.sweeps.report import Row, Runs, cells, group, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of the best rows, the ones with a label: Okabe and Ito's colours for colour-blind readers (jfly.uni-koeln.de/color).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def draw(runs: Runs) -> dict[str, "Figure"]:
    """The figures ``curves`` and ``costs``; none where no run has a validation accuracy.

    Raises UserError where matplotlib is missing.
    """
    require_extra("matplotlib", "plots", "plots")
    from matplotlib.figure import Figure  # here, because a table needs no matplotlib

    differing, rows = group(runs)
    shown = [row for row in rows if row.mean_std("val_accuracy")[0] is not None]
    labels = [", ".join(f"{key} {short(row.settings.get(key))}" for key in differing) or "all" for row in shown]
    if not shown:
        return {}
    figures = {}
    best = f"the best {len(_COLOURS)} of {len(shown)}" if len(shown) > len(_COLOURS) else None
    for name, plot, title in (("curves", _curves, best), ("costs", _costs, None)):
        figures[name] = figure = Figure(figsize=(10, 6), layout="constrained")
        axes = list(figure.subplots(1, 2))
        plot(axes, labels, shown)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", fontsize="small", title=title)
    return figures


def save(runs: Runs, folder: Path) -> None:
    """Write the figures to ``folder`` as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in draw(runs).items():
        figure.savefig(folder / f"{name}.png", dpi=150)


def page(runs: Runs) -> str:
    """An HTML page with the table and the figures; it loads nothing from elsewhere."""
    lines, notes = cells(runs)
    head, *body = ["".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in lines]
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
        f"<h1>{len(runs):,} runs</h1><div><table><tr>{head.replace('td>', 'th>')}</tr>"
        f"{''.join(f'<tr>{line}</tr>' for line in body)}</table></div>"
        f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in notes)}</ul>{''.join(images)}</html>\n"
    )


def _curves(axes: list["Axes"], labels: list[str], rows: list[Row]) -> None:
    """Validation accuracy and loss over steps: the mean over the seeds, and a band from the lowest to the highest."""
    for row, label, colour in zip(rows, labels, _COLOURS, strict=False):
        curves = [Run(folder).metrics for folder in row.runs]
        for axis, name, scale in ((axes[0], "val_accuracy", 100.0), (axes[1], "val_loss", 1.0)):
            points: dict[int, list[float]] = defaultdict(list)
            for curve in curves:
                if name in curve:
                    for step, value in zip(curve.steps(name).tolist(), curve[name].tolist(), strict=True):
                        points[step].append(scale * value)
            steps = sorted(points)
            axis.plot(steps, [fmean(points[s]) for s in steps], color=colour, label=label)
            low, high = [min(points[s]) for s in steps], [max(points[s]) for s in steps]
            axis.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes[0].set(title="validation accuracy (band: all seeds)", xlabel="step", ylabel="%")
    axes[1].set(title="validation loss (band: all seeds)", xlabel="step", ylabel="cross-entropy")
    axes[1].set_yscale("log")


def _costs(axes: list["Axes"], labels: list[str], rows: list[Row]) -> None:
    """Validation accuracy, mean and standard deviation, against parameters and training time, with Pareto fronts."""
    reached = [row.mean_std("val_accuracy") for row in rows]
    accuracies = [100 * (mean or 0.0) for mean, _ in reached]
    errors = [100 * (std or 0.0) for _, std in reached]
    for axis, measure, unit in ((axes[0], "parameters", "parameters"), (axes[1], "fit_seconds", "seconds of training")):
        costs = [row.mean_std(measure)[0] or 0.0 for row in rows]
        for i, (cost, accuracy, error) in enumerate(zip(costs, accuracies, errors, strict=True)):
            colour, label = (_COLOURS[i], labels[i]) if i < len(_COLOURS) else ("#cccccc", None)
            axis.errorbar(cost, accuracy, yerr=error, fmt="o", color=colour, capsize=3, label=label)
        front = pareto_front(list(zip(costs, accuracies, strict=True)))
        axis.step([x for x, _ in front], [y for _, y in front], where="post", color="black", lw=1, label="Pareto front")
        axis.set(title=f"accuracy against {measure.replace('_', ' ')}", xlabel=unit, ylabel="validation accuracy, %")
        if min(costs) > 0 and max(costs) / min(costs) >= 10:
            axis.set_xscale("log")


def pareto_front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, gain) for which no other point costs at most as much and gains more, the cheapest first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front
