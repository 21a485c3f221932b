"""Records frames of a run for the live view, and starts the process that shows them."""

import atexit
import contextlib
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mnist_lab.callbacks import CsvLogger
from mnist_lab.classifier import Batch
from mnist_lab.data import Batches, DigitsDataModule
from mnist_lab.errors import short_path
from mnist_lab.mosaic import Array, as_bytes
from mnist_lab.runs.processes import usable_cores
from mnist_lab.view import backends, recording
from mnist_lab.view.recording import BANDS

log = logging.getLogger(__name__)
_TRAINING, _WATCHED = 100, 1000  # digits shown of each
_HANDS_ON_SOCKETS = hasattr(os, "fork")  # to the processes it starts; Windows has neither
_WINDOWS_FLAGS = sum(getattr(subprocess, n, 0) for n in ("CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS"))


class ViewRecorder(pl.Callback):
    """Records a frame every ``every_n_steps`` steps, which ``backend`` shows: a window, a page on the web, or files.

    Recording takes at most the fraction ``max_overhead`` of the time: a frame that would take more is left out. A
    thread writes the frames; one that comes while the last two still wait to be written is dropped. A process of its
    own shows them; if it fails, training goes on.

    ``movie`` joins the files at the end. ``port`` is the first that the page tries, ``browser`` opens the page there.

    Raises ValueError for numbers out of range; UserError where the backend cannot show anything here.
    """

    def __init__(
        self,
        backend: str,
        every_n_steps: int = 100,
        max_overhead: float = 0.02,
        movie: bool = False,
        port: int = 8988,
        browser: bool = True,
    ):
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: must be at least 1")
        if not 0 < max_overhead <= 1:
            raise ValueError(f"max_overhead={max_overhead}: must be above 0 and at most 1")
        if not 1 <= port <= 65535:
            raise ValueError(f"port={port}: must be from 1 to 65535")
        backends.check(backend)
        self.backend, self.every_n_steps, self.max_overhead = backend, every_n_steps, max_overhead
        self.movie, self.port, self.browser = movie, port, browser
        self._frames: queue.Queue[tuple[int, dict[str, Array]] | None] = queue.Queue(maxsize=2)
        self._writer: threading.Thread | None = None
        self._viewer: subprocess.Popen[bytes] | None = None  # None in processes other than that of rank zero
        self._viewer_ended = False  # as far as we know
        self._rest_until = 0.0  # when the next frame may be recorded
        self._write_seconds = 0.0  # that the thread took for the last frame

    def prepare(self, run_dir: Path, from_step: int, in_sweep: bool) -> None:
        """Start the process that shows the run, so that it loads its libraries while the run loads its data.

        A run that goes on ``from_step`` keeps what it recorded up to there; a new one (-1) keeps nothing. In a sweep
        windows and pages close with their job.
        """
        recording.remove_after(run_dir, from_step)
        # Where training leaves a core free, drawing may use a part of that; elsewhere it takes little from training,
        # and least for files, which nobody waits for.
        core_is_free = usable_cores() > torch.get_num_threads()
        cpu_fraction = 0.3 if core_is_free else 0.01 if self.backend == "file" else 0.02
        command = [sys.executable, "-m", "mnist_lab.view", str(run_dir), "--backend", self.backend]
        command += ["--live", str(cpu_fraction)]
        flags = {"--no-browser": not self.browser, "--close": in_sweep, "--movie": self.movie}
        command += [flag for flag, wanted in flags.items() if wanted]
        self._run_dir, self._errors = run_dir, run_dir / recording.FOLDER / "view.log"
        self._errors.parent.mkdir(parents=True, exist_ok=True)
        page = backends.listen(self.port) if self.backend == "web" else None
        if page:
            at_port = ["--port", str(page.getsockname()[1])]  # once it is closed here, below
            command += ["--socket", str(page.fileno())] if _HANDS_ON_SOCKETS else at_port
            log.info(f"view: {backends.address(page)}")
        with self._errors.open("w", encoding="utf-8") as errors, page or contextlib.nullcontext():
            self._viewer = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # ends when this process does, however that comes about
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=[page.fileno()] if page and _HANDS_ON_SOCKETS else [],
                # A Ctrl-C is for training. Not a session: Linux weighs processes by niceness only within one.
                process_group=0,
                creationflags=_WINDOWS_FLAGS,  # the same there, with a niceness
            )

    def wait_until_ready(self) -> None:
        """Wait until the view can show something."""
        if self._viewer and self._viewer.stdout:
            with self._viewer.stdout as answer:
                answer.readline()
            self._check_viewer()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the digits that are watched, and start the thread that writes frames."""
        if self._viewer is None:
            return
        data: DigitsDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self._data, self._network, self._first_step = data, pl_module, trainer.global_step
        self._watched: Tensor | None = None
        if data.watched:
            part = data.watched[-1]
            images, labels = (t[:_WATCHED] for t in getattr(data, part))
            watched = {"part": np.array(part), "images": as_bytes(images.numpy()), "labels": _small(labels)}
            recording.write(self._errors.with_name(recording.WATCHED), watched)
            batches = Batches(images.to(pl_module.device), labels, _WATCHED, mean=data.mean, std=data.std)
            self._watched = next(iter(batches))[0]
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, *_: Any) -> None:
        """Record the batch before it is trained on, dropout off, on a step that is due."""
        self._batch = batch
        if trainer.global_step % self.every_n_steps == 0 and time.monotonic() >= self._rest_until:
            self._record(trainer)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._record(trainer, last=True)  # whatever max_overhead says
        self._end()

    def on_exception(self, *_: Any) -> None:
        self._end()

    def _record(self, trainer: pl.Trainer, last: bool = False) -> None:
        if self._writer is None:
            return
        began = time.monotonic()
        for logger in trainer.loggers:
            if isinstance(logger, CsvLogger):
                logger.save()  # the curves up to here
        images, labels = (t[:_TRAINING] for t in self._batch)
        parameters = list(self._network.named_parameters())
        frame = {
            "images": as_bytes((images.squeeze(1) * self._data.std + self._data.mean).float().cpu().numpy()),
            "labels": _small(labels),
            "predictions": self._predictions(images),
            "weights": quantiles([p for name, p in parameters if not name.endswith("bias")]),
            "biases": quantiles([p for name, p in parameters if name.endswith("bias")]),
        }
        if self._watched is not None:
            frame["watched"] = self._predictions(self._watched)
        try:
            self._frames.put((trainer.global_step, frame), block=last, timeout=5)
        except queue.Full:
            log.debug(f"view: no frame of step {trainer.global_step}, the ones before are still being written")
        self._check_viewer()
        now = time.monotonic()
        if trainer.global_step > self._first_step:  # the first frame takes longer than the others will
            self._rest_until = now + (now - began + self._write_seconds) * (1 / self.max_overhead - 1)

    @torch.no_grad()
    def _predictions(self, images: Tensor) -> Array:
        training = self._network.training
        self._network.eval()
        predictions = _small(self._network(images).argmax(dim=1))
        self._network.train(training)
        return predictions

    def _write(self) -> None:
        """Write frames, in the thread, until None comes."""
        while (item := self._frames.get()) is not None:
            began, (step, frame) = time.monotonic(), item
            try:
                recording.write(recording.frame_path(self._run_dir, step), frame)
            except OSError as error:
                log.warning(f"view: the frame of step {step} could not be written ({error}); training goes on")
            self._write_seconds = time.monotonic() - began

    def _end(self) -> None:
        if self._writer is None:
            return
        self._frames.put(None)
        self._writer.join()
        self._writer = None
        if self._viewer and self._viewer.stdin:
            self._viewer.stdin.close()  # tells the view that nothing more comes
        if self.backend == "file":
            atexit.register(self._wait)

    def _check_viewer(self) -> None:
        """Log, once, that the viewer has ended; training goes on without it."""
        if self._viewer is None or self._viewer_ended or self._viewer.poll() is None:
            return
        self._viewer_ended = True
        if self._viewer.returncode:
            *_, reason = self._errors.read_text(errors="replace", encoding="utf-8").strip().split("\n")
            log.warning(f"view: ended with an error, training is not affected: {reason or 'it gave no reason'}")
        elif self.backend == "window":
            log.info("view: closed; training goes on")

    def _wait(self) -> None:
        assert self._viewer
        if self._viewer.poll() is None:
            log.info(f"view: drawing the last pictures in {self._errors.parent}")
        try:
            self._viewer.wait()
        except (KeyboardInterrupt, SystemExit) as stop:
            self._viewer.terminate()
            again = f"python -m mnist_lab.view {short_path(self._run_dir)} --backend file"
            log.warning(f"view: interrupted; all its pictures: {again}")
            os._exit(143 if isinstance(stop, SystemExit) else 130)  # the run is done; at its exit Python hears no other
        self._check_viewer()


def quantiles(parameters: list[nn.Parameter]) -> Array:
    """The quantiles 0, 1/7, ..., 1 (8,) of all values; NaN where there are none, or where one is NaN or Inf."""
    values = torch.cat([p.detach().flatten() for p in parameters]).float().cpu() if parameters else torch.tensor([])
    if not len(values) or not values.isfinite().all():
        return np.full(BANDS + 1, np.nan)
    # Sorting first makes quantile three times as fast; NumPy sorts ten times as fast as torch.
    return np.asarray(np.quantile(np.sort(values.numpy()), np.linspace(0, 1, BANDS + 1)))


def _small(digits: Tensor) -> Array:
    return digits.to(torch.uint8).cpu().numpy()
