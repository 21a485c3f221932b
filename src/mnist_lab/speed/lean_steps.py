"""Training steps without the per-step overhead of Lightning's Trainer.

Figure: a step of softmax regression takes 0.26 ms instead of 0.55 ms, one of the ReLU MLP 1.2 ms instead of 1.6 ms.
Risk: it follows the inner loop of Lightning 2.6 by private names. It stands aside with any other version, and in each
step that needs what it does not follow. tests/speed/ compares it with Lightning's own loop, bit for bit, under every
callback that Lightning ships.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _PrefetchDataFetcher
from pytorch_lightning.loops.optimization.automatic import Closure, ClosureResult
from pytorch_lightning.plugins import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor

from mnist_lab.classifier import DigitClassifier
from mnist_lab.data import Batches
from mnist_lab.speed import stand_aside

_PRECISIONS = (Precision, MixedPrecision)
# What the module and the data do in a step, unless somebody has put something else in its place.
_TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
_STEP = ("training_step", "on_train_batch_start", "backward", "configure_gradient_clipping", "optimizer_step")
_OF_MODULE = [(name, getattr(DigitClassifier, name)) for name in (*_STEP, *_TRANSFER)]
_OF_DATA = [(name, getattr(pl.LightningDataModule, name)) for name in _TRANSFER]


class LeanSteps(pl.Callback):
    """Takes the steps of Lightning's loop over the batches.

    A step does the same things in the same order: batch, hooks, ``training_step``, backward, clipping, update,
    schedule, progress. So the weights, what callbacks see and what checkpoints hold are the same, bit for bit; it
    leaves out the profiling, the debug log and the questions around each of them. It keeps nothing from one step to
    the next: what a callback changes during training counts from then on, as in Lightning. Where a step is not plain,
    or something is due after it (validation, a stop), Lightning does it.
    """

    def on_train_start(self, trainer: Any, pl_module: pl.LightningModule) -> None:
        if not pl.__version__.startswith("2.6."):  # type: ignore[attr-defined]
            stand_aside("lean_steps", f"it follows Lightning 2.6, not {pl.__version__}")  # type: ignore[attr-defined]
            return
        self._said: set[str] = set()
        loop = trainer.fit_loop.epoch_loop
        loop.advance = partial(self._advance, trainer, loop, loop.advance)
        loop.on_advance_end = partial(_on_advance_end, trainer, loop, loop.on_advance_end)

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        for name in ("advance", "on_advance_end"):
            vars(trainer.fit_loop.epoch_loop).pop(name, None)

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        self.on_train_end(trainer)

    def _advance(self, trainer: Any, loop: Any, advance: Callable[[Any], None], batches: Any) -> None:
        reason = _obstacle(trainer, loop, batches)
        if reason and reason not in self._said:
            self._said.add(reason)
            stand_aside("lean_steps", reason)
        if reason or loop.restarting:
            advance(batches)
        else:
            self._step(trainer, trainer.lightning_module, loop, next(batches)[0], batches.done)

    def _step(self, trainer: Any, module: Any, loop: Any, batch: Any, is_last_batch: bool) -> None:
        """Take one step as Lightning's ``_TrainingEpochLoop.advance`` does."""
        progress, counted = loop.batch_progress, loop.automatic_optimization.optim_progress.optimizer
        strategy, connector, state = trainer.strategy, trainer._logger_connector, vars(module)
        optimizer, stepped = trainer.optimizers[0], strategy._lightning_optimizers[0]._optimizer
        batch_idx, results, outside = loop.batch_idx + 1, loop._results, state["_current_fx_name"]

        def call(hook: str, *arguments: object) -> None:
            state["_current_fx_name"] = hook  # whom a self.log is from; a module is slow to set an attribute
            for callback in trainer.callbacks:
                if callable(function := getattr(callback, hook)):
                    function(trainer, module, *arguments)
            if callable(function := getattr(module, hook)):
                function(*arguments)

        def train() -> ClosureResult:
            state["_current_fx_name"] = "training_step"
            return ClosureResult(strategy.training_step(batch, batch_idx))

        def zero_grad() -> None:
            counted.zero_grad.increment_ready()
            call("on_before_zero_grad", optimizer)
            counted.zero_grad.increment_started()
            module.optimizer_zero_grad(trainer.current_epoch, batch_idx, optimizer)
            counted.zero_grad.increment_completed()

        def backward(loss: Tensor) -> None:
            call("on_before_backward", loss)
            module.backward(loss)
            call("on_after_backward")

        def train_and_clip() -> Tensor | None:
            loss = closure()
            call("on_before_optimizer_step", stepped)
            limit, algorithm = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
            if limit is not None or algorithm is not None:
                module.configure_gradient_clipping(stepped, gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
            return loss

        progress.is_last_batch = is_last_batch
        progress.increment_ready()
        connector.on_batch_start(batch)
        logged_before, connector._current_fx = connector._current_fx, None
        call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()
        closure = Closure(train, backward, zero_grad)
        counted.step.increment_ready()
        stepped.step(closure=train_and_clip)
        counted.step.increment_completed()
        outputs = closure.consume_result().asdict()
        progress.increment_processed()
        if trainer.lr_scheduler_configs:
            loop.update_lr_schedulers("step", update_plateau_schedulers=False)
            if loop._num_ready_batches_reached():
                loop.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        call("on_train_batch_end", outputs, batch, batch_idx)
        state["_current_fx_name"] = outside
        if connector._current_fx:  # something was logged in this step
            connector.on_batch_end()
        connector._current_fx = connector._current_fx or logged_before
        results.batch = results.batch_size = None
        progress.increment_completed()
        every = trainer.log_every_n_steps
        if not every or (loop._batches_that_stepped + 1) % every == 0 or trainer.should_stop or trainer.fast_dev_run:
            connector.update_train_step_metrics()


def _on_advance_end(trainer: Any, loop: Any, on_advance_end: Callable[[Any], None], batches: Any) -> None:
    """Only count, where neither validation nor a stop nor a schedule by a metric can be due after a step."""
    every, progress = trainer.val_check_batch, loop.batch_progress
    by_steps = trainer.check_val_every_n_epoch is None and trainer._val_check_time_interval is None
    validate = not by_steps or type(every) is not int or progress.total.ready % every == 0 or loop._skip_next_val
    stop = trainer.should_stop or trainer.received_sigterm or progress.is_last_batch
    plateau = [True for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
    if validate or stop or plateau or trainer.accumulate_grad_batches != 1:
        on_advance_end(batches)
    else:
        loop._batches_that_stepped += 1


def _obstacle(trainer: Any, loop: Any, batches: Any) -> str | None:
    """What the next step needs that only Lightning's own does; None where there is nothing."""
    strategy, module = trainer.strategy, trainer.lightning_module
    if type(strategy) is not SingleDeviceStrategy:
        return "several processes, or a strategy of another kind"
    if type(strategy.precision_plugin) not in _PRECISIONS or getattr(strategy.precision_plugin, "scaler", None):
        return "a loss scaler, or a precision of another kind"
    if type(trainer.profiler) is not PassThroughProfiler:
        return "a profiler"
    if trainer.accumulate_grad_batches != 1:
        return "accumulated gradients"
    if not module.automatic_optimization or loop.automatic_optimization._skip_backward:
        return "steps without an update by Lightning"
    if type(batches) is not _PrefetchDataFetcher or not isinstance(trainer.train_dataloader, Batches):
        return "batches of another kind"
    for part, defaults in ((module, _OF_MODULE), (trainer.datamodule, _OF_DATA)):
        for name, default in defaults if part is not None else ():
            if getattr(getattr(part, name), "__func__", None) is not default:
                return f"{type(part).__name__} has a {name} of its own"
    return None
