"""Callbacks for runs in processes of their own, which have this folder on their path."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch


class Poison(pl.Callback):
    """Puts NaN in the images of one process at one step."""

    def __init__(self, rank: int, step: int):
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            batch[0].fill_(float("nan"))


class Draws(pl.Callback):
    """Notes, for each process, the random number that comes next after each step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        with (Path(trainer.default_root_dir) / f"drawn{trainer.global_rank}").open("a") as file:
            file.write(f"{torch.rand(1).item()!r}\n")


class Slow(pl.Callback):
    """Makes each step take at least so long, without using the machine; touches the file slow before."""

    def __init__(self, seconds: float = 0.005):
        self.seconds = seconds

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        (Path(trainer.default_root_dir) / "slow").touch()
        time.sleep(self.seconds)
