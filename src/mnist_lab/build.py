"""What a config names becomes objects: network, data, loggers, callbacks, Trainer. Everything is checked on the way."""

import functools
import logging
import os
import re
from collections.abc import Callable
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers.logger import Logger

from mnist_lab.callbacks import CsvLogger, GracefulStop, WeightAverage
from mnist_lab.classifier import DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.data.batches import Augmentation
from mnist_lab.errors import UserError
from mnist_lab.runs.directory import Launch
from mnist_lab.runs.processes import is_rank_zero, usable_cores
from mnist_lab.runs.run import Checkpoint
from mnist_lab.schedules import Schedule

log = logging.getLogger(__name__)
# What each group must make, or a part of it.
_MADE: dict[str, type] = {
    "model": torch.nn.Module,
    "loss": Callable,  # type: ignore[dict-item]
    "optim": functools.partial,
    "schedule": Schedule,
    "data": DigitsDataModule,
    "augment": Augmentation,
    "trainer": pl.Trainer,
    "logger": Logger,
    "callbacks": pl.Callback,
    "view": pl.Callback,
}
Nodes = dict[str, DictConfig]  # what there is to build, by its path in the config


def assemble(
    cfg: DictConfig, nodes: Nodes, resumed: Checkpoint | None, launch: Launch, begin: Callable[[], None] | None
) -> tuple[pl.Trainer, DigitClassifier, DigitsDataModule]:
    """Build everything, with the data loaded. Raises UserError for what cannot be built."""
    if cfg.trainer.get("accelerator") == "cuda" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=cuda: no CUDA device is to be had here; use trainer=auto or trainer=cpu")
    settings = trainer_settings(cfg.trainer)
    pl.seed_everything(cfg.seed, verbose=False)
    augment = build(cfg.augment, "augment") if "augment" in nodes else None
    data: DigitsDataModule = build(nodes["data"], "data", seed=cfg.seed, augment=augment)
    model = classifier(cfg)
    from_step = resumed.step if resumed and cfg.fit else -1
    loggers: list[Any] = [CsvLogger(launch.run_dir, from_step)] if cfg.fit else []
    if cfg.fit and "logger" in nodes:
        loggers.append(build(cfg.logger, "logger", save_dir=str(launch.run_dir), from_step=from_step))
    callbacks = observers(cfg, nodes, launch)
    if cfg.get("ema"):
        if settings.get("precision") in ("bf16-true", "16-true"):
            raise UserError(f"ema={cfg.ema}: an average needs weights in float32; take trainer.precision=bf16-mixed")
        callbacks.insert(0, WeightAverage(cfg.ema))  # before the others, which save and show what it makes of a step
    trainer: pl.Trainer = build(
        settings,
        "trainer",
        # The first to be called after a step is the one that may end the run, so that a checkpoint knows of it.
        callbacks=[GracefulStop(not launch.in_process, begin), *callbacks],
        logger=loggers or False,
        default_root_dir=str(launch.run_dir),
    )
    if trainer.world_size > 1:
        _check_processes(trainer, model, f"trainer.devices={cfg.trainer.devices}", launch)
    _call(callbacks, "prepare", launch.run_dir, from_step, launch.in_sweep)
    try:
        data.setup()
    except ValueError as error:
        raise UserError(f"data.{error}") from error
    _call(callbacks, "wait_until_ready")
    if cfg.checkpoint == "best" and "val" not in data.watched:
        raise UserError("checkpoint=best: there is no validation set to choose by; raise data.validation_size")
    _check_shares(data, model, trainer.world_size)
    return trainer, model, data


def _check_shares(data: DigitsDataModule, model: DigitClassifier, ranks: int) -> None:
    """Raise UserError where batch norm between dense layers would see one image, which has no variance."""
    last = 0 if data.drop_last else data.sizes["train"] % data.batch_size
    smallest = {share for size in (data.batch_size, last) for share in (size // ranks, -(-size // ranks))}
    if 1 in smallest and any(isinstance(module, torch.nn.BatchNorm1d) for module in model.modules()):
        raise UserError(
            f"data.batch_size={data.batch_size}: leaves a step with one image, of which batch norm has no variance; "
            "add data.drop_last=true, or take another batch size"
        )


def _check_processes(trainer: pl.Trainer, model: DigitClassifier, given: str, launch: Launch) -> None:
    """Raise UserError where several processes cannot train; say what they do otherwise than one."""
    if launch.in_sweep:
        raise UserError(
            f"{given}: several processes would each start the whole sweep again; "
            "train with trainer.devices=1 in a --multirun, or start these runs one by one"
        )
    if launch.in_process:
        raise UserError(f"{given}: several processes are started by train.py only; here, set trainer.devices=1")
    on_cpu = trainer.strategy.root_device.type == "cpu"
    cores = usable_cores()
    if on_cpu and trainer.num_devices > cores and "OMP_NUM_THREADS" not in os.environ:
        more = "or let more share them, with OMP_NUM_THREADS=1 in the environment"
        raise UserError(f"{given}: there are only {cores} cores here; use no more processes, {more}")
    if on_cpu and any("BatchNorm" in type(module).__name__ for module in model.modules()):
        log.warning(
            f"{given}: batch norm sees a process's part of each batch only, so the result depends on their number; "
            "torch can join the parts on GPUs only"
        )


def build(node: DictConfig, path: str, **more: Any) -> Any:
    """Make what ``node`` describes, handing over ``more`` too. Raises UserError, with the key, where it cannot be."""
    arguments: Any = OmegaConf.to_container(node, resolve=True)
    arguments.pop("enabled", None)
    try:
        made = hydra.utils.instantiate(arguments, **more, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        said = " ".join(str(cause).split())
        where = f"{path}." if re.match(r"\w+=", said) else f"{path} ({node._target_}): "
        raise UserError(where + said) from error
    if not isinstance(made, wanted := _MADE[path.partition(".")[0]]):
        name = f"{wanted.__module__}.{wanted.__name__}"
        raise UserError(f"{path}._target_={node._target_}: makes {type(made).__name__}, must make a {name}")
    return made


def classifier(cfg: DictConfig) -> DigitClassifier:
    """The LightningModule that ``cfg`` describes, its network freshly initialised.

    Network, loss and optimiser are rehearsed on two made images, before data is loaded, which leaves no trace. Raises
    UserError, naming which of them fails, and why.
    """
    network, optimizer, schedule, loss = (build(cfg[group], group) for group in ("model", "optim", "schedule", "loss"))
    lr = cfg.optim.get("lr")
    if not isinstance(lr, (int, float)) or lr <= 0:
        raise UserError(f"optim.lr={lr}: the learning rate must be a number above 0")
    images, labels = torch.linspace(0, 1, 2 * 784).view(2, 1, 28, 28), torch.tensor([0, 1])
    learning = [module for module in network.modules() if module.training]
    group = "model"
    try:
        model = DigitClassifier(network, optimizer, schedule, loss, eval_shifts=cfg.get("eval_shifts") or 0)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            logits = network.eval()(images)  # so that batch norm keeps its averages
            if (shape := tuple(getattr(logits, "shape", ()))) != (2, 10):
                raise ValueError(f"makes {shape or type(logits).__name__} of images (2, 1, 28, 28), must make (2, 10)")
            if not logits.isfinite().all():
                raise ValueError("makes NaN or Inf of images with its initial weights")
            if not (trained := [p for p in network.parameters() if p.requires_grad]):
                raise ValueError("has no parameters to train")
            group = "loss"
            if (value := loss(logits, labels)).shape != ():
                raise ValueError(f"must be one number, not {tuple(value.shape)}")
        group = "optim"
        weight = torch.nn.Parameter(torch.zeros(2, 2))
        weight.grad = torch.zeros(2, 2)
        for parameters in (trained, [weight]):
            if not isinstance(made := optimizer(parameters), torch.optim.Optimizer):
                raise TypeError(f"makes {type(made).__name__}, must make a torch.optim.Optimizer")
        made.step(lambda: 0.0)
    except Exception as error:  # of any kind: what is called may be anyone's
        said = " ".join(str(error).split())
        raise UserError(f"{group} ({cfg[group]._target_}): {said or repr(error)}") from error
    finally:
        for module in learning:
            module.training = True
    return model


def observers(cfg: DictConfig, nodes: Nodes, launch: Launch) -> list[pl.Callback]:
    """The callbacks of the config and the view, in the order they are called in.

    Each declares what it needs: ``in_sweeps = False`` leaves it out of a sweep's jobs unless ``sweep.pictures``;
    ``runs_last = True`` puts it after the others. In the process that keeps the records, ``prepare(run_dir, from_step,
    in_sweep)`` is called before data is loaded and ``wait_until_ready()`` after it.
    """
    chosen = [path for path in nodes if path.startswith("callbacks.") or (path == "view" and cfg.fit)]
    callbacks = [build(nodes[path], path) for path in chosen]
    if launch.in_sweep and not cfg.sweep.get("pictures"):
        callbacks = [callback for callback in callbacks if getattr(callback, "in_sweeps", True)]
    return sorted(callbacks, key=lambda callback: getattr(callback, "runs_last", False))


def _call(callbacks: list[pl.Callback], hook: str, *arguments: Any) -> None:
    for callback in callbacks if is_rank_zero() else []:
        if hasattr(callback, hook):
            getattr(callback, hook)(*arguments)


def trainer_settings(given: DictConfig) -> DictConfig:
    """The arguments of Lightning's Trainer: ``precision: auto`` becomes what the device has arithmetic for."""
    for key in ("max_steps", "val_check_interval", "log_every_n_steps"):
        if type(steps := given.get(key)) is not int or steps < 1:
            raise UserError(f"trainer.{key}={steps}: must be a whole number of steps above 0")
    if (given.get("gradient_clip_val") or 0) < 0:
        raise UserError(f"trainer.gradient_clip_val={given.gradient_clip_val}: must not be negative; null: no clipping")
    if given.get("max_epochs") is not None:
        raise UserError("trainer.max_epochs: steps are the measure of a run; set trainer.max_steps")
    settings = given.copy()
    on_gpu = given.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    if given.get("sync_batchnorm") and not on_gpu:
        settings.sync_batchnorm = False  # torch's works on GPUs only
    if given.get("precision") == "auto":
        if on_gpu:
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        settings.precision = "bf16-mixed" if has_bf16 else "32-true"
    if given.get("deterministic") is False and not torch.are_deterministic_algorithms_enabled():
        settings.deterministic = None  # to say false would import torch's compiler
    return settings
