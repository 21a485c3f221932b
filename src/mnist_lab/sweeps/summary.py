"""Prints the report when a sweep ends, and as the command ``python -m mnist_lab.report``."""

import argparse
import csv
import importlib.util
import json
import sys
from pathlib import Path

from omegaconf import DictConfig

from mnist_lab.errors import UserError
from mnist_lab.runs.result import FILE
from mnist_lab.sweeps import plots, report


def print_summary(config: DictConfig) -> None:
    """Print the table over the jobs of the sweep that ``config`` describes, and list those that failed.

    Where ``sweep.page`` is true and matplotlib is installed, write ``report.html`` in the sweep's folder too.
    """
    folder = Path(config.hydra.sweep.dir)
    if not any(folder.rglob(FILE)):  # the sweep ended before its first job began, and says why
        return
    try:
        runs = report.collect([folder])
        print(f"\n{folder}:\n{report.table(runs)}", flush=True)
        if config.sweep.page and importlib.util.find_spec("matplotlib"):
            page = folder / "report.html"
            page.write_text(plots.page(runs), encoding="utf-8")
            print(f"with pictures: {page}", flush=True)
    except (UserError, OSError) as error:  # a damaged result, a full disk
        print(f"\n{error}", file=sys.stderr)


def main(words: list[str] | None = None) -> None:
    """Run the command line, or ``words`` in its place. Raises UserError where there are no runs."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.report", description="One table over many runs.")
    parser.add_argument("directories", nargs="+", type=Path, help="of runs or sweeps")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true")
    form.add_argument("--csv", action="store_true", help="numbers in full")
    form.add_argument("--json", action="store_true", help="numbers in full")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with the table and plots in it")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write the plots as PNG files")
    arguments = parser.parse_args(words)
    runs = report.collect(arguments.directories)
    if arguments.html:
        arguments.html.write_text(plots.page(runs), encoding="utf-8")
    if arguments.plots:
        plots.save(runs, arguments.plots)
    if arguments.csv:
        records = report.records(runs)
        writer = csv.DictWriter(sys.stdout, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    elif arguments.json:
        print(json.dumps(report.records(runs), indent=1), flush=True)
    else:
        print(report.table(runs, arguments.markdown), flush=True)
