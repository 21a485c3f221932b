"""One run, a straight line: build what the config names, fit, test, note what was reached."""

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from mnist_lab.build import Nodes, assemble
from mnist_lab.classifier import DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.errors import UserError
from mnist_lab.networks.layers import multiply_adds
from mnist_lab.runs.directory import Launch, checkpoint_path
from mnist_lab.runs.processes import is_rank_zero
from mnist_lab.runs.result import Result
from mnist_lab.runs.run import Checkpoint, find_checkpoint

log = logging.getLogger(__name__)
# What loggers are told at the end.
REACHED = ("val_accuracy", "best_val_accuracy", "test_accuracy", "test_loss", "fit_seconds", "parameters")


def run(cfg: DictConfig, nodes: Nodes, result: Result, launch: Launch, begin: Callable[[], None] | None = None) -> None:
    """Build, fit and test what ``cfg`` says, filling ``result`` on the way; ``nodes`` are what config.check found.

    ``begin`` is called once training begins, with everything loaded.
    """
    resumed = find_checkpoint(cfg.resume, "last" if cfg.fit else cfg.checkpoint) if cfg.resume else None
    if cfg.fit and resumed and resumed.step >= cfg.trainer.max_steps:
        done = f"{resumed.step:,} steps are done already"
        log.warning(f"trainer.max_steps={cfg.trainer.max_steps}: {done}, so nothing is left to train")
    if resumed and result.data:  # auto may mean other data by now
        nodes["data"].dataset = result.data
    trainer, model, data = assemble(cfg, nodes, resumed, launch, begin)
    result.data, result.sizes, result.precision = data.digits.name, data.sizes, str(trainer.precision)
    result.parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    result.multiply_adds = multiply_adds(model)
    log.info(f"{result.name}: {result.cost()}, data {result.data}, results in {launch.run_dir}")
    with _explained(cfg, trainer.world_size):
        tested: Path | None = None  # the weights as they are
        if cfg.fit:
            fit(trainer, model, data, result, resumed)
            tested = checkpoint_path(launch.run_dir, "best") if cfg.checkpoint == "best" else None
        elif resumed:
            tested = resumed.path
        if cfg.test:
            test(trainer, model, data, result, tested)
    reached = {name: value for name in REACHED if (value := getattr(result, name)) is not None}
    for logger in trainer.loggers:
        logger.log_hyperparams(result.settings, reached)
        logger.save()


def fit(
    trainer: pl.Trainer, model: DigitClassifier, data: DigitsDataModule, result: Result, resumed: Checkpoint | None
) -> None:
    """Train, from a checkpoint where a run goes on, and see to it that the last weights are validated."""
    seconds_before = (result.fit_seconds or 0.0) if resumed else 0.0
    began = time.perf_counter()
    try:
        trainer.fit(model, data, ckpt_path=str(resumed.path) if resumed else None, weights_only=True)
        if data.watched and model.evaluated_at != trainer.global_step:
            trainer.validate(model, data, verbose=False)
    finally:  # however it ends
        seconds, steps = time.perf_counter() - began, trainer.global_step - (resumed.step if resumed else 0)
        result.steps = trainer.global_step
        if steps or not resumed:
            result.fit_seconds = round(seconds + seconds_before, 3)
    if steps:
        seconds = max(seconds - model.evaluation_seconds, 1e-9)
        result.images_per_second = round(steps * data.batch_size / seconds, 1)
    result.val_accuracy = model.last.get("val_accuracy")
    result.best_val_accuracy, result.best_step = model.best.get("val", (None, None))
    if data.watch_test:
        result.peak_test_accuracy, result.peak_test_step = model.best["test"]


def test(
    trainer: pl.Trainer, model: DigitClassifier, data: DigitsDataModule, result: Result, path: Path | None
) -> None:
    """Test the weights as they are after training, or those of the checkpoint at ``path``."""
    began = time.perf_counter()
    trainer.test(model, data, ckpt_path=str(path) if path else None, weights_only=True, verbose=False)
    result.tested, result.test_seconds = path.stem if path else "last", round(time.perf_counter() - began, 3)
    result.test_accuracy, result.test_loss = round(model.last["test_accuracy"], 6), model.last["test_loss"]
    result.test_errors = round(model.last["test_errors"])


@contextlib.contextmanager
def _explained(cfg: DictConfig, processes: int) -> Iterator[None]:
    """Turn torch's errors about memory, checkpoints and lost processes into UserErrors."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in said:
            half = f"data.batch_size={cfg.data.batch_size // 2} or data.eval_batch_size={cfg.data.eval_batch_size // 2}"
            raise UserError(f"out of memory with data.batch_size={cfg.data.batch_size}; try {half}") from error
        if "loading state_dict" in said:
            raise UserError(f"resume={cfg.resume}: the checkpoint is not of the network in its config.yaml") from error
        if processes > 1 and re.search("by peer|Broken pipe|remote process", said):
            if not is_rank_zero():
                sys.exit(1)  # the one that was lost, or rank zero, says why
            lost = f"one of the {processes} processes has ended early; if it said nothing above, it was killed"
            raise UserError(f"{lost}: go on with resume=<run directory>") from error
        raise
