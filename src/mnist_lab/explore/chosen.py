"""The run that a command works on."""

import argparse
import sys

from mnist_lab.runs.run import Run, load, read_result


def add_run(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add the arguments that choose a run (or ``several``) and its weights: ``run``, ``trust`` and ``checkpoint``."""
    parser.add_argument("run", metavar="RUN", nargs="+" if several else None, help="directory of a run")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="of your own, that RUN names")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last", help="its weights (%(default)s)")


def open_run(chosen: argparse.Namespace) -> Run:
    """The run that is chosen, with a warning where it is unfinished. Raises UserError where it cannot be used."""
    run = load(chosen.run, chosen.trust)
    run.config  # noqa: B018  # says whom it does not trust, before anything else
    if (status := read_result(run.directory).status) != "done":
        step = run.checkpoint(chosen.checkpoint).step
        print(f"warning: {chosen.run}: the run is {status}; these are its weights at step {step:,}", file=sys.stderr)
    return run
