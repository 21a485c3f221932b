"""The LightningModule: a network, a loss, an optimiser and a schedule become training and evaluation steps."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mnist_lab.schedules import Schedule

Batch = tuple[Tensor, Tensor]


class CrossEntropy:
    """Cross-entropy of logits (batch, 10) and labels (batch,), averaged or summed over the batch.

    ``written_out`` computes -sum(y log softmax(z)) as the tutorials first write it. float32 rounds a small probability
    to 0, its logarithm is -inf, and 0 times that is NaN: a lesson, not for use.
    """

    def __init__(self, reduction: str = "mean", written_out: bool = False):
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction={reduction}: must be mean or sum")
        self.reduction, self.written_out = reduction, written_out

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar."""
        if not self.written_out:
            return F.cross_entropy(logits, labels, reduction=self.reduction)
        one_hot = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        each = -(one_hot * torch.log(torch.softmax(logits, dim=1))).sum(dim=1)
        return each.mean() if self.reduction == "mean" else each.sum()


class DigitClassifier(pl.LightningModule):
    """Trains ``network`` (images (batch, 1, 28, 28) -> logits (batch, 10)).

    ``optimizer`` makes an optimiser from parameters; ``schedule`` sets its rate. Evaluation reports the mean
    cross-entropy for an image and the share of images recognised, whatever form the training loss has, under
    ``<part>_loss``, ``<part>_accuracy`` and ``<part>_errors``.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        schedule: Schedule,
        loss: CrossEntropy | None = None,
        channels_last: bool = True,
    ):
        super().__init__()
        # The same mathematics in the order of memory that CPU and GPU convolutions prefer.
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network
        self.make_optimizer, self.schedule, self.loss = optimizer, schedule, loss or CrossEntropy()
        self.example_input_array = torch.zeros(1, 1, 28, 28)
        self._tally: dict[str, Tensor] = {}
        self.last: dict[str, float] = {}  # the metrics of the last evaluation
        self.best: dict[str, tuple[float, int]] = {}  # for each part watched, the best accuracy so far and its step
        self.evaluated_at = -1  # the step of the last evaluation
        self.evaluation_seconds = 0.0  # spent evaluating during training
        self._random_state_to_restore: list[Tensor] | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, labels = batch
        loss = self.loss(self.network(images), labels)
        # Several processes average their gradients; a sum over the batch must stay one.
        return loss * self.trainer.world_size if self.loss.reduction == "sum" else loss

    def configure_optimizers(self) -> Any:
        """The optimiser, and a scheduler unless the rate is constant."""
        optimizer = self.make_optimizer([p for p in self.parameters() if p.requires_grad])
        if type(self.schedule) is Schedule:
            return optimizer
        peak = optimizer.param_groups[0]["lr"]
        unit = 1 if self.schedule.interval == "step" else self.trainer.datamodule.steps_per_epoch  # type: ignore[attr-defined]
        total = math.ceil(self.trainer.max_steps / unit)
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(step // unit, peak, total) / peak)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Tensor:
        """float64 (3,): the summed cross-entropy, the number recognised, the number of images; dropout off."""
        images, labels = batch
        logits = self.network(images).float()
        loss = F.cross_entropy(logits, labels, reduction="sum").double()
        correct = (logits.argmax(dim=1) == labels).sum()
        return torch.stack([loss, correct.double(), torch.full_like(loss, len(labels))])

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Evaluate one batch of what is watched during training."""
        self._count(self.trainer.datamodule.watched[dataloader_idx], batch)  # type: ignore[attr-defined]

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate one batch of the test set."""
        self._count("test", batch)

    def on_validation_start(self) -> None:
        """Note the time."""
        self._evaluation_began = time.perf_counter()

    def on_validation_epoch_end(self) -> None:
        """Log what was counted, and keep the best of it."""
        self._log_tally()
        self.evaluated_at = self.global_step
        for name, accuracy in self.last.items():
            part, _, kind = name.partition("_")
            if kind == "accuracy" and (part not in self.best or accuracy > self.best[part][0]):
                self.best[part] = accuracy, self.global_step
        self.evaluation_seconds += time.perf_counter() - self._evaluation_began

    def on_test_epoch_end(self) -> None:
        """Log what was counted."""
        self._log_tally()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the best so far and the random state, for a run that goes on."""
        checkpoint["best"] = self.best
        checkpoint["random_state"] = _random_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the best so far from a checkpoint, and the random state for when training begins."""
        self.best = dict(checkpoint["best"])
        self._random_state_to_restore = checkpoint["random_state"]

    def on_train_start(self) -> None:
        """Go on with the random state of the checkpoint, so that dropout draws what it would have drawn."""
        if self._random_state_to_restore is not None:
            cpu, *gpus = self._random_state_to_restore
            torch.set_rng_state(cpu)
            for device, state in enumerate(gpus[: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(state, device)

    def _count(self, part: str, batch: Batch) -> None:
        counted = self.evaluate(batch)
        self._tally[part] = self._tally[part] + counted if part in self._tally else counted

    def _log_tally(self) -> None:
        self.last = {}
        for part, counted in self._tally.items():
            loss, correct, total = self.trainer.strategy.reduce(counted, reduce_op="sum").tolist()
            values = {"loss": loss / total, "accuracy": correct / total, "errors": total - correct}
            self.last |= {f"{part}_{name}": value for name, value in values.items()}
        self._tally = {}
        for logger in self.trainer.loggers:
            logger.log_metrics(self.last, self.global_step)
        self.log_dict(
            {name: torch.tensor(value, dtype=torch.float64) for name, value in self.last.items()}, logger=False
        )


def _random_state() -> list[Tensor]:
    """Of torch's generators: the CPU's, then each GPU's."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
