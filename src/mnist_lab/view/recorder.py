"""Records frames of a run for the view, and starts the process that shows them."""

import atexit
import contextlib
import logging
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_lab.classifier import Batch
from mnist_lab.data import Batches, DigitsDataModule
from mnist_lab.data.sources import classes_of
from mnist_lab.errors import UserError, short_path
from mnist_lab.mosaic import Array, as_bytes
from mnist_lab.runs.atomic import atomic_write
from mnist_lab.view import backends, recording
from mnist_lab.view.recording import LEVELS, FrameWriter

log = logging.getLogger(__name__)
_TRAINING, _WATCHED = 100, 1000  # digits shown of each
_RENEWED_IN = 8.0  # seconds until the predictions of all watched digits were made anew
_SLICE = 40  # the fewest of these that are worth a frame
_AT_ONCE = 0.1  # seconds that the first frames may take
_GROWTH = 1.25  # of the step, from one early frame to the next
_SAMPLE = 20_000  # weights whose distribution stands for that of all
_LARGEST = 20_000  # bytes of a frame
_KEPT = 500  # frames that stay of the first seconds; later they stay ever more rarely
_HANDS_ON_SOCKETS = hasattr(os, "fork")  # to the processes it starts; Windows has neither
_WINDOWS_FLAGS = sum(getattr(subprocess, n, 0) for n in ("CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS"))


class ViewRecorder(pl.Callback):
    """Records frames, which ``backend`` shows: a page on the web, in a window of its own, or files.

    Frames come early and often: at the steps 0, 1, 2, 3, 4, 5, 7, 9, 12, ..., and every ``every_n_seconds``. All
    together take at most the fraction ``max_overhead`` of the time of training, or ten seconds' worth of that in a
    shorter run. A thread writes them; one that comes while the last two still wait to be written is dropped. A process
    of its own shows them; if it fails, training goes on.

    ``port`` is the first that the page tries; ``browser`` opens the page there; ``stay`` is for how many seconds the
    page waits for somebody to look, once no run trains. ``pictures`` is how many files are drawn, at most, when
    training has ended; ``movie`` joins them.

    Raises ValueError for numbers out of range; UserError where the backend cannot show anything here.
    """

    def __init__(
        self,
        backend: str,
        every_n_seconds: float = 0.4,
        max_overhead: float = 0.03,
        port: int = 8988,
        browser: bool = True,
        stay: float = 30.0,
        pictures: int = 100,
        movie: bool = False,
    ):
        if every_n_seconds < 0:
            raise ValueError(f"every_n_seconds={every_n_seconds}: must not be negative")
        if not 0 < max_overhead <= 1:
            raise ValueError(f"max_overhead={max_overhead}: must be above 0 and at most 1")
        if not 1 <= port <= 65535:
            raise ValueError(f"port={port}: must be from 1 to 65535")
        if pictures < 2:
            raise ValueError(f"pictures={pictures}: must be at least 2, the first and the last")
        backends.check(backend)
        self.backend, self.every_n_seconds, self.max_overhead = backend, every_n_seconds, max_overhead
        self.port, self.browser, self.stay, self.pictures, self.movie = port, browser, stay, pictures, movie
        self._file: FrameWriter | None = None  # in the process of rank zero
        self._viewer: subprocess.Popen[bytes] | None = None
        self._viewer_ended = False  # as far as we know
        self._frames: queue.Queue[tuple[dict[str, Any], Tensor] | None] = queue.Queue(maxsize=2)
        self._writer: threading.Thread | None = None

    def prepare(self, run_dir: Path, from_step: int, in_sweep: bool) -> None:
        """Start the process that shows the run, so that the page is there while the run loads its data.

        A run that goes on ``from_step`` keeps what it recorded up to there; a new one (-1) keeps nothing. A page that
        shows the runs of the same folder already, as of another job of the sweep, shows this one too.
        """
        self._run_dir, self._errors = run_dir, run_dir / recording.FOLDER / "view.log"
        with self._harmless():
            self._file = FrameWriter(run_dir, from_step)
            if self.backend != "file":
                self._start_viewer(run_dir)

    def _start_viewer(self, run_dir: Path) -> None:
        folder = recording.folder_of(run_dir)
        listening, self._at = backends.listen(self.port, folder)
        log.info(f"view: {backends.directions(self._at)}")
        if listening is not None:
            command = [sys.executable, "-m", "mnist_lab.view", str(run_dir), "--serve", str(self.stay)]
            command += ["--socket", str(listening.fileno())] if _HANDS_ON_SOCKETS else ["--port", str(self._at)]
            with self._errors.open("w", encoding="utf-8") as errors, listening:
                self._viewer = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    pass_fds=[listening.fileno()] if _HANDS_ON_SOCKETS else [],
                    # A Ctrl-C is for training. Not a session: Linux weighs processes by niceness only within one.
                    process_group=0,
                    creationflags=_WINDOWS_FLAGS,  # the same there, with a niceness
                )

    def wait_until_ready(self) -> None:
        """Wait until the page is there, and open it where nobody has."""
        if self.backend == "file" or self._file is None:
            return
        if self._viewer and self._viewer.stdout:
            with self._viewer.stdout as answer:
                answer.readline()
            self._check_viewer()
        looked_at = self._viewer is None and (backends.about(self._at) or {}).get("viewers")
        if self.browser and backends.has_display() and not looked_at and not self._viewer_ended:
            backends.open_page(backends.address(self._at), self.backend == "window")

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the digits that are watched, and start the thread that writes frames."""
        if self._file is not None:
            with self._harmless():
                self._begin(trainer, pl_module, self._file)

    def _begin(self, trainer: pl.Trainer, pl_module: Any, file: FrameWriter) -> None:
        data: DigitsDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self._data, self._module = data, pl_module
        self._watched: tuple[Tensor, Tensor] | None = None
        if data.watched:
            part = data.watched[-1]
            images, labels = (t[:_WATCHED] for t in getattr(data, part))
            about = {"part": part, "labels": _text(labels), "classes": classes_of(data.digits.name)}
            with atomic_write(recording.digits_path(self._run_dir)) as partial:
                partial.write_bytes(recording.encode(about, as_bytes(images.numpy())))
            batches = Batches(images.to(pl_module.device), labels, _WATCHED, mean=data.mean, std=data.std)
            self._watched = next(iter(batches))
        else:
            recording.digits_path(self._run_dir).unlink(missing_ok=True)  # of a run that was here before
        named = list(pl_module.network.named_parameters())
        self._weights = Distribution([p for name, p in named if not name.endswith("bias")])
        self._biases = Distribution([p for name, p in named if name.endswith("bias")])
        self._evaluated_at = -1  # as the last frame says
        self._next_step, self._next_time = trainer.global_step, math.inf
        self._began, self._before = time.monotonic(), file.seconds
        self._spent = self._cost = self._per_digit = 0.0  # seconds: of all frames, of the last, of a prediction
        self._start, self._last = 0, self._began  # where the next slice begins; when the last frame was
        self._kept_at = -math.inf
        self._writer = threading.Thread(target=self._write, args=(file,), daemon=True)
        self._writer.start()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, *_: Any) -> None:
        """Record the batch before it is trained on, dropout off, where a frame is due."""
        self._batch = batch
        if self._writer is None or (trainer.global_step < self._next_step and time.monotonic() < self._next_time):
            return
        seconds = time.monotonic() - self._began
        # All of it in ten seconds, at 0.03, or later; before that a little at once, and the rest bit by bit.
        allowed = self.max_overhead * max(seconds, seconds * 2 / 3 + _AT_ONCE / 0.03)
        if self._spent + self._cost <= allowed:
            with self._harmless():
                self._record(trainer)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._writer is not None:
            with self._harmless():
                self._record(trainer, last=True)  # whatever max_overhead says
        self._end()

    def on_exception(self, *_: Any) -> None:
        self._end()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Let training go on, without a view, whatever fails here but a choice that the user can mend."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # the network may be anyone's
            reason = str(error) if isinstance(error, OSError) else repr(error)
            log.warning(f"view: nothing can be recorded ({reason}); training goes on without a view")
            self._end()
            self._file = None

    def _record(self, trainer: pl.Trainer, last: bool = False) -> None:
        began = time.monotonic()
        cpu = time.thread_time()  # which does not count what others' processes take
        step, (images, labels) = trainer.global_step, (part[:_TRAINING] for part in self._batch)
        logits = self._logits(images)
        per_digit = (time.thread_time() - cpu) / max(len(labels), 1)
        frame = {
            "step": step,
            "seconds": round(self._before + began - self._began, 3),
            "train": {
                "loss": _number(F.cross_entropy(logits, labels).item()),
                "accuracy": _number((logits.argmax(dim=1) == labels).float().mean().item()),
            },
            "weights": self._weights.levels(),
            "biases": self._biases.levels(),
            "labels": _text(labels),
            "predictions": _text(logits.argmax(dim=1)),
            "watched": self._slice(self._per_digit or per_digit, began, last),
        }
        if self._module.evaluated_at not in (self._evaluated_at, -1):
            self._evaluated_at = self._module.evaluated_at
            frame["evaluated"] = {"step": self._evaluated_at} | {k: _number(v) for k, v in self._module.last.items()}
        pixels = (images.squeeze(1) * self._data.std + self._data.mean).float().cpu()
        try:
            self._frames.put((frame, pixels), block=last, timeout=5)
        except queue.Full:
            log.debug(f"view: no frame of step {step}, the ones before are still being written")
        self._check_viewer()
        now = self._last = time.monotonic()
        self._cost = time.thread_time() - cpu
        self._spent += self._cost
        self._next_time = now + self.every_n_seconds
        self._next_step = max(step + 1, math.ceil(step * _GROWTH))

    def _slice(self, per_digit: float, now: float, last: bool) -> list[Any]:
        """Where a slice of the watched digits begins, and the predictions of these."""
        if self._watched is None:
            return [0, ""]
        images = self._watched[0]
        first = self._cost == 0  # which is worth more
        seconds = _AT_ONCE if first else self.max_overhead * max(self.every_n_seconds, 0.1)
        affordable = seconds / 2 / max(per_digit, 1e-9)
        late = len(images) * max(self.every_n_seconds, now - self._last) / _RENEWED_IN
        count = len(images) if last else min(max(int(affordable), math.ceil(late), _SLICE), len(images))
        start = self._start = 0 if self._start >= len(images) or last else self._start
        cpu = time.thread_time()
        chosen = images[start : start + count].to(self._batch[0].dtype)
        predictions = _text(self._logits(chosen).argmax(dim=1))
        self._per_digit, self._start = (time.thread_time() - cpu) / len(chosen), start + len(chosen)
        return [start, predictions]

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        training = self._module.training
        self._module.eval()
        try:
            logits: Tensor = self._module(images).float()
        finally:
            self._module.train(training)
        return logits

    def _write(self, file: FrameWriter) -> None:
        """Write frames, in the thread, until None comes."""
        failing = False
        while (item := self._frames.get()) is not None:
            began, (frame, pixels) = time.thread_time(), item
            seconds = frame["seconds"]
            keep = seconds - self._kept_at >= seconds / _KEPT
            try:
                file.add(_fitting(frame, as_bytes(pixels.numpy())), keep)
                failing = False
            except OSError as error:  # said once: there will be room again, or there will not
                said = f"view: the frame of step {frame['step']} could not be written ({error}); training goes on"
                log.log(logging.DEBUG if failing else logging.WARNING, said)
                failing, keep = True, False
            self._kept_at = seconds if keep else self._kept_at
            self._spent += time.thread_time() - began

    def _end(self) -> None:
        if self._writer is None or self._file is None:
            return
        self._frames.put(None)
        self._writer.join()
        self._writer = None
        self._file.close()
        if self.backend == "file":
            self._draw()

    def _draw(self) -> None:
        command = [sys.executable, "-m", "mnist_lab.view", str(self._run_dir), "--backend", "file"]
        command += ["--pictures", str(self.pictures), *(["--movie"] if self.movie else [])]
        with self._errors.open("w", encoding="utf-8") as errors:
            self._viewer = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, process_group=0,
                creationflags=_WINDOWS_FLAGS,
            )  # fmt: skip
        atexit.register(self._wait)

    def _check_viewer(self) -> None:
        """Log, once, that the view has ended; training goes on without it."""
        if self._viewer is None or self._viewer_ended or self._viewer.poll() is None:
            return
        self._viewer_ended = True
        if self._viewer.returncode:
            reason = ""
            with contextlib.suppress(OSError):
                *_, reason = self._errors.read_text(errors="replace", encoding="utf-8").strip().split("\n")
            log.warning(f"view: ended with an error, training is not affected: {reason or 'it gave no reason'}")

    def _wait(self) -> None:
        assert self._viewer
        if self._viewer.poll() is None:
            log.info(f"view: drawing pictures in {self._errors.parent}")
        try:
            self._viewer.wait()
        except (KeyboardInterrupt, SystemExit) as stop:
            self._viewer.terminate()
            again = f"python -m mnist_lab.view {short_path(self._run_dir)} --backend file"
            log.warning(f"view: interrupted; all its pictures: {again}")
            os._exit(143 if isinstance(stop, SystemExit) else 130)  # the run is done; at its exit Python hears no other
        self._check_viewer()


class Distribution:
    """The distribution of the values of ``parameters``: of a sample, drawn once, where they are many."""

    def __init__(self, parameters: list[nn.Parameter]):
        total, generator = sum(p.numel() for p in parameters), torch.Generator().manual_seed(0)
        self._all = parameters
        self._chosen = [
            torch.randint(p.numel(), (math.ceil(_SAMPLE * p.numel() / total),), generator=generator).to(p.device)
            if total > 2 * _SAMPLE
            else slice(None)
            for p in parameters
        ]

    def levels(self) -> list[float] | None:
        """The values at LEVELS, the least and the greatest exactly; None where there are none, or one is NaN or Inf."""
        if not self._all:
            return None
        parts = [p.detach().flatten()[at] for p, at in zip(self._all, self._chosen, strict=True)]
        # Sorting first makes quantile three times as fast; NumPy sorts ten times as fast as torch.
        values = np.quantile(np.sort(torch.cat(parts).float().cpu().numpy()), LEVELS)
        ends = torch.stack([torch.stack(p.detach().aminmax()).float() for p in self._all]).cpu()
        values[0], values[-1] = ends[:, 0].min(), ends[:, 1].max()
        return [float(f"{value:.5g}") for value in values] if np.isfinite(values).all() else None


def _fitting(frame: dict[str, Any], images: Array) -> bytes:
    """The frame as a record of at most 20 kB: with fewer digits of the batch where these are hard to compress."""
    while len(record := recording.encode(frame, images)) > _LARGEST:
        images = images[: len(images) * _LARGEST * 9 // (len(record) * 10)]
        frame |= {name: frame[name][: len(images)] for name in ("labels", "predictions")}
    return record


def _text(digits: Tensor) -> str:
    """Digits (n,), a character each."""
    return (digits.to(torch.uint8).cpu().numpy() + ord("0")).tobytes().decode()


def _number(value: float) -> float | None:
    """What JSON can hold."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
