"""One run: build what the config names, fit, test, record. The only file that knows all the others."""

import contextlib
import ctypes
import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from mnist_lab import results, runs, search
from mnist_lab.callbacks import Checkpoints, Feed, Interruption, LeanSteps, Moments, Outcome, Pruning
from mnist_lab.classifier import DigitClassifier
from mnist_lab.config import build, check, check_root, flat
from mnist_lab.data import DigitsDataModule
from mnist_lab.errors import UserError, describe, reported
from mnist_lab.files import whole
from mnist_lab.loggers import CsvLogger
from mnist_lab.provenance import provenance
from mnist_lab.search import Pruned

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Run what ``cfg`` says in Hydra's output directory; the best validation accuracy, for sweeps to go by.

    An error of the user's ends the program in one line. In a sweep it is logged, and the other jobs go on.
    """
    _keep_freed_memory()
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, is no reason to print tracebacks
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # like Ctrl-C: say so in the result
    for name in ("pytorch_lightning", "lightning_fabric"):  # what they tell everybody at every start; warnings stay
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of torch
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")  # our curves count all steps
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # our counts are summed over processes already
    if not _leads():
        logging.getLogger().setLevel(logging.WARNING)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        with reported():
            return _recorded(cfg)
    try:
        return _recorded(cfg)
    except Exception as error:
        log.error(f"error: {describe(error) or repr(error)}")
        raise


def _keep_freed_memory() -> None:
    """Have malloc keep what tensors leave for the next ones.

    By default glibc hands megabytes back to the kernel as soon as they are freed, and every step then pays for the
    faults that bring them back: 3 of the strided convnet's 10 ms. Other C libraries are left as they are.
    """
    mmap_threshold, trim_threshold = -3, -1  # of malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)


def _leads() -> bool:
    """Whether this process is the one, of those that train together, which keeps the records."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
    return rank == 0


def _recorded(cfg: DictConfig) -> float | None:
    """Run, with ``result.json`` saying all along how the run stands: running, then done, failed or interrupted."""
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    check_root(cfg)
    choices = hydra_config.runtime.choices
    if "TORCHELASTIC_RUN_ID" in os.environ and not any("hydra.run.dir=" in o for o in hydra_config.overrides.hydra):
        raise UserError("torchrun: its processes need one directory together; name it with hydra.run.dir=outputs/...")
    if cfg.sweep.resume and hydra_config.mode != RunMode.MULTIRUN:
        raise UserError("sweep.resume: is for --multirun; a single run goes on with resume=<run directory>")
    if hydra_config.mode == RunMode.MULTIRUN and (before := _before(cfg, run_dir)):
        if before["status"] in ("done", "pruned"):
            log.info(f"{run_dir}: {before['status']} before")
            return before.get("best_val_accuracy")
        cfg.resume = str(run_dir) if (run_dir / "checkpoints" / "last.ckpt").exists() else None
    if cfg.resume:
        cfg = runs.own_config(cfg, list(hydra_config.overrides.task))
        check_root(cfg)
        result = results.read(run_dir)
    else:
        result = {"status": "running", "name": runs.name(cfg, choices), "model": choices["model"], "seed": cfg.seed}
    if cfg.fit:
        result.pop("error", None)
        result |= {"status": "running", "provenance": provenance() | {"seed": cfg.seed}}
        result["settings"] = flat(cfg)
        if _leads():
            with whole(run_dir / "config.yaml") as partial:
                OmegaConf.save(OmegaConf.merge(cfg, {"resume": None}), partial, resolve=True)
            results.write(run_dir, result)
    try:
        _run(cfg, run_dir, result)
        result["status"] = "done" if cfg.fit else result["status"]
    except Pruned as pruned:
        result |= {"status": "pruned", "error": str(pruned)}
        log.info(f"pruned: {pruned}")
        return None
    except Exception as error:
        if cfg.fit:  # a test that fails leaves the run as it was
            result |= {"status": "failed", "error": describe(error) or repr(error)}
        logging.getLogger("mnist_lab.traceback").exception("the run failed")  # into the run's own log only
        raise
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning makes the one into the other
        result["status"] = "interrupted" if cfg.fit else result["status"]
        where = os.path.relpath(run_dir)
        kept = (run_dir / "checkpoints" / "last.ckpt").exists()
        advice = f"go on with: python train.py resume={where}" if kept else "nothing was saved yet"
        log.warning(f"interrupted; {advice}")
        sys.exit(143 if getattr(stop, "code", None) == 143 else 130)
    finally:
        if _leads():
            results.write(run_dir, result)
    log.info(results.table(result, run_dir))
    if hydra_config.mode != RunMode.MULTIRUN:
        log.info(results.suggestions(run_dir))
    objective: float | None = result.get("best_val_accuracy")
    return objective


def _before(cfg: DictConfig, run_dir: Path) -> dict[str, Any] | None:
    """The result of this same job in an earlier start of its sweep, if any. Raises UserError for one of another job."""
    if not (run_dir / results.FILE).exists():
        return None
    before = results.read(run_dir)
    now, then = flat(cfg), before.get("settings") or {}
    different = [key for key in now | then if now.get(key) != then.get(key) and key not in runs.MAY_CHANGE]
    if different:
        changes = ", ".join(f"{key} ({then.get(key)}, now {now.get(key)})" for key in different[:3])
        raise UserError(
            f"{run_dir}: holds a run of other settings: {changes}; repeat the sweep's own command, "
            "or name another hydra.sweep.dir"
        )
    return before


def _run(cfg: DictConfig, run_dir: Path, result: dict[str, Any]) -> None:
    """Build, fit and test, filling ``result`` on the way."""
    if cfg.trainer.get("accelerator") in ("cuda", "gpu") and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=cuda: no CUDA device is to be had here; use trainer=auto or trainer=cpu")
    pl.seed_everything(cfg.seed, verbose=False)
    datamodule: DigitsDataModule = build(cfg.data, "data", seed=cfg.seed)
    model = classifier(cfg)
    from_step = runs.step_of(runs.checkpoint(cfg.resume, "last")) if cfg.resume and cfg.fit else -1
    loggers: list[Any] = [CsvLogger(run_dir / "metrics.csv", from_step)] if cfg.fit else []
    lean = HydraConfig.get().mode == RunMode.MULTIRUN and not cfg.sweep.get("pictures")  # nobody looks at every job
    if cfg.fit and cfg.logger:
        logger: Any = OmegaConf.merge(cfg.logger, {"graph": False}) if lean and "graph" in cfg.logger else cfg.logger
        loggers.append(build(logger, "logger", save_dir=str(run_dir), from_step=from_step))
    check(cfg.trainer, "trainer", ("callbacks", "logger", "default_root_dir"))
    for key in ("max_steps", "val_check_interval"):
        if not (cfg.trainer.get(key) or 0) > 0:
            raise UserError(f"trainer.{key}={cfg.trainer.get(key)}: must be a number of steps above 0")
    if cfg.trainer.get("max_epochs") is not None:
        raise UserError("trainer.max_epochs: steps are the measure of a run; set trainer.max_steps")
    callbacks = [build(node, f"callbacks.{name}") for name, node in (cfg.callbacks or {}).items() if node]
    if lean:
        callbacks = [callback for callback in callbacks if not isinstance(callback, Moments | Outcome)]
    feed: Feed | None = None
    if cfg.fit and cfg.get("view"):
        feed = build(cfg.view, "view", stay=HydraConfig.get().mode != RunMode.MULTIRUN)
        callbacks.append(feed)
    if report := search.reporter(HydraConfig.get()):
        callbacks.append(Pruning(report))
    callbacks.sort(key=lambda callback: isinstance(callback, LeanSteps))  # last
    trainer: pl.Trainer = build(
        trainer_settings(cfg.trainer),
        "trainer",
        callbacks=[Interruption(), *callbacks],  # first, so that a checkpoint after a step knows of it
        logger=loggers or False,
        default_root_dir=str(run_dir),
    )
    if trainer.world_size > 1 and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError(
            f"trainer.devices={cfg.trainer.devices}: several processes would each start the whole sweep again; "
            "train with trainer.devices=1 in a --multirun, or start these runs one by one"
        )
    if feed and _leads():
        feed.open(run_dir, from_step)
    try:
        datamodule.setup()
    except ValueError as error:
        raise UserError(f"data.{error}") from error
    if cfg.checkpoint == "best" and "val" not in datamodule.watched:
        raise UserError("checkpoint=best: there is no validation set to choose by; raise data.validation_size")
    assert datamodule.digits
    result |= {
        "data": datamodule.digits.name,
        "sizes": datamodule.sizes,
        "precision": str(trainer.precision),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    if feed and _leads():
        feed.ready()
    log.info(f"{result['name']}: {result['parameters']:,} parameters, data {result['data']}, results in {run_dir}")
    try:
        if cfg.fit:
            _fit(cfg, trainer, model, datamodule, result)
        if cfg.test:
            _test(cfg, trainer, model, datamodule, result)
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in said:
            half = f"data.batch_size={cfg.data.batch_size // 2} or data.eval_batch_size={cfg.data.eval_batch_size // 2}"
            raise UserError(f"out of memory with data.batch_size={cfg.data.batch_size}; try {half}") from error
        if "loading state_dict" in said:
            raise UserError(f"resume={cfg.resume}: the checkpoint is not of the network in its config.yaml") from error
        raise
    reached = {name: result[name] for name in results.NUMBERS if result.get(name) is not None}
    for logger in loggers:
        logger.log_hyperparams(flat(cfg), reached)
        logger.save()


def trainer_settings(given: DictConfig) -> DictConfig:
    """The arguments of Lightning's Trainer: ``precision: auto`` becomes what the device has arithmetic for."""
    settings = given.copy()
    if given.get("precision") == "auto":
        if given.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        settings.precision = "bf16-mixed" if has_bf16 else "32-true"
    if given.get("deterministic") is False and not torch.are_deterministic_algorithms_enabled():
        settings.deterministic = None  # to say false would import torch's compiler
    return settings


def _fit(
    cfg: DictConfig, trainer: pl.Trainer, model: DigitClassifier, datamodule: DigitsDataModule, result: dict[str, Any]
) -> None:
    """Train, from the last checkpoint where a run goes on, and see to it that the last weights are validated."""
    path, step_before, seconds_before = None, 0, 0.0
    if cfg.resume:
        path = runs.checkpoint(cfg.resume, "last")
        step_before, seconds_before = runs.step_of(path), result.get("fit_seconds") or 0.0
    began = time.perf_counter()
    try:
        trainer.fit(model, datamodule, ckpt_path=str(path) if path else None, weights_only=True)
    finally:  # however it ends
        result["steps"] = trainer.global_step
        result["fit_seconds"] = round(time.perf_counter() - began + seconds_before, 3)
    interruption = next(c for c in trainer.callbacks if isinstance(c, Interruption))  # type: ignore[attr-defined]
    if interruption.signal is not None:
        sys.exit(128 + interruption.signal)
    if datamodule.watched and model.evaluated_at != trainer.global_step:
        trainer.validate(model, datamodule, verbose=False)
    seconds, steps = time.perf_counter() - began, trainer.global_step
    images = (steps - step_before) * datamodule.batch_size
    result |= {
        "steps": steps,
        "fit_seconds": round(seconds + seconds_before, 3),
        "images_per_second": round(images / max(seconds - model.evaluation_seconds, 1e-9), 1),
        "val_accuracy": model.last.get("val_accuracy"),
        "best_val_accuracy": model.best["val"][0] if "val" in model.best else None,
        "best_step": model.best["val"][1] if "val" in model.best else None,
    }
    if datamodule.watch_test:  # the peak of a curve that was watched; nothing was chosen by it
        result |= {"peak_test_accuracy": model.best["test"][0], "peak_test_step": model.best["test"][1]}


def _test(
    cfg: DictConfig, trainer: pl.Trainer, model: DigitClassifier, datamodule: DigitsDataModule, result: dict[str, Any]
) -> None:
    """Test the weights as they are after training, or those of a checkpoint."""
    path = None
    if not cfg.fit:
        path = runs.checkpoint(cfg.resume, cfg.checkpoint)
    elif cfg.checkpoint == "best":
        path = Checkpoints.path(trainer, "best")
    began = time.perf_counter()
    trainer.test(model, datamodule, ckpt_path=str(path) if path else None, weights_only=True, verbose=False)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    result |= {
        "tested": path.stem if path else cfg.checkpoint,
        "test_accuracy": round(metrics["test_accuracy"], 6),
        "test_loss": metrics["test_loss"],
        "test_errors": round(metrics["test_errors"]),
        "test_seconds": round(time.perf_counter() - began, 3),
    }


def classifier(cfg: DictConfig) -> DigitClassifier:
    """The LightningModule that ``cfg`` describes, its network freshly initialised."""
    check(cfg.optim, "optim", ("params",))
    optimizer = build(cfg.optim, "optim")
    rate = cfg.optim.get("lr")
    if not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
        raise UserError(f"optim.lr={rate}: the learning rate must be a number above 0")
    try:  # a rehearsal, so that a bad value shows before data is loaded
        optimizer([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"optim ({cfg.optim._target_}): {error}") from error
    network, schedule, loss = (build(cfg[group], group) for group in ("model", "schedule", "loss"))
    return DigitClassifier(network, optimizer, schedule, loss)
