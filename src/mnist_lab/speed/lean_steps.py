"""Training steps without the per-step overhead of Lightning's Trainer.

Figure: a step of softmax regression takes 0.26 ms instead of 0.55 ms, one of the ReLU MLP 1.2 ms instead of 1.6 ms.
Risk: it follows the inner loop of Lightning 2.6 by private names. It stands aside with any other version, and where a
run uses what it does not follow. tests/speed/test_lean_steps.py compares it with Lightning's own loop, bit for bit.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from torch import Tensor

from mnist_lab.data import Batches
from mnist_lab.speed import stand_aside

# What a LightningModule or a LightningDataModule may define that only Lightning's own step calls.
_TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
_OWN = ("on_train_batch_start", "on_train_batch_end", "backward", "optimizer_step", *_TRANSFER)


class LeanSteps(pl.Callback):
    """Takes over the steps on which nothing is logged or validated.

    After a step of Lightning's it goes on with steps of the same parts in the same order: batch, hooks,
    ``training_step``, backward, clipping, update, schedule, progress. So the weights, what callbacks see and what
    checkpoints hold are the same, bit for bit; it skips Lightning's search for hooks and metrics that are not there.
    """

    runs_last = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.callbacks[-1] is not self:  # type: ignore[attr-defined]
            raise ValueError("LeanSteps: must be the last of the callbacks")
        reason = _obstacle(trainer, pl_module)
        self._able = reason is None
        if reason:
            stand_aside("lean_steps", reason)
        clip = "configure_gradient_clipping"
        self._clips = trainer.gradient_clip_val is not None or _overridden(pl_module, pl.LightningModule, clip)
        self._hooks = cache(partial(_find_hooks, trainer, pl_module))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        loop: Any = trainer.fit_loop.epoch_loop
        done, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not self._able or done % every == 0:  # we log before a step
            return
        to_log, to_validate = -(done + 1) % every, -(loop.total_batch_idx + 1) % trainer.val_check_batch - 1
        for _step in range(min(to_log, to_validate)):  # Lightning logs and validates after a step
            if trainer.should_stop or loop._is_training_done:
                break
            self._step(trainer, pl_module, loop)

    def _step(self, trainer: pl.Trainer, module: pl.LightningModule, loop: Any) -> None:
        """Take one step as Lightning's ``_TrainingEpochLoop.advance`` does."""
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
        if hooks := self._hooks(name):
            vars(module)["_current_fx_name"] = name  # whom a self.log is from; a module is slow to set an attribute
            for hook in hooks:
                hook(*arguments)


def _find_hooks(trainer: Any, module: pl.LightningModule, name: str) -> list[Callable[..., Any]]:
    """The hooks called ``name`` that somebody has defined: the callbacks', then the module's."""
    defined = [callback for callback in trainer.callbacks[:-1] if _overridden(callback, pl.Callback, name)]
    hooks: list[Callable[..., Any]] = [partial(getattr(callback, name), trainer, module) for callback in defined]
    return hooks + ([getattr(module, name)] if _overridden(module, pl.LightningModule, name) else [])


def _obstacle(trainer: Any, module: pl.LightningModule) -> str | None:
    """What the run uses that only Lightning's own steps do; None where there is nothing."""
    precision, data = trainer.precision_plugin, trainer.datamodule
    obstacles = {
        f"it follows Lightning 2.6, not {pl.__version__}": not pl.__version__.startswith("2.6."),  # type: ignore[attr-defined]
        "manual optimisation": not module.automatic_optimization,
        "several processes": trainer.world_size > 1,
        "accumulated gradients": trainer.accumulate_grad_batches != 1,
        "validation by epochs or by the clock": trainer.check_val_every_n_epoch is not None
        or getattr(trainer, "_val_check_time_interval", None) is not None,
        "trainer.log_every_n_steps=0": trainer.log_every_n_steps < 1,
        "a profiler": not isinstance(trainer.profiler, PassThroughProfiler),
        "a loss scaler, or a precision of another kind": type(precision) not in (Precision, MixedPrecision)
        or getattr(precision, "scaler", None) is not None,
        "batches of another kind": not isinstance(trainer.train_dataloader, Batches),
        "hooks of the module or the data around a step": any(_overridden(module, pl.LightningModule, n) for n in _OWN)
        or any(_overridden(data, pl.LightningDataModule, n) for n in _TRANSFER),
    }
    return next((reason for reason, holds in obstacles.items() if holds), None)


def _overridden(part: object, base: type, name: str) -> bool:
    return getattr(type(part), name) is not getattr(base, name)
