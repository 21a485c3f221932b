"""What a view shows: the frames that training adds to ``<run>/view/frames``, and the run's ``metrics.csv``.

A record is two lengths (uint32, little-endian), a header in JSON, and a body that zlib compressed. The header of a
frame has all that is small: ``step``; ``seconds`` of training until then; ``train``, loss and accuracy of the current
batch before it is trained on, dropout off; ``evaluated``, the last evaluation; the ``weights`` and ``biases`` at
LEVELS; ``labels`` and ``predictions`` of the batch, a character a digit; ``watched``, where in the watched digits the
predictions begin that were made for this frame, and these. The body has the digits of the batch, two pixels a byte.
The digits that are watched are the same in all frames: ``view/digits`` is a record of them, a byte a pixel.

A page reads the same records in ``page/recording.js``.
"""

import contextlib
import json
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mnist_lab.errors import UserError
from mnist_lab.runs.directory import CONFIG
from mnist_lab.runs.metrics import FILE as CURVES
from mnist_lab.runs.metrics import Metrics
from mnist_lab.runs.result import FILE as RESULT
from mnist_lab.runs.result import JOBS, Result
from mnist_lab.runs.run import state

Array = np.ndarray[Any, Any]
FOLDER, FRAMES, DIGITS = "view", "frames", "digits"
# Of all weights, and of all biases: what each value of a frame is larger than, as a fraction of them.
LEVELS = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)
_TOLD = ("data", "seed", "error", "steps", "val_accuracy", "test_accuracy")  # to a page, of a run's result
_LENGTHS = struct.Struct("<II")
_DAMAGED = (ValueError, TypeError, KeyError, struct.error, zlib.error, RecursionError)  # what a damaged file leads to


def frames_path(run_dir: Path) -> Path:
    """The file of a run's frames."""
    return run_dir / FOLDER / FRAMES


def digits_path(run_dir: Path) -> Path:
    """The file of the digits that are watched."""
    return run_dir / FOLDER / DIGITS


def encode(header: dict[str, Any], images: Array) -> bytes:
    """A record of ``header`` and images (n, 28, 28) uint8; of a frame's in sixteen greys, of the others' in all."""
    is_frame = "step" in header
    pixels = images[..., ::2] & 0xF0 | images[..., 1::2] >> 4 if is_frame else images
    body = zlib.compress(pixels.tobytes(), 3 if is_frame else 6)
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return _LENGTHS.pack(len(text), len(body)) + text + body


class Record(NamedTuple):
    """A record in a file: its header, and where it begins, its body begins, and it ends."""

    header: dict[str, Any]
    start: int
    body: int
    end: int


def _read(file: BinaryIO, start: int, size: int) -> Record:
    """The record at ``start`` of a file of ``size`` bytes. Raises one of _DAMAGED where there is none."""
    file.seek(start)
    header, body = _LENGTHS.unpack(file.read(_LENGTHS.size))
    end = start + _LENGTHS.size + header + body
    text = file.read(header) if end <= size else b""
    return Record(json.loads(text, parse_constant=lambda _: None), start, end - body, end)


def scan(file: BinaryIO, start: int = 0) -> list[Record]:
    """The frames from ``start`` on; what was cut short, or is no frame, and all after it, does not count."""
    found: list[Record] = []
    size = os.fstat(file.fileno()).st_size
    with contextlib.suppress(*_DAMAGED):  # or a last record that is being replaced
        while start < size and _is_frame((record := _read(file, start, size)).header):
            found.append(record)
            start = record.end
    return found


def _is_frame(header: Any) -> bool:
    """Whether it has what is shown of a frame; the file may be a stranger's. Raises one of _DAMAGED, too."""
    first, predictions = header["watched"]
    return (
        all(type(number) is int and number >= 0 for number in (header["step"], first))
        and all(map(_are_digits, (header["labels"], header["predictions"], predictions)))
        and all(header[name] is None or len(header[name]) == len(LEVELS) for name in ("weights", "biases"))
        and _are_numbers([header["seconds"], *(header["weights"] or ()), *(header["biases"] or ())])
        and _are_numbers([*{**header["train"], **header.get("evaluated", {})}.values()])
    )


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float | None) for value in values)


def _are_digits(text: Any) -> bool:
    return isinstance(text, str) and not text.strip("0123456789")


def stamp(path: Path) -> tuple[int, ...]:
    """What changes when the file does; () where it is missing."""
    with contextlib.suppress(OSError):
        stat = path.stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns
    return ()


class FrameWriter:
    """Adds frames to a run's file; keeps those up to ``from_step``. Raises OSError where it cannot be written.

    The last frame is always there. The next one takes its place, unless it is worth keeping.
    """

    def __init__(self, run_dir: Path, from_step: int):
        path = frames_path(run_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._file = path.open("r+b", buffering=0)
        kept = [record for record in scan(self._file) if record.header["step"] <= from_step]
        self._end = kept[-1].end if kept else 0
        self.seconds = float(kept[-1].header["seconds"]) if kept else 0.0  # of training until then
        self._file.truncate(self._end)
        # The frame that ended the training before is made anew: the batch that comes next is another.
        self._keep_last = not kept or kept[-1].header["step"] < from_step
        self._last = kept[-1].start if kept else 0

    def add(self, record: bytes, keep: bool) -> None:
        """Put ``record`` after the last one that was to be kept."""
        start = self._end if self._keep_last else self._last
        try:
            self._file.seek(start)
            if self._file.write(record) != len(record):
                raise OSError(28, os.strerror(28))
        except OSError:
            self._file.truncate(start)
            self._end, self._keep_last = start, True
            raise
        if start + len(record) < self._end:
            self._file.truncate(start + len(record))
        self._last, self._end, self._keep_last = start, start + len(record), keep

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Frames:
    """A run's frames as they grow: ``look`` takes in what is new."""

    run_dir: Path
    records: list[Record] = field(default_factory=list)
    _seen: tuple[int, ...] | None = None

    def look(self) -> int | None:
        """Take in what is new: the index from which the records changed, None where nothing did."""
        path = frames_path(self.run_dir)
        if (seen := stamp(path)) == self._seen:
            return None
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                known = [record for record in self.records if record.end <= size][:-1]  # the last may be new
                found = scan(file, known[-1].end if known else 0)
        except OSError:
            seen, known, found = (), [], []
        changed = len(known)
        same = found == self.records[changed:]
        self._seen = seen
        self.records = known + found
        return None if same else changed

    def body(self, record: Record) -> bytes:
        """The compressed digits of a frame. Raises OSError."""
        with frames_path(self.run_dir).open("rb") as file:
            file.seek(record.body)
            return file.read(record.end - record.body)


@dataclass
class Digits:
    """Images (n, 28, 28) uint8, their labels (n,) and the network's predictions (n,), -1 where there is none yet."""

    images: Array
    labels: Array
    predictions: Array

    @property
    def correct(self) -> Array:
        """bool (n,): which predictions are correct."""
        return np.asarray(self.labels == self.predictions)


@dataclass
class Curve:
    """What was measured at n steps: ``steps`` (n,) and ``values`` (n,), or (n, 9) at the LEVELS."""

    steps: Array
    values: Array


@dataclass
class Moment:
    """All that the panels show at ``step``. What was not recorded is None, or missing from ``curves``."""

    name: str
    step: int
    part: str | None = None  # val or test: what is watched, in the second curve and the last panel
    curves: dict[str, Curve] = field(default_factory=dict)  # of metrics.csv and of the frames, up to the step
    training: Digits | None = None
    watched: Digits | None = None
    weights: Curve | None = None
    biases: Curve | None = None


class Recording:
    """What a run has recorded, for pictures. A file that is missing, damaged or cut short counts as not recorded."""

    def __init__(self, run_dir: Path):
        self.run_dir, self.frames = run_dir, Frames(run_dir)
        self.frames.look()
        self.metrics = Metrics(run_dir / CURVES)
        self._digits = read_digits(run_dir)

    @property
    def name(self) -> str:
        """What the run is called."""
        try:
            return Result.read(self.run_dir).name or self.run_dir.name
        except UserError:
            return self.run_dir.name

    @property
    def stops(self) -> list[int]:
        """The steps to show: those of the frames; where there are none, those of the curves."""
        return [record.header["step"] for record in self.frames.records] or [int(step) for step in self.metrics["step"]]

    def moment(self, step: int) -> Moment:
        """All that is known at ``step``; the digits are those of the last frame up to it."""
        frames = [record for record in self.frames.records if record.header["step"] <= step]
        # The test at the end of every run leaves one point; a run that watches the test set has more.
        tested = len(self.metrics.get("test_loss", ())) > 1
        part = "test" if tested else "val" if "val_loss" in self.metrics else None
        moment = Moment(self.name, step, part, self._curves(step, [record.header for record in frames]))
        if not frames:
            return moment
        known = [record.header["step"] for record in frames]
        moment.weights, moment.biases = (
            Curve(np.array(known), np.array([_floats(record.header[name]) for record in frames]))
            for name in ("weights", "biases")
        )
        last = frames[-1].header
        images = decode(self.frames.body(frames[-1]))
        if images is not None:
            moment.training = Digits(images, _digits(last["labels"]), _digits(last["predictions"]))
        if self._digits:
            about, watched = self._digits
            predictions = np.full(len(watched), -1)
            for record in frames:
                start, made = record.header["watched"]
                place = predictions[start : start + len(made)]
                place[:] = _digits(made)[: len(place)]
            moment.part, moment.watched = about.get("part"), Digits(watched, _digits(about["labels"]), predictions)
        return moment

    def _curves(self, step: int, frames: list[dict[str, Any]]) -> dict[str, Curve]:
        points: dict[str, dict[int, float]] = {}
        for frame in frames:
            for name, value in frame["train"].items():
                points.setdefault(f"train_{name}", {})[frame["step"]] = np.nan if value is None else value
        for metric, values in self.metrics.items():
            points.setdefault(metric, {}).update(zip(self.metrics.steps(metric).tolist(), values.tolist(), strict=True))
        curves = {}
        for metric, found in points.items():
            steps = sorted(s for s in found if s <= step)
            curves[metric] = Curve(np.array(steps, int), np.array([found[s] for s in steps], float))
        return curves


def read_digits(run_dir: Path) -> tuple[dict[str, Any], Array] | None:
    """The digits that are watched: what is said of them, and images (n, 28, 28) uint8."""
    try:
        with digits_path(run_dir).open("rb") as file:
            about, _, start, _ = _read(file, 0, os.fstat(file.fileno()).st_size)
            file.seek(start)
            images = np.frombuffer(zlib.decompress(file.read()), np.uint8).reshape(-1, 28, 28)
            return (about, images) if _are_digits(about["labels"]) and len(about["labels"]) == len(images) else None
    except (OSError, *_DAMAGED):
        return None


def decode(body: bytes) -> Array | None:
    """The images (n, 28, 28) uint8 of a frame's body; None where it is damaged."""
    try:
        pixels = np.frombuffer(zlib.decompress(body), np.uint8).reshape(-1, 28, 14)
    except (ValueError, zlib.error):
        return None
    return np.stack([pixels >> 4, pixels & 0x0F], axis=3).reshape(-1, 28, 28) * 17


def _digits(text: str) -> Array:
    return np.array([int(digit) for digit in text], int)


def _floats(values: list[float] | None) -> Array:
    return np.array(values, float) if values else np.full(len(LEVELS), np.nan)


def about_run(run_dir: Path) -> dict[str, Any]:
    """What a page is told of a run."""
    try:
        result = Result.read(run_dir)
    except UserError:
        result = Result("interrupted", name=run_dir.name)
    started, jobs = 0.0, None
    with contextlib.suppress(OSError, ValueError):
        started = min(path.stat().st_mtime for path in (run_dir / CONFIG, run_dir / RESULT) if path.exists())
    with contextlib.suppress(OSError, ValueError):
        jobs = int((run_dir.parent / JOBS).read_text(encoding="utf-8"))
    return {name: value for name in _TOLD if (value := getattr(result, name)) is not None} | {
        "name": result.name or run_dir.name,
        "state": state(run_dir, result),
        "started": started,
        "sweep": run_dir.parent.name if jobs else None,
        "jobs": jobs,
        "max_steps": result.settings.get("trainer.max_steps"),
        "settings": result.settings,
    }


def folder_of(run_dir: Path) -> Path:
    """The folder whose runs are shown with this one: ``outputs``, where it lies in it, else the one it is in."""
    run_dir = run_dir.absolute()
    outputs = [parent for parent in run_dir.parents if parent.name == "outputs"]
    return outputs[0] if outputs else run_dir.parent
