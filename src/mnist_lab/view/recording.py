"""What the panels are drawn from: frames that training leaves in ``<run>/view``, and the run's ``metrics.csv``.

A frame is a small file of arrays, of one step. A view reads them from the folder, whether training still adds to them
or ended long ago.
"""

import csv
import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mnist_lab.files import whole

Array = np.ndarray[Any, Any]
FOLDER = "view"
WATCHED = "watched.npz"
SHARES = 7  # bands of equal share in the spread of weights and biases


@dataclass
class Digits:
    """Images (n, 28, 28) uint8, their labels (n,) and what the network took them for (n,)."""

    images: Array
    labels: Array
    predictions: Array

    @property
    def right(self) -> Array:
        """bool (n,): which are recognised."""
        result: Array = self.labels == self.predictions
        return result


@dataclass
class Curve:
    """A metric over the steps at which it was measured, both (n,)."""

    steps: Array
    values: Array


@dataclass
class Bands:
    """Percentile boundaries (n, 8) at n steps (n,): seven shares of all values, from the least to the greatest."""

    steps: Array
    boundaries: Array


@dataclass
class Moment:
    """All that the panels show at ``step``. What was not recorded is None, or missing from ``curves``."""

    name: str
    step: int
    part: str | None = None  # val or test: what is watched, in the second curve and the last panel
    curves: dict[str, Curve] = field(default_factory=dict)  # of metrics.csv, up to the step
    training: Digits | None = None
    watched: Digits | None = None
    weights: Bands | None = None
    biases: Bands | None = None


def write_watched(run_dir: Path, part: str, images: Array, labels: Array) -> None:
    """Keep the watched digits, which stay the same in all frames: images (n, 28, 28) uint8, labels (n,)."""
    with whole(run_dir / FOLDER / WATCHED) as partial, partial.open("wb") as file:
        np.savez_compressed(file, part=np.array(part), images=images, labels=labels.astype(np.uint8))


def write_frame(run_dir: Path, step: int, frame: dict[str, Array]) -> None:
    """Keep a frame: ``images`` (n, 28, 28) uint8, ``labels`` and ``predictions`` (n,) of the training batch,
    ``watched`` predictions (m,), ``weights`` and ``biases`` boundaries (8,).
    """
    with whole(run_dir / FOLDER / f"{step:08d}.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(file, **frame)  # type: ignore[arg-type]


def forget(run_dir: Path, after: int) -> None:
    """Remove the frames and pictures of steps after ``after``, which are to be trained again."""
    for path in (run_dir / FOLDER).glob("[0-9]*.*"):
        if path.suffix in (".npz", ".png") and path.stem.isdigit() and int(path.stem) > after and path.is_file():
            path.unlink()


class Recording:
    """Reads what a run has left so far, and what it adds from one look to the next.

    A file that is missing, damaged or cut short counts as not recorded.
    """

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.steps: list[int] = []  # of the frames, in order
        self.curves: dict[str, Curve] = {}
        self.version = 0  # how often there was something new
        self._watched: dict[str, Array] | None = None
        self._boundaries: dict[int, tuple[Array, Array]] = {}
        self._seen: dict[str, int] = {}

    @property
    def name(self) -> str:
        """What the run is called."""
        try:
            return str(json.loads((self.run_dir / "result.json").read_text())["name"])
        except (OSError, ValueError, KeyError, TypeError):
            return self.run_dir.name

    def look(self) -> None:
        """Take in what is new."""
        folder, metrics = self.run_dir / FOLDER, self.run_dir / "metrics.csv"
        names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208
        seen = {name: 0 for name in names if name.endswith(".npz")}
        if metrics.exists():
            seen["metrics.csv"] = metrics.stat().st_size
        if seen == self._seen:
            return
        self._seen = seen
        self.version += 1
        self.steps = sorted(int(name[:-4]) for name in seen if name[:-4].isdigit())
        self.curves = read_curves(metrics)
        self._boundaries = {step: self._boundaries[step] for step in self.steps if step in self._boundaries}
        if self._watched is None and WATCHED in seen:
            self._watched = _read(folder / WATCHED)

    @property
    def stops(self) -> list[int]:
        """The steps worth a look: those of the frames; where there are none, those of the curves."""
        return self.steps or sorted({int(step) for curve in self.curves.values() for step in curve.steps})

    def moment(self, step: int) -> Moment:
        """All that is known of ``step``; the digits are those of the last frame up to it."""
        before = [s for s in self.steps if s <= step]
        curves = {}
        for metric, curve in self.curves.items():
            n = int(np.searchsorted(curve.steps, step, side="right"))
            curves[metric] = Curve(curve.steps[:n], curve.values[:n])
        # Every run's test at the end leaves one point; a curve of it has more.
        tested = "test_loss" in self.curves and len(self.curves["test_loss"].steps) > 1
        part = "test" if tested else "val" if "val_loss" in self.curves else None
        result = Moment(self.name, step, part, curves)
        frame = _read(self.run_dir / FOLDER / f"{before[-1]:08d}.npz") if before else None
        if frame is None:
            return result
        result.training = Digits(frame["images"], frame["labels"], frame["predictions"])
        if self._watched and "watched" in frame:
            result.part = str(self._watched["part"])
            result.watched = Digits(self._watched["images"], self._watched["labels"], frame["watched"])
        known = [s for s in before if self._spread(s)]
        for name, i in (("weights", 0), ("biases", 1)):
            rows = np.array([self._boundaries[s][i] for s in known])
            setattr(result, name, Bands(np.array(known), rows))
        return result

    def _spread(self, step: int) -> bool:
        if step not in self._boundaries:
            frame = _read(self.run_dir / FOLDER / f"{step:08d}.npz")
            if frame is None:
                return False
            self._boundaries[step] = frame["weights"], frame["biases"]
        return True


def read_curves(path: Path) -> dict[str, Curve]:
    """The columns of a ``metrics.csv`` as curves; empty where there is none. A last row cut short is left out."""
    points: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for metric, value in row.items():
                    if metric and metric != "step" and value:
                        points.setdefault(metric, []).append((int(row["step"]), float(value)))
    except (OSError, ValueError, TypeError, csv.Error):
        pass
    return {metric: Curve(*map(np.array, zip(*pairs, strict=True))) for metric, pairs in points.items()}


def _read(path: Path) -> dict[str, Array] | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile):
        return None
