"""One table over many runs: ``python -m mnist_lab.report outputs/sweeps/<time>`` (and at the end of every multirun).

Runs that differ in their seed only make a row. Only the files result.json are read, so that thousands take seconds.
"""

import argparse
import atexit
import csv
import importlib.util
import io
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mnist_lab.errors import UserError, reported
from mnist_lab.results import FILE, read

MEASURES = ("val_accuracy", "best_val_accuracy", "test_accuracy", "test_errors", "fit_seconds", "parameters")


@dataclass
class Row:
    """Runs of the same settings, whatever their seeds."""

    settings: dict[str, Any]
    runs: list[dict[str, Any]] = field(default_factory=list)

    def values(self, measure: str) -> list[float]:
        """What the runs that ended reached."""
        return [run[measure] for run in self.runs if run["status"] == "done" and run.get(measure) is not None]

    @property
    def unfinished(self) -> list[dict[str, Any]]:
        """The runs that failed, were interrupted, or still run."""
        return [run for run in self.runs if run["status"] != "done"]

    def mean(self, measure: str) -> float | None:
        """Over seeds; None where no run has it."""
        return fmean(self.values(measure)) if self.values(measure) else None


def collect(folders: list[Path]) -> list[dict[str, Any]]:
    """The results of all runs in ``folders`` and below, each with its ``directory``. Raises UserError for none."""
    found = []
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder}: does not exist; name directories of runs or sweeps, such as outputs/sweeps/...")
        for where, _, files in os.walk(folder):
            if FILE in files:
                found.append(read(Path(where)) | {"directory": where})
    if not found:
        raise UserError(f"{', '.join(map(str, folders))}: no {FILE} in there; name directories of runs or sweeps")
    return sorted(found, key=lambda run: run["directory"])


def rows(runs: list[dict[str, Any]]) -> tuple[list[str], list[Row]]:
    """The settings that differ (the seed left out), and the runs grouped by them, best validation first."""
    settings = [(run.get("settings") or {}) | {"model": run.get("model")} for run in runs]
    keys = dict.fromkeys(key for one in settings for key in one if key != "seed")
    differing = [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]
    groups: dict[str, Row] = {}
    for run, one in zip(runs, settings, strict=True):
        chosen = {key: one.get(key) for key in differing}
        groups.setdefault(repr(chosen), Row(chosen)).runs.append(run)
    # A model's own options follow from the model: where each differs only with it, its name says enough.
    differing = [key for key in differing if not _follows(key, differing, settings)] or differing

    def by_validation(row: Row) -> float:
        return -(row.mean("val_accuracy") or 0.0)

    return differing, sorted(groups.values(), key=by_validation)


def _follows(key: str, differing: list[str], settings: list[dict[str, Any]]) -> bool:
    group = key.partition(".")[0]
    if key == group or group not in differing:
        return False
    pairs = {(repr(one.get(group)), repr(one.get(key))) for one in settings}
    return len(pairs) == len({of for of, _ in pairs})


def cells(differing: list[str], row: Row) -> dict[str, Any]:
    """A row of the table as plain values: settings, n, mean and spread of each measure, what did not end."""
    shown: dict[str, Any] = {key: row.settings.get(key) for key in differing}
    shown["n"] = len(row.runs) - len(row.unfinished)
    for measure in MEASURES:
        values = row.values(measure)
        shown[measure] = fmean(values) if values else None
        shown[f"{measure}_spread"] = stdev(values) if len(values) > 1 else None
    shown["unfinished"] = len(row.unfinished)
    return shown


def setting(value: Any) -> str:
    """A value of the config, short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(name: str, mean: float | None, spread: float | None) -> str:
    if mean is None:
        return "-"
    if name.endswith("accuracy"):
        return f"{100 * mean:.2f}" + (f" ± {100 * spread:.2f}" if spread is not None else "") + " %"
    digits = 1 if name == "fit_seconds" else 0
    return f"{mean:,.{digits}f}" + (f" ± {spread:,.{digits}f}" if spread else "")


@dataclass
class Lines:
    """The table for people: its lines of cells, the head first, and a note for each run that did not end."""

    table: list[list[str]]
    notes: list[str]


def lines(runs: list[dict[str, Any]]) -> Lines:
    """The table over ``runs``."""
    differing, groups = rows(runs)
    head = [*differing, "n", "validation", "best validation", "test", "errors", "seconds", "parameters", "unfinished"]
    body = []
    for row in groups:
        shown = cells(differing, row)
        measured = [_text(name, shown[name], shown[f"{name}_spread"]) for name in MEASURES]
        settings = [setting(shown[key]) for key in differing]
        body.append([*settings, str(shown["n"]), *measured, str(shown["unfinished"])])
    if not any(row.unfinished for row in groups):
        head, body = head[:-1], [line[:-1] for line in body]
    notes = [
        f"{run['status']}: {os.path.relpath(run['directory'])}: {run.get('error', 'no error is recorded')}"
        for row in groups
        for run in row.unfinished
        if run["status"] != "pruned"
    ]
    return Lines([head, *body], notes)


def table(runs: list[dict[str, Any]], markdown: bool = False) -> str:
    """The table as text."""
    made = lines(runs)
    if markdown:
        head, *body = made.table
        text = [f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body]]
        return "\n".join(text + [f"- {note}" for note in made.notes])
    widths = [max(map(len, column)) for column in zip(*made.table, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in made.table]
    return "\n".join(text + made.notes)


def as_csv(runs: list[dict[str, Any]]) -> str:
    """The table as CSV, its numbers in full."""
    differing, groups = rows(runs)
    body = [cells(differing, row) for row in groups]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(body[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(body)
    return out.getvalue().rstrip("\n")


class AtTheEnd(Callback):
    """Prints the table when a multirun is over, however it ends: Hydra's own hook is not called after a failed job.

    Where matplotlib is installed, ``page`` also writes ``report.html`` in the sweep's folder.
    """

    def __init__(self, page: bool = True):
        self.page = page

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the directory."""
        atexit.register(self._report, Path(config.hydra.sweep.dir))

    def _report(self, folder: Path) -> None:
        try:
            runs = collect([folder])
            print(f"\n{folder}:\n{table(runs)}", flush=True)
            if self.page and importlib.util.find_spec("matplotlib"):
                print(f"with pictures: {_write_page(runs, folder / 'report.html')}")
        except (UserError, OSError) as error:  # not one job got as far as a result; a full disk
            print(f"\n{error}", file=sys.stderr)


def _write_page(runs: list[dict[str, Any]], path: Path) -> Path:
    from mnist_lab import charts  # here, because a table needs no matplotlib

    path.write_text(charts.page(runs))
    return path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("directories", nargs="+", type=Path, help="of runs or sweeps")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true")
    form.add_argument("--csv", action="store_true", help="numbers in full")
    form.add_argument("--json", action="store_true", help="numbers in full")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with the table and plots in it")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write the plots as PNG files")
    arguments = parser.parse_args()
    runs = collect(arguments.directories)
    if arguments.html:
        _write_page(runs, arguments.html)
    if arguments.plots:
        from mnist_lab import charts

        charts.save(runs, arguments.plots)
    if arguments.csv:
        print(as_csv(runs))
    elif arguments.json:
        differing, groups = rows(runs)
        print(json.dumps([cells(differing, row) for row in groups], indent=1))
    else:
        print(table(runs, arguments.markdown))


if __name__ == "__main__":
    with reported():
        main()
