"""The page over many runs: what report.py groups and measures, handed to page/report.js as plain data."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

from mnist_lab.errors import short_path
from mnist_lab.page import document
from mnist_lab.runs.run import Run, state
from mnist_lab.sweeps.report import (
    MEASURES,
    Row,
    Runs,
    group,
    head,
    labels,
    measured,
    notes,
    row_cells,
    run_records,
    short,
)

COSTS = {"parameters": "parameters", "multiply_adds": "multiply-adds", "fit_seconds": "seconds of training"}
_BINS = 40  # a curve keeps the lowest and the highest point of each: a chart of 1,000 runs is a file of 3 MB


def write(runs: Runs, path: Path) -> None:
    """Write the page, one HTML file. Its links to the runs are relative, so that both can be moved together."""
    path.write_text(document("mnist_lab: report", "report", content(runs, path.parent), whole=True), encoding="utf-8")


def content(runs: Runs, folder: Path) -> dict[str, Any]:
    """What a page in ``folder`` shows. Numbers are means over the runs of a row; null is what was not measured."""
    columns, rows = group(runs)
    names, steps = labels(columns, rows), dict[tuple[int, ...], int]()
    lines = head(columns, rows)
    run_head = {key: name for key, name in _RUN_HEAD.items() if key not in MEASURES or key in lines}
    records = {record["run"]: record for record in run_records(runs)}
    listed = []
    for name, row in zip(names, rows, strict=True):
        values = [row.settings.get(key) for key in columns] + [len(row.runs) - len(row.unfinished)]
        values += [_rounded(row.mean_std(key)[0]) for key in lines if key in MEASURES]
        accuracy = row.mean_std(_measure(row))
        listed.append(
            {
                "label": name,
                "part": _part(row),
                "cells": row_cells(row, lines),
                "values": [value if type(value) in (int, float, type(None)) else short(value) for value in values]
                + ([len(row.unfinished)] if "unfinished" in lines else []),
                "accuracy": [_rounded(value) for value in accuracy],
                "costs": [_rounded(row.mean_std(cost)[0]) for cost in COSTS],
                "curves": [_curve(row, kind, steps) for kind in ("accuracy", "loss")],
                "runs": [_run(records[short_path(path)], run_head, path, folder) for path in row.runs],
            }
        )
    left = [(path, result) for path, result in runs.items() if result.status != "done"]
    return {
        "place": short_path(Path(os.path.commonpath(list(runs)))),
        "states": Counter(state(path, result) for path, result in runs.items()),
        "settings": len(columns),
        "head": list(lines.values()),
        "rows": listed,
        "steps": list(steps),
        "runHead": list(run_head.values()),
        "costs": list(COSTS.values()),
        "fronts": [_front(listed, cost) for cost in range(len(COSTS))],
        "left": [[*_link(path, folder), state(path, result), result.error or ""] for path, result in left],
        "notes": notes(runs, unfinished=False),
    }


_RUN_HEAD = {"seed": "seed", "state": "state"} | MEASURES | {"date": "date", "commit": "commit", "command": "command"}


def _run(record: dict[str, Any], columns: Iterable[str], path: Path, folder: Path) -> list[str]:
    """The link to a run, and a text for each of ``columns``."""
    cells = [measured(key, record[key], None) if key in MEASURES else short(record[key]) for key in columns]
    return [*_link(path, folder), *cells]


def _link(path: Path, folder: Path) -> tuple[str, str]:
    """The path of a run from ``folder``, and its address there."""
    try:
        way = Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:  # on another drive of Windows
        return path.as_posix(), path.absolute().as_uri()
    return way, quote(way) + "/"


def _part(row: Row) -> str:
    """Which images the accuracy of ``row`` is of: validation, or test where nothing was held out."""
    held_out, tested = (row.mean_std(f"{part}_accuracy")[0] for part in ("val", "test"))
    return "test" if held_out is None and tested is not None else "validation"


def _measure(row: Row) -> str:
    return "test_accuracy" if _part(row) == "test" else "val_accuracy"


def _curve(row: Row, kind: str, known: dict[tuple[int, ...], int]) -> list[Any] | None:
    """The mean over the seeds: the number of its steps in ``known``, its values, and the lowest and highest seed's.

    Of the validation images, or of the test images where these were watched instead. None where nothing was measured.
    """
    column = f"{'test' if _part(row) == 'test' else 'val'}_{kind}"
    points: dict[int, list[float]] = defaultdict(list)
    for folder in row.runs:
        curves = Run(folder).metrics
        if column in curves:
            for step, value in zip(curves.steps(column).tolist(), curves[column].tolist(), strict=True):
                points[step].append(value)
    if not points:
        return None
    steps = sorted(points)
    means = [fmean(points[step]) for step in steps]
    kept = thinned(steps, means)
    number = known.setdefault(tuple(steps[i] for i in kept), len(known))
    values = [means] if len(row.runs) == 1 else [means, *([of(points[s]) for s in steps] for of in (min, max))]
    return [number, *([_rounded(one[i], 4) for i in kept] for one in values)]


def thinned(steps: Sequence[int], values: Sequence[float], bins: int = _BINS) -> list[int]:
    """Which points draw nearly the same line: of each of ``bins`` stretches the lowest and highest, and both ends."""
    if len(steps) <= 2 * bins:
        return list(range(len(steps)))
    kept, width = {0, len(steps) - 1}, (steps[-1] - steps[0]) / bins
    stretches: dict[int, list[int]] = defaultdict(list)
    for i, step in enumerate(steps):
        stretches[int((step - steps[0]) / width)].append(i)
    for stretch in stretches.values():
        kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    return sorted(kept)


def _front(listed: list[dict[str, Any]], cost: int) -> list[int]:
    """The rows on the Pareto front of accuracy against a cost: of validation, or of test where all rows are so."""
    part = "validation" if any(row["part"] == "validation" for row in listed) else "test"
    points = {
        i: (row["costs"][cost], row["accuracy"][0])
        for i, row in enumerate(listed)
        if row["part"] == part and None not in (row["costs"][cost], row["accuracy"][0])
    }
    front: list[int] = []
    for i in sorted(points, key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def _rounded(value: float | None, digits: int = 6) -> float | None:
    """``value`` as JSON can hold it, in few characters."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
