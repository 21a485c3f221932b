"""Collects the results of many runs, groups them by their settings, and makes one table of them.

Runs that differ only in their seed share a row. Only ``result.json`` files are read, so thousands take a second.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mnist_lab.errors import UserError, short_path
from mnist_lab.runs.result import FILE, Result

MEASURES = ("val_accuracy", "best_val_accuracy", "test_accuracy", "test_errors", "fit_seconds", "parameters")
Runs = dict[Path, Result]  # the results by run directory


@dataclass
class Row:
    """Runs with the same settings; only their seeds differ."""

    settings: dict[str, Any]
    runs: Runs = field(default_factory=dict)

    def mean_std(self, measure: str) -> tuple[float | None, float | None]:
        """Mean and standard deviation of ``measure``, a field of Result, over the runs that are done.

        None where there is no value, for the standard deviation where there are fewer than two.
        """
        found = [getattr(result, measure) for result in self.runs.values() if result.status == "done"]
        values = [value for value in found if value is not None]
        return (fmean(values) if values else None), (stdev(values) if len(values) > 1 else None)

    @property
    def unfinished(self) -> Runs:
        """The runs that failed, were interrupted or pruned, or are still running."""
        return {folder: result for folder, result in self.runs.items() if result.status != "done"}


def collect(folders: list[Path]) -> Runs:
    """Read the results of all runs in ``folders`` and below. Raises UserError where there is none."""
    found = {}
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder}: does not exist; name directories of runs or sweeps, such as outputs/sweeps/...")
        for where, _, files in os.walk(folder):
            if FILE in files:
                found[where] = Result.read(Path(where))
    if not found:
        raise UserError(f"{', '.join(map(str, folders))}: no {FILE} in there; name directories of runs or sweeps")
    return {Path(where): found[where] for where in sorted(found)}


def group(runs: Runs) -> tuple[list[str], list[Row]]:
    """The settings that differ between ``runs``, without the seed, and a row for each combination of their values.

    The row with the best mean validation accuracy comes first.
    """
    settings = [result.settings | {"model": result.model} for result in runs.values()]
    keys = dict.fromkeys(key for one in settings for key in one if key != "seed")
    differing = [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]
    rows: dict[str, Row] = {}
    for (folder, result), one in zip(runs.items(), settings, strict=True):
        chosen = {key: one.get(key) for key in differing}
        rows.setdefault(repr(chosen), Row(chosen)).runs[folder] = result
    # Options that change only with their model need no column: the model's name says enough.
    differing = [key for key in differing if not _follows_from_group(key, differing, settings)] or differing
    return differing, sorted(rows.values(), key=lambda row: -(row.mean_std("val_accuracy")[0] or 0.0))


def _follows_from_group(key: str, differing: list[str], settings: list[dict[str, Any]]) -> bool:
    """Whether the option of a group, as ``model``, determines the value of its ``key``, as ``model.hidden``."""
    option = key.partition(".")[0]
    if key == option or option not in differing:
        return False
    pairs = {(repr(one.get(option)), repr(one.get(key))) for one in settings}
    return len(pairs) == len({chosen for chosen, _ in pairs})


def records(runs: Runs) -> list[dict[str, Any]]:
    """The rows as plain values: settings, n, mean and standard deviation of each measure, count of unfinished runs."""
    differing, rows = group(runs)
    found = []
    for row in rows:
        record = {key: row.settings.get(key) for key in differing} | {"n": len(row.runs) - len(row.unfinished)}
        for measure in MEASURES:
            record[measure], record[f"{measure}_std"] = row.mean_std(measure)
        found.append(record | {"unfinished": len(row.unfinished)})
    return found


def short(value: Any) -> str:
    """A value of the config, with at most four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cells(runs: Runs) -> tuple[list[list[str]], list[str]]:
    """The table as text: its rows of cells, the head first, and a note for each run that failed or was interrupted."""
    differing, rows = group(runs)
    head = [*differing, "n", "validation", "best validation", "test", "errors", "seconds", "parameters", "unfinished"]
    body = []
    for row in rows:
        settings = [short(row.settings.get(key)) for key in differing]
        measured = [_measured(measure, *row.mean_std(measure)) for measure in MEASURES]
        body.append([*settings, str(len(row.runs) - len(row.unfinished)), *measured, str(len(row.unfinished))])
    if not any(row.unfinished for row in rows):
        head, body = head[:-1], [line[:-1] for line in body]
    notes = [
        f"{result.status}: {short_path(folder)}: {result.error or 'no error is recorded'}"
        for row in rows
        for folder, result in row.unfinished.items()
        if result.status != "pruned"
    ]
    return [head, *body], notes


def _measured(measure: str, mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    if measure.endswith("accuracy"):
        return f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if std is not None else "") + " %"
    digits = 1 if measure == "fit_seconds" else 0
    return f"{mean:,.{digits}f}" + (f" ± {std:,.{digits}f}" if std else "")


def table(runs: Runs, markdown: bool = False) -> str:
    """The table as text, with the notes below it."""
    lines, notes = cells(runs)
    if markdown:
        lines.insert(1, ["---"] * len(lines[0]))
        return "\n".join([f"| {' | '.join(line)} |" for line in lines] + [f"- {note}" for note in notes])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines] + notes)
