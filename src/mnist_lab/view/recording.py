"""What the panels are drawn from: frames that training writes to ``<run>/view``, and the run's ``metrics.csv``.

A frame is a small file of arrays, of one step: ``images`` (n, 28, 28) uint8, ``labels`` and ``predictions`` (n,) of the
training batch, ``watched`` predictions (m,), quantiles of ``weights`` and ``biases`` (8,). The watched digits are the
same in all frames, so a file of their own has them: ``part`` (val or test), ``images`` (m, 28, 28) uint8, ``labels``
(m,). A view reads the folder, whether training still adds to it or ended long ago.
"""

import os
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mnist_lab.errors import UserError
from mnist_lab.runs import metrics
from mnist_lab.runs.atomic import atomic_write
from mnist_lab.runs.metrics import Metrics
from mnist_lab.runs.result import Result

Array = np.ndarray[Any, Any]
FOLDER = "view"
WATCHED = "watched.npz"
BANDS = 7  # in the panels of weights and biases; each holds a seventh of all values


@dataclass
class Digits:
    """Images (n, 28, 28) uint8, their labels (n,) and the network's predictions (n,)."""

    images: Array
    labels: Array
    predictions: Array

    @property
    def correct(self) -> Array:
        """bool (n,): which predictions are correct."""
        return np.asarray(self.labels == self.predictions)


@dataclass
class Curve:
    """What was measured at n steps: ``steps`` (n,) and ``values`` (n,), or (n, 8) for the boundaries of seven bands."""

    steps: Array
    values: Array


@dataclass
class Moment:
    """All that the panels show at ``step``. What was not recorded is None, or missing from ``curves``."""

    name: str
    step: int
    part: str | None = None  # val or test: what is watched, in the second curve and the last panel
    curves: dict[str, Curve] = field(default_factory=dict)  # of metrics.csv, up to the step
    training: Digits | None = None
    watched: Digits | None = None
    weights: Curve | None = None  # the quantiles 0, 1/7, ..., 1 of all weights
    biases: Curve | None = None


@dataclass
class Training:
    """The training that a view shows: while it is ``running``, drawing takes at most ``cpu_fraction`` of a core."""

    running: bool = False
    cpu_fraction: float = 1.0

    def rest(self, began: float) -> float:
        """Seconds to wait after a drawing that began at ``began`` (``time.process_time()``)."""
        return (time.process_time() - began) * (1 / self.cpu_fraction - 1) if self.running else 0.1


def frame_path(run_dir: Path, step: int) -> Path:
    """Where the frame of ``step`` is."""
    return run_dir / FOLDER / f"{step:08d}.npz"


def write(path: Path, arrays: dict[str, Array]) -> None:
    """Write a frame or the watched digits. Raises OSError, naming the file."""
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def remove_after(run_dir: Path, step: int) -> None:
    """Remove the frames and pictures of later steps than ``step``, which are to be trained again."""
    for path in (run_dir / FOLDER).glob("[0-9]*.*"):
        if path.suffix in (".npz", ".png") and path.stem.isdigit() and int(path.stem) > step and path.is_file():
            path.unlink()


class Recording:
    """Reads what a run has recorded so far, and what it adds from one look to the next.

    A file that is missing, damaged or cut short counts as not recorded.
    """

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.version = 0  # how often there was something new
        self._watched: dict[str, Array] | None = None
        self._quantiles: dict[int, Array] = {}  # of weights and of biases (2, 8), by step
        self._seen: object = None
        self.look()

    @property
    def name(self) -> str:
        """What the run is called."""
        try:
            return Result.read(self.run_dir).name or self.run_dir.name
        except UserError:
            return self.run_dir.name

    def look(self) -> None:
        """Take in what is new."""
        folder, curves = self.run_dir / FOLDER, self.run_dir / metrics.FILE
        names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208
        frames = {name for name in names if name.endswith(".npz")}
        seen = frames, curves.stat().st_size if curves.exists() else 0
        if seen == self._seen:
            return
        self._seen = seen
        self.version += 1
        self.steps = sorted(int(name[:-4]) for name in frames if name[:-4].isdigit())
        self.metrics = Metrics(curves)
        self._quantiles = {step: self._quantiles[step] for step in self.steps if step in self._quantiles}
        if self._watched is None and WATCHED in frames:
            self._watched = _read(folder / WATCHED)

    @property
    def stops(self) -> list[int]:
        """The steps to show: those of the frames; where there are none, those of the curves."""
        return self.steps or [int(step) for step in self.metrics["step"]]

    def moment(self, step: int) -> Moment:
        """All that is known at ``step``; the digits are those of the last frame up to it."""
        curves = {}
        for metric, values in self.metrics.items():
            steps = self.metrics.steps(metric)
            curves[metric] = Curve(steps[steps <= step], values[steps <= step])
        # The test at the end of every run leaves one point; a run that watches the test set has more.
        tested = len(self.metrics.get("test_loss", ())) > 1
        part = "test" if tested else "val" if "val_loss" in self.metrics else None
        result = Moment(self.name, step, part, curves)
        before = [s for s in self.steps if s <= step]
        frame = _read(frame_path(self.run_dir, before[-1])) if before else None
        if frame is None:
            return result
        result.training = Digits(frame["images"], frame["labels"], frame["predictions"])
        if self._watched and "watched" in frame:
            result.part = str(self._watched["part"])
            result.watched = Digits(self._watched["images"], self._watched["labels"], frame["watched"])
        for s in before:
            if s not in self._quantiles and (earlier := _read(frame_path(self.run_dir, s))):
                self._quantiles[s] = np.stack([earlier["weights"], earlier["biases"]])
        known = [s for s in before if s in self._quantiles]
        quantiles = np.array([self._quantiles[s] for s in known]).reshape(-1, 2, BANDS + 1)
        result.weights, result.biases = (Curve(np.array(known), quantiles[:, i]) for i in (0, 1))
        return result


def _read(path: Path) -> dict[str, Array] | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
