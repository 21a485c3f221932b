"""Collects the results of many runs, groups them by their settings, and makes one table of them.

Runs that differ only in their seed share a row. Only ``result.json`` files are read, so thousands take a second.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mnist_lab.errors import UserError, short_path
from mnist_lab.runs.result import FILE, Result
from mnist_lab.runs.run import state

# The fields of Result that are compared, and what heads their columns.
MEASURES = {
    "val_accuracy": "validation",
    "best_val_accuracy": "best validation",
    "peak_test_accuracy": "highest test, watched",
    "test_accuracy": "test",
    "test_errors": "errors",
    "fit_seconds": "seconds",
    "parameters": "parameters",
}
SPREAD = "± is the standard deviation over runs that differ only in their seed (n - 1 in the denominator)"
WATCHED = "watched: the test set was evaluated while training, as a curve; nothing was chosen by it"
_MANY = 4  # columns of settings; where there would be more, the name of the recipe stands for what it sets
Runs = dict[Path, Result]  # the results by run directory; one that cannot be read has the status "damaged"


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
        values = [value for value in found if value is not None and abs(value) < 1e300]  # neither NaN nor infinity
        return (fmean(values) if values else None), (stdev(values) if len(values) > 1 else None)

    @property
    def unfinished(self) -> Runs:
        """The runs that failed, were interrupted, killed or pruned, or are still running."""
        return {folder: result for folder, result in self.runs.items() if result.status != "done"}


def collect(folders: list[Path]) -> Runs:
    """Read the results of all runs in ``folders`` and below. Raises UserError where there is none."""
    found = {}
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder}: does not exist; name directories of runs or sweeps, such as outputs/sweeps/...")
        for where, _, files in os.walk(folder):
            if FILE in files:
                try:
                    found[where] = Result.read(Path(where))
                except UserError as error:
                    found[where] = Result("damaged", str(error))
    if not found:
        raise UserError(f"{', '.join(map(str, folders))}: no {FILE} in there; name directories of runs or sweeps")
    return {Path(where): found[where] for where in sorted(found)}


def group(runs: Runs) -> tuple[list[str], list[Row]]:
    """The settings that differ between ``runs``, without the seed, and a row for each combination of their values.

    The row with the best mean validation accuracy comes first, those without one last. A run that left no settings,
    because its result is damaged or it died before it began, has no row.
    """
    runs = {folder: result for folder, result in runs.items() if result.settings}
    settings = [
        result.settings | {"name": result.name} | ({"model": result.model} if result.model != "other" else {})
        for result in runs.values()
    ]
    keys = dict.fromkeys(key for one in settings for key in one if key not in ("seed", "name"))
    differing = [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]
    rows: dict[str, Row] = {}
    for (folder, result), one in zip(runs.items(), settings, strict=True):
        chosen = {key: one.get(key) for key in differing}
        row = rows.setdefault(repr(chosen), Row(chosen | {"name": one["name"]}))
        row.runs[folder] = result
    # Options that change only with their model need no column: the model's name says enough.
    columns = [key for key in differing if not _follows(key, key.partition(".")[0], differing, settings)] or differing
    named = len({result.name for result in runs.values()}) > 1
    named = named and all(len({result.name for result in row.runs.values()}) == 1 for row in rows.values())
    if len(columns) > _MANY and named:
        columns = ["name", *(key for key in columns if not _follows(key, "name", ["name"], settings))]
    return columns, sorted(rows.values(), key=lambda row: -(row.mean_std("val_accuracy")[0] or 0.0))


def _follows(key: str, option: str, differing: list[str], settings: list[dict[str, Any]]) -> bool:
    """Whether the value of ``option``, as ``model``, determines that of ``key``, as ``model.hidden``."""
    if key == option or option not in differing:
        return False
    pairs = {(repr(one.get(option)), repr(one.get(key))) for one in settings}
    return len(pairs) == len({chosen for chosen, _ in pairs})


def labels(columns: list[str], rows: list[Row]) -> list[str]:
    """What tells each row from the others: its name or model, and what varies among those that share it."""
    kind = next((key for key in ("name", "model") if key in columns), None)
    alike: dict[Any, list[Row]] = {}
    for row in rows:
        alike.setdefault(row.settings.get(kind or ""), []).append(row)
    varied = {
        shared: [key for key in columns if key != kind and len({repr(row.settings.get(key)) for row in same}) > 1]
        for shared, same in alike.items()
    }
    found = []
    for row in rows:
        shared = row.settings.get(kind or "")
        words = [f"{key} {short(row.settings.get(key))}" for key in varied[shared]]
        found.append(", ".join(([str(shared)] if kind else []) + words) or "all")
    return found


def records(runs: Runs) -> list[dict[str, Any]]:
    """The rows as plain values: settings, n, mean and standard deviation of each measure, count of unfinished runs."""
    columns, rows = group(runs)
    found = []
    for row in rows:
        record = {key: row.settings.get(key) for key in columns} | {"n": len(row.runs) - len(row.unfinished)}
        for measure in MEASURES:
            record[measure], record[f"{measure}_std"] = row.mean_std(measure)
        found.append(record | {"unfinished": len(row.unfinished)})
    return found


def run_records(runs: Runs) -> list[dict[str, Any]]:
    """Every run as plain values: where it lies, how it stands, settings, measures, date, git commit, command.

    The date is when its result was last written; a commit with ``+`` had changes that were not committed.
    """
    columns, found = group(runs)[0], []
    for folder, result in runs.items():
        known = result.settings | {"name": result.name, "model": result.model}
        commit, changed = (result.provenance.get(key) for key in ("git_sha", "git_dirty"))
        found.append(
            {"run": short_path(folder), "state": state(folder, result)}
            | {key: known.get(key) for key in dict.fromkeys([*columns, "seed"])}
            | {measure: getattr(result, measure) for measure in MEASURES}
            | {"date": datetime.fromtimestamp((folder / FILE).stat().st_mtime).isoformat(" ", "minutes")}
            | {"commit": commit and f"{commit}"[:10] + ("+" if changed else "")}
            | {"command": result.provenance.get("command")}
        )
    return found


def short(value: Any) -> str:
    """A value of the config, with at most four digits."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def head(columns: list[str], rows: list[Row]) -> dict[str, str]:
    """The columns of the table and what heads them. What no run has measured has no column."""
    measures = {key: MEASURES[key] for key in MEASURES if any(row.mean_std(key)[0] is not None for row in rows)}
    left = {"unfinished": "unfinished"} if any(row.unfinished for row in rows) else {}
    return {key: key for key in columns} | {"n": "n"} | measures | left


def row_cells(row: Row, columns: Iterable[str]) -> list[str]:
    """A row of the table as text, with the columns that ``head`` has given."""
    counts = {"n": len(row.runs) - len(row.unfinished), "unfinished": len(row.unfinished)}
    return [
        str(counts[key]) if key in counts
        else measured(key, *row.mean_std(key)) if key in MEASURES
        else short(row.settings.get(key))
        for key in columns
    ]  # fmt: skip


def cells(runs: Runs) -> list[list[str]]:
    """The table as text: its rows of cells, the head first."""
    columns, rows = group(runs)
    headed = head(columns, rows)
    return [list(headed.values()), *(row_cells(row, headed) for row in rows)]


def run_cells(runs: Runs) -> list[list[str]]:
    """The table of every run as text, the head first."""
    found = run_records(runs)
    return [[MEASURES.get(key, key) for key in found[0]], *([short(value) for value in one.values()] for one in found)]


def notes(runs: Runs, unfinished: bool = True) -> list[str]:
    """What the table does not say: each run that is not done, with the reason, and what the words in its head mean."""
    said = []
    for folder, result in runs.items() if unfinished else ():
        if result.status == "damaged":
            said.append(f"skipped: {result.error}")
        elif result.status not in ("done", "pruned"):
            said.append(": ".join(filter(None, [state(folder, result), short_path(folder), result.error])))
    rows = group(runs)[1]
    if any(row.mean_std("val_accuracy")[1] is not None or row.mean_std("fit_seconds")[1] is not None for row in rows):
        said.append(SPREAD)
    if any(row.mean_std("peak_test_accuracy")[0] is not None for row in rows):
        said.append(WATCHED)
    return said


def measured(measure: str, mean: float | None, std: float | None) -> str:
    """Mean and standard deviation of ``measure``, a field of Result, as text with its unit."""
    if mean is None:
        return "-"
    if measure.endswith("accuracy"):
        return f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if std is not None else "") + " %"
    digits = 1 if measure == "fit_seconds" else 0
    return f"{mean:,.{digits}f}" + (f" ± {std:,.{digits}f}" if std else "")


def table(runs: Runs, markdown: bool = False, every_run: bool = False) -> str:
    """The table as text, with the notes below it."""
    lines = run_cells(runs) if every_run else cells(runs)
    if len(lines) == 1:
        return "\n".join(["no run has a result yet", *notes(runs)])
    if markdown:
        lines.insert(1, ["---"] * len(lines[0]))
        rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([*rows, "", *(f"- {note}" for note in notes(runs))])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines] + notes(runs))
