"""The command ``python -m mnist_lab.ensemble RUNS...``: the mean of what several trained networks say, tested once."""

import argparse
import shlex
import sys
import time
import uuid
from datetime import datetime
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mnist_lab.errors import UserError, short_path
from mnist_lab.explore.chosen import add_run
from mnist_lab.explore.familiar import digits_of
from mnist_lab.runs.provenance import provenance
from mnist_lab.runs.result import FILE, Result
from mnist_lab.runs.run import Run, load, probabilities


def ensemble(runs: list[Run], which: str = "last") -> Result:
    """Test the mean of the networks' probabilities, each network with its weights ``which``.

    The result has the form of a run's: parameters, multiply-adds, steps and seconds are the sums of all, the settings
    are what the runs have in common. Raises UserError for an unfinished run, one that is named twice, and runs of
    different data.
    """
    results = [_finished(run) for run in runs]
    folders = [run.directory.resolve() for run in runs]
    if len(set(folders)) < len(runs):
        twice = next(folder for folder in folders if folders.count(folder) > 1)
        raise UserError(f"{short_path(twice)}: is named twice; each run answers once")
    of = {str(result.data): short_path(run.directory) for run, result in zip(runs, results, strict=True)}
    if len(of) > 1:
        said = ", ".join(f"{folder} on {data}" for data, folder in of.items())
        raise UserError(f"the runs were trained on different data: {said}; name runs of one data set")
    began = time.perf_counter()
    digits = digits_of(runs[0])
    images, labels = digits.test_images.numpy(), digits.test_labels.numpy()
    mean = np.zeros((len(labels), 10))
    for run in tqdm(runs, unit="run", disable=None):
        mean += probabilities(run.network(which), images) / len(runs)
    errors = int((mean.argmax(axis=1) != labels).sum())
    first, *others = (result.settings for result in results)
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    result = Result(
        status="done",
        name="ensemble",
        model="ensemble",
        provenance=provenance(),
        settings=shared | {"ensemble": ", ".join(short_path(run.directory) for run in runs)},
        data=digits.name,
        sizes=results[0].sizes,
        precision="32-true",
        tested=which,
        test_accuracy=round(1 - errors / len(labels), 6),
        test_loss=-float(np.log(mean[np.arange(len(labels)), labels] + 1e-12).mean()),
        test_errors=errors,
        test_seconds=round(time.perf_counter() - began, 3),
    )
    for measure in ("parameters", "multiply_adds", "steps", "fit_seconds"):
        setattr(result, measure, sum(getattr(one, measure) or 0 for one in results))
    return result


def _finished(run: Run) -> Result:
    result = run.result
    if result.status != "done":
        said = f"{short_path(run.directory)}: the run is {result.status}, not done"
        raise UserError(f"{said}; finish it with resume={short_path(run.directory)}, or leave it out")
    return result


def main(words: list[str] | None = None) -> None:
    """Run the command line, or ``words`` in its place."""
    about = "Test several trained networks together, by the mean of their probabilities."
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.ensemble", description=about)
    add_run(parser, several=True)
    parser.add_argument("--to", type=Path, metavar="FOLDER", help=f"for {FILE}; else one in outputs/ensemble")
    args = parser.parse_args(words)
    folder = args.to or Path(f"outputs/ensemble/{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}")
    if (folder / FILE).exists():
        raise UserError(f"--to {folder}: holds a {FILE} already; name another folder")
    result = ensemble([load(run, args.trust) for run in args.run], args.checkpoint)
    result.provenance["command"] = shlex.join(["python", "-m", "mnist_lab.ensemble", *(words or sys.argv[1:])])
    folder.mkdir(parents=True, exist_ok=True)
    result.write(folder)
    reached = f"{result.test_accuracy:.2%} of the test images of {result.data}, {result.test_errors:,} errors"
    print(f"{len(args.run)} networks together, {result.cost()}: {reached}; {short_path(folder)}")
