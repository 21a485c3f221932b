"""The command ``python -m mnist_lab.predict RUN FILES...``: what a trained network takes pictures for."""

import argparse
import csv
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mnist_lab.data.sources import DIGITS
from mnist_lab.errors import UserError
from mnist_lab.explore import normalize, pictures
from mnist_lab.explore.chosen import add_run, open_run
from mnist_lab.explore.familiar import Familiar, familiar
from mnist_lab.runs.run import Run, probabilities

_BATCH = 256
_STRANGE = "unlike what the network was trained on"


@dataclass
class Answer:
    """What a network takes a picture for. Without a digit, ``note`` says why; with one, why to doubt it."""

    file: str
    digit: int | None = None  # the number of the class
    label: str | None = None  # its name
    probability: float | None = None
    runner_up: int | None = None
    runner_up_label: str | None = None
    runner_up_probability: float | None = None
    note: str | None = None


def recognise(
    run: Run,
    files: Iterable[str],
    which: str = "last",
    known: Familiar | None = None,
    failed: Callable[[str], None] | None = None,
) -> Iterator[Answer]:
    """Answers to the pictures in ``files``, in order, by the weights ``which``; ``known`` marks those to doubt.

    A file that cannot be read is told to ``failed``, in a line, and left out; without it, UserError is raised.
    """
    network, classes = run.network(which), run.classes
    for batch in _batches(_normalized(files, classes == DIGITS, failed), _BATCH):
        images = np.stack([found.image for _, found in batch])
        each = probabilities(network, images)
        strange = known.strange(images, each.argmax(axis=1)) if known else [False] * len(images)
        for (file, found), chances, unlike in zip(batch, each, strange, strict=True):
            if found.problem:
                yield Answer(file, note=found.problem)
                continue
            second, first = np.argsort(chances, kind="stable")[-2:].tolist()
            best = first, classes[first], round(float(chances[first]), 6)
            next_best = second, classes[second], round(float(chances[second]), 6)
            yield Answer(file, *best, *next_best, note=_STRANGE if unlike else None)


def _batches(pairs: Iterable[Any], size: int) -> Iterator[Any]:
    """Lists of up to ``size``."""
    pairs = iter(pairs)
    while batch := [pair for _, pair in zip(range(size), pairs, strict=False)]:
        yield batch


def _normalized(
    files: Iterable[str], digits: bool, failed: Callable[[str], None] | None
) -> Iterator[tuple[str, normalize.Normalized]]:
    for file in files:
        try:
            for name, picture in pictures.read(file):
                yield name, normalize.from_picture(picture, digits)
        except Exception as error:  # whatever a damaged file makes of Pillow and NumPy
            said = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
            line = said if isinstance(error, UserError) else f"{file}: cannot be read as a picture ({said})"
            if failed is None:
                raise UserError(line) from error
            failed(line)


def main(words: list[str] | None = None) -> int:
    """Run the command line, or ``words`` in its place: the exit code, 1 where a file could not be read."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.predict", description="Recognise pictures.")
    add_run(parser)
    parser.add_argument(
        "files", nargs="+", metavar="FILES", help="pictures, .npy, IDX, folders, patterns; - is standard input"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="an object a line")
    form.add_argument("--csv", action="store_true")
    args = parser.parse_args(words)
    if Path(args.run).is_file():
        raise UserError(f"{args.run}: is a file; the directory of a run comes first, then the pictures")
    run, files, failures = open_run(args), pictures.find(args.files), 0
    known = None
    try:
        known = familiar(run)
    except UserError as error:
        _say(f"warning: nothing is marked as {_STRANGE}: {error}")

    def failed(line: str) -> None:
        nonlocal failures
        failures += 1
        _say(f"error: {line}")

    hidden = not sys.stderr.isatty() or sys.stdout.isatty()  # where answers show, they are the progress
    answers = recognise(run, files, args.checkpoint, known, failed)
    write = _write_json if args.json else _write_csv if args.csv else _write_table
    try:
        write(tqdm(answers, total=len(files), unit="picture", disable=hidden), max(map(len, run.classes)))
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if failures:
        _say(f"error: {failures} of {len(files)} files could not be read")
    return 1 if failures else 0


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def _write_json(answers: Iterable[Answer], _: int) -> None:
    for answer in answers:
        print(json.dumps(dataclasses.asdict(answer), ensure_ascii="utf" not in sys.stdout.encoding.lower()))


def _write_csv(answers: Iterable[Answer], _: int) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(field.name for field in dataclasses.fields(Answer))
    writer.writerows(map(dataclasses.astuple, answers))


def _write_table(answers: Iterable[Answer], width: int) -> None:
    width = max(width, len("answer"))
    print(f"{'answer':<{width}}  probability  {'or':<{width}}  probability  file")
    for a in answers:
        first = f"{a.label or '-':<{width}}  {_percent(a.probability)}"
        second = f"{a.runner_up_label or '-':<{width}}  {_percent(a.runner_up_probability)}"
        print(f"{first}  {second}  {a.file}{f': {a.note}' if a.note else ''}")


def _percent(probability: float | None) -> str:
    return f"{'-':>11}" if probability is None else f"{probability:>11.2%}"
