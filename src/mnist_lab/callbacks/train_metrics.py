"""Training curves as the tutorials log them."""

import time
from typing import Any

import pytorch_lightning as pl
import torch

from mnist_lab.classifier import Batch


class TrainMetrics(pl.Callback):
    """Every ``every_n_steps`` steps: loss and accuracy on the current batch before it is trained on, with dropout off.

    Also the learning rate, and the images trained on a second since the last time, validation left out; with
    ``gradient_norm`` the Euclidean norm of the gradient of all weights together, before it is clipped.
    """

    def __init__(self, every_n_steps: int = 100, gradient_norm: bool = True):
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: must be at least 1")
        self.every_n_steps, self.gradient_norm = every_n_steps, gradient_norm
        self._since, self._images = time.perf_counter(), 0  # when counting began, on a clock that validation stops

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, *_: Any) -> None:
        if trainer.global_step % self.every_n_steps:
            self._images += len(batch[1])
            return
        now = time.perf_counter() - pl_module.evaluation_seconds
        metrics = {"learning_rate": trainer.optimizers[0].param_groups[0]["lr"]}
        pl_module.eval()
        sums = pl_module.evaluate(batch)
        pl_module.train()
        sums = torch.cat([sums, sums.new_tensor([self._images])])
        loss, correct, total, images = trainer.strategy.reduce(sums, reduce_op="sum").tolist()  # over all processes
        if images:
            metrics["images_per_second"] = images / (now - self._since)
        metrics |= {"train_loss": loss / total, "train_accuracy": correct / total}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, trainer.global_step)
        pl_module.log_dict(metrics, logger=False, rank_zero_only=True)  # for other callbacks, such as the progress
        self._since, self._images = time.perf_counter() - pl_module.evaluation_seconds, len(batch[1])

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self.gradient_norm and trainer.global_step % self.every_n_steps == 0:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients).item()
            for logger in trainer.loggers:
                logger.log_metrics({"gradient_norm": norm}, trainer.global_step)
