"""Feeds the live view: records frames of a run, and starts the process that shows them."""

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

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from mnist_lab.classifier import Batch
from mnist_lab.data import Batches, DigitsDataModule
from mnist_lab.loggers import CsvLogger
from mnist_lab.view import hosts, recording
from mnist_lab.view.recording import SHARES, Array

log = logging.getLogger(__name__)
_TRAINING, _WATCHED = 100, 1000  # digits shown of each


class Feed(pl.Callback):
    """Records a frame every ``every_n_steps`` steps, for ``host`` to show: a window, a page on the web, or files.

    Making frames takes no more than ``share`` of the time: one that would is left out. They are written by a thread,
    and dropped while the ones before wait to be written. Another process shows them; whatever becomes of it, training
    goes on. ``movie``, for files, joins the pictures in the end. ``port`` is the first that the page tries, ``browser``
    opens it there. ``stay`` leaves a window or a page there after the run.

    Raises ValueError for numbers out of range; UserError where the host cannot show anything here.
    """

    def __init__(
        self,
        host: str,
        every_n_steps: int = 100,
        share: float = 0.02,
        movie: bool = False,
        port: int = 8988,
        browser: bool = True,
        stay: bool = True,
    ):
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: must be at least 1")
        if not 0 < share <= 1:
            raise ValueError(f"share={share}: must be above 0 and at most 1")
        if not 1 <= port <= 65535:
            raise ValueError(f"port={port}: must be from 1 to 65535")
        hosts.check(host)
        self.host, self.every_n_steps, self.share, self.port = host, every_n_steps, share, port
        self._arguments = ["--host", host]
        self._arguments += [] if browser else ["--no-browser"]
        self._arguments += [] if stay else ["--close"]
        self._arguments += ["--movie"] if movie else []
        self._frames: queue.Queue[tuple[int, dict[str, Array]] | None] = queue.Queue(maxsize=2)
        self._writer: threading.Thread | None = None
        self._viewer: subprocess.Popen[bytes] | None = None
        self._shown = False
        self._rest_until = self._writing = 0.0  # when the next frame may be made; what the thread took for the last

    def open(self, run_dir: Path, from_step: int) -> None:
        """Start the process that shows, which loads what it needs while the run loads what it trains on.

        A run that goes on ``from_step`` keeps what it recorded up to there; one that starts has nothing to keep (-1).
        """
        recording.forget(run_dir, from_step)
        # Where training leaves a core free, drawing may take a part of it; where not, little of what it has. A file
        # can wait.
        spare = len(os.sched_getaffinity(0)) > torch.get_num_threads()
        share = 0.3 if spare else 0.01 if self.host == "file" else 0.02
        command = [sys.executable, "-m", "mnist_lab.view", str(run_dir), "--live", str(share)]
        self._run_dir, self._said = run_dir, run_dir / recording.FOLDER / "view.log"
        self._said.parent.mkdir(parents=True, exist_ok=True)
        passed: list[int] = []
        with self._said.open("w") as said, contextlib.ExitStack() as stack:
            if self.host == "web":
                listening = stack.enter_context(hosts.listen(self.port))
                passed = [listening.fileno()]
                command += ["--socket", str(passed[0])]
                log.info(f"view: {hosts.where(listening)}")
            self._viewer = subprocess.Popen(
                command + self._arguments,
                stdin=subprocess.PIPE,  # ends when this process does, however that comes about
                stdout=subprocess.PIPE,
                stderr=said,
                pass_fds=passed,
                # A Ctrl-C is for training. Not a session: Linux weighs processes by niceness only within one.
                process_group=0,
            )
        self._shown = True

    def ready(self) -> None:
        """Wait until it can show something."""
        assert self._viewer
        assert self._viewer.stdout
        self._viewer.stdout.readline()
        self._look_after_viewer()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        if self._viewer is None:  # another process shows it
            return
        self._datamodule: DigitsDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self._network, self._began_at = pl_module, trainer.global_step
        self._watched: Batch | None = None
        if self._datamodule.watched:
            part = self._datamodule.watched[-1]
            images, labels = (t[:_WATCHED] for t in getattr(self._datamodule, part))
            recording.write_watched(self._run_dir, part, _pixels(images), labels.numpy())
            mean, std = self._datamodule.mean, self._datamodule.std
            device = pl_module.device
            self._watched = next(iter(Batches(images.to(device), labels.to(device), _WATCHED, mean=mean, std=std)))
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Record the batch before it is trained on, dropout off, on a step that is due."""
        self._batch = batch
        if trainer.global_step % self.every_n_steps == 0 and time.monotonic() >= self._rest_until:
            self._record(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record how it ends, even where the time for frames is used up."""
        self._record(trainer, last=True)
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Let the view know that nothing more comes."""
        self._end()

    def _record(self, trainer: pl.Trainer, last: bool = False) -> None:
        if self._writer is None:
            return
        began = time.monotonic()
        for logger in trainer.loggers:
            if isinstance(logger, CsvLogger):
                logger.save()  # the curves up to here
        images, labels = (t[:_TRAINING] for t in self._batch)
        frame = {
            "images": _pixels(images.squeeze(1) * self._datamodule.std + self._datamodule.mean),
            "labels": labels.cpu().numpy().astype(np.uint8),
            "predictions": self._predictions(images),
            "weights": spread([p for name, p in self._network.named_parameters() if not name.endswith("bias")]),
            "biases": spread([p for name, p in self._network.named_parameters() if name.endswith("bias")]),
        }
        if self._watched:
            frame["watched"] = self._predictions(self._watched[0])
        try:
            self._frames.put((trainer.global_step, frame), block=last, timeout=5)
        except queue.Full:
            log.debug(f"view: no frame of step {trainer.global_step}, the ones before are still being written")
        self._look_after_viewer()
        now = time.monotonic()
        if trainer.global_step > self._began_at:  # the first takes longer than any other, and says little of them
            self._rest_until = now + (now - began + self._writing) * (1 / self.share - 1)

    @torch.no_grad()
    def _predictions(self, images: Tensor) -> Array:
        training = self._network.training
        self._network.eval()
        predictions: Array = self._network(images).argmax(dim=1).cpu().numpy().astype(np.uint8)
        self._network.train(training)
        return predictions

    def _write(self) -> None:
        """What the thread does: keep frames until there are no more, or no room for them."""
        while (item := self._frames.get()) is not None:
            began = time.monotonic()
            try:
                recording.write_frame(self._run_dir, *item)
            except OSError as error:
                log.warning(f"view: a frame of step {item[0]} could not be kept ({error}); training goes on")
            self._writing = time.monotonic() - began

    def _end(self) -> None:
        if self._writer is None:
            return
        self._frames.put(None)
        self._writer.join()
        self._writer = None
        assert self._viewer
        assert self._viewer.stdin
        self._viewer.stdin.close()
        if self.host == "file":
            atexit.register(self._wait)

    def _look_after_viewer(self) -> None:
        """Say so, once, where it has ended; that is no reason for training to."""
        if not (self._shown and self._viewer) or self._viewer.poll() is None:
            return
        self._shown = False
        if self._viewer.returncode:
            log.warning(f"view: ended with an error, training is not affected: {_last_line(self._said)}")
        elif self.host == "window":
            log.info("view: closed; training goes on")

    def _wait(self) -> None:
        assert self._viewer
        if self._viewer.poll() is None:
            log.info(f"view: drawing the last pictures in {self._said.parent}")
        self._viewer.wait()
        self._look_after_viewer()


def spread(parameters: list[torch.nn.Parameter]) -> Array:
    """The boundaries (8,) of seven equal shares of all values, from least to greatest; NaN where there are none.

    Of many values, those between are found to a 4096th of the range, in a fraction of the time that sorting takes.
    """
    values = torch.cat([p.detach().flatten() for p in parameters]).float().cpu() if parameters else torch.tensor([])
    if not len(values) or not torch.isfinite(values).all():
        return np.full(SHARES + 1, np.nan)
    shares = torch.linspace(0, 1, SHARES + 1)
    if len(values) <= 20_000:
        return torch.quantile(values, shares).numpy()
    low, high = values.aminmax()
    counts = torch.histc(values, bins=4096, min=low.item(), max=high.item())
    below = torch.cat([torch.zeros(1), counts.cumsum(0)]) / len(values)
    edges = np.linspace(low.item(), high.item(), 4097)
    boundaries: Array = np.interp(shares.numpy(), below.numpy(), edges)
    return boundaries


def _pixels(images: Tensor) -> Array:
    """Images (n, 28, 28), uint8 or intensities in [0, 1], as uint8."""
    if images.dtype != torch.uint8:
        images = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return images.cpu().numpy()


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
