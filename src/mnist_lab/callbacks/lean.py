"""Training steps without what Lightning does around each of them for features that a run does not use."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from torch import Tensor

from mnist_lab.classifier import Batch
from mnist_lab.data import Batches

_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
# What a LightningModule or a LightningDataModule may define that only Lightning's own step honours.
_TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
_OWN = ("on_train_batch_start", "on_train_batch_end", "backward", "optimizer_step", *_TRANSFER)


class LeanSteps(pl.Callback):
    """Takes the steps on which Lightning has nothing to do: all but those that log or are validated after.

    To be the last of the callbacks. After a step of Lightning's it goes on with steps of the same parts in the same
    order: batch, hooks, ``training_step``, backward, clipping, update, schedule, progress. So the weights, what
    callbacks see and what checkpoints hold are the same to the last bit; what is left out is Lightning's looking for
    hooks and metrics that are not there. A run that needs more takes all steps as Lightning's: with several processes,
    accumulated gradients, a loss scaler, a profiler, hooks of the module around a step, other batches than this
    project's or another Lightning than this follows.
    """

    def __init__(self) -> None:
        self._able = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find out whether the run allows it, and the hooks that are there. Raises ValueError where it is not last."""
        if trainer.callbacks[-1] is not self:  # type: ignore[attr-defined]
            raise ValueError("LeanSteps: must be the last of the callbacks")
        precision, data = trainer.precision_plugin, trainer.datamodule  # type: ignore[attr-defined]
        self._able = (
            pl.__version__.startswith("2.6.")  # type: ignore[attr-defined]
            and pl_module.automatic_optimization
            and trainer.world_size == 1
            and trainer.accumulate_grad_batches == 1
            and trainer.check_val_every_n_epoch is None
            and getattr(trainer, "_val_check_time_interval", None) is None
            and trainer.log_every_n_steps > 0  # type: ignore[attr-defined]
            and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
            and type(precision) in (Precision, MixedPrecision)
            and getattr(precision, "scaler", None) is None
            and isinstance(trainer.train_dataloader, Batches)
            and not any(_written(pl_module, pl.LightningModule, name) for name in _OWN)
            and not any(_written(data, pl.LightningDataModule, name) for name in _TRANSFER)
        )
        clip = "configure_gradient_clipping"
        self._clips = trainer.gradient_clip_val is not None or _written(pl_module, pl.LightningModule, clip)
        self._hooks = {name: self._there(trainer, pl_module, name) for name in _HOOKS}

    def _there(self, trainer: pl.Trainer, module: pl.LightningModule, name: str) -> list[Callable[..., Any]]:
        """The hooks of a name that somebody has written: the callbacks', then the module's."""
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        hooks = [partial(getattr(c, name), trainer, module) for c in callbacks[:-1] if _written(c, pl.Callback, name)]
        return hooks + ([getattr(module, name)] if _written(module, pl.LightningModule, name) else [])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Go on to where Lightning has to see to it that something happens."""
        loop: Any = trainer.fit_loop.epoch_loop
        done, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not self._able or done % every == 0:  # we log before a step
            return
        to_log, to_validate = -(done + 1) % every, -(loop.total_batch_idx + 1) % trainer.val_check_batch - 1
        for _ in range(min(to_log, to_validate)):  # Lightning logs and validates after a step
            if trainer.should_stop or loop._is_training_done:
                break
            self._step(trainer, pl_module, loop)

    def _step(self, trainer: pl.Trainer, module: pl.LightningModule, loop: Any) -> None:
        """One step, as ``_TrainingEpochLoop.advance`` of Lightning takes it."""
        progress, counted = loop.batch_progress, loop.automatic_optimization.optim_progress.optimizer
        progress.increment_completed()  # the step before
        loop._batches_that_stepped += 1
        batches: Any = trainer.fit_loop._data_fetcher
        batch, batch_idx = next(batches)[0], loop.batch_idx + 1
        progress.is_last_batch = batches.done
        progress.increment_ready()
        trainer._logger_connector.on_batch_start(batch)
        self._call(module, "on_train_batch_start", batch, batch_idx)
        progress.increment_started()
        optimizer: Any = trainer.optimizers[0]
        outputs: dict[str, Any] = {}

        def closure() -> Tensor:
            output: Any = trainer.strategy.training_step(batch, batch_idx)
            loss: Tensor = output if isinstance(output, Tensor) else output["loss"]
            outputs.update({} if loss is output else output, loss=loss.detach())
            counted.zero_grad.increment_ready()
            self._call(module, "on_before_zero_grad", optimizer)
            counted.zero_grad.increment_started()
            module.optimizer_zero_grad(trainer.current_epoch, batch_idx, optimizer)
            counted.zero_grad.increment_completed()
            self._call(module, "on_before_backward", loss)
            module.backward(loss)
            self._call(module, "on_after_backward")
            self._call(module, "on_before_optimizer_step", optimizer)
            if self._clips:
                module.configure_gradient_clipping(
                    optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
                )
            return loss

        counted.step.increment_ready()
        optimizer.step(closure)
        counted.step.increment_completed()
        progress.increment_processed()
        if trainer.lr_scheduler_configs:
            loop.update_lr_schedulers("step", update_plateau_schedulers=False)
        self._call(module, "on_train_batch_end", outputs, batch, batch_idx)

    def _call(self, module: pl.LightningModule, name: str, *arguments: object) -> None:
        if hooks := self._hooks[name]:
            vars(module)["_current_fx_name"] = name  # whom a self.log is from; a module is slow to set an attribute
            for hook in hooks:
                hook(*arguments)


def _written(part: object, base: type, name: str) -> bool:
    return getattr(type(part), name) is not getattr(base, name)
