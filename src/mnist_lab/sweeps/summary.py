"""Prints the report when a sweep ends, and as the command ``python -m mnist_lab.report``."""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from mnist_lab.errors import UserError
from mnist_lab.runs.directory import find_run
from mnist_lab.runs.result import FILE
from mnist_lab.sweeps import command_again, report, report_page


@contextlib.contextmanager
def summary(config: DictConfig) -> Iterator[None]:
    """End the sweep that ``config`` describes with the table over its jobs, also after an error and after Ctrl-C.

    Where ``sweep.page`` is true, write ``report.html`` in the sweep's folder too. Where not all is done, say how to go
    on.
    """
    folder, complete = Path(config.hydra.sweep.dir), False
    try:
        yield
        complete = True
    finally:
        if any(folder.glob(f"*/{FILE}")):  # else the sweep ended before its first job began, and says why
            try:
                runs = report.collect([folder])
                complete = complete and all(result.status in ("done", "pruned") for result in runs.values())
                print(f"\n{folder}:\n{report.table(runs)}", flush=True)
                if config.sweep.page:
                    page = folder / "report.html"
                    report_page.write(runs, page)
                    print(f"with charts: {page}", flush=True)
            except (UserError, OSError) as error:  # a full disk
                print(f"\n{error}", file=sys.stderr)
            if not complete:
                print(f"go on with what is missing or failed: {command_again(folder)}", flush=True)


def main(words: list[str] | None = None) -> None:
    """Run the command line, or ``words`` in its place. Raises UserError where there are no runs."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.report", description="One table over many runs.")
    parser.add_argument("directories", nargs="+", type=find_run, help="of runs or sweeps")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true")
    form.add_argument("--csv", action="store_true", help="numbers in full")
    form.add_argument("--json", action="store_true", help="numbers in full")
    parser.add_argument("--runs", action="store_true", help="a row for each run, with its state, date, commit, command")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with the table and charts of it")
    arguments = parser.parse_args(words)
    runs = report.collect(arguments.directories)
    if arguments.html:
        report_page.write(runs, arguments.html)
    if not arguments.csv and not arguments.json:
        print(report.table(runs, arguments.markdown, arguments.runs), flush=True)
        return
    records = (report.run_records if arguments.runs else report.records)(runs)
    if arguments.json:
        print(json.dumps(records, indent=1), flush=True)
    else:
        writer = csv.DictWriter(sys.stdout, list(records[0]) if records else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    for result in runs.values():
        if result.status == "damaged":
            print(f"skipped: {result.error}", file=sys.stderr)
