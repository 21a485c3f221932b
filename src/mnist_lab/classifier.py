"""The LightningModule: a network, a loss, an optimiser and a schedule become training and evaluation steps."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mnist_lab.networks.layers import WhiteningConv2d, mean_over_shifts
from mnist_lab.schedules import Schedule

Batch = tuple[Tensor, Tensor]
_PREPARED_FROM = 1000  # training images, for filters that are made from them


@dataclass
class CrossEntropy:
    """Cross-entropy of logits (batch, 10) and labels (batch,), averaged or summed over the batch.

    ``label_smoothing`` takes the label for right with 1 minus that probability, and every digit alike with the rest.
    ``written_out`` computes -sum(y log softmax(z)) as the tutorials first write it. float32 rounds a small probability
    to 0, its logarithm is -inf, and 0 times that is NaN: a lesson, not for use.
    """

    reduction: str = "mean"
    written_out: bool = False
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction={self.reduction}: must be mean or sum")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}: must be at least 0 and below 1")
        if self.label_smoothing and self.written_out:
            raise ValueError(f"label_smoothing={self.label_smoothing}: the written-out form has none; leave it at 0")

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        if not self.written_out:
            options = {"reduction": self.reduction, "label_smoothing": self.label_smoothing}
            return F.cross_entropy(logits, labels, **options)  # type: ignore[arg-type]
        one_hot = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        each = -(one_hot * torch.log(torch.softmax(logits, dim=1))).sum(dim=1)
        return each.mean() if self.reduction == "mean" else each.sum()


class DigitClassifier(pl.LightningModule):
    """Trains ``network``: images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10).

    ``optimizer`` makes an optimiser from parameters; ``schedule`` sets its learning rate. Evaluation logs, for each
    part of the data, the mean cross-entropy of an image, the accuracy and the number of errors, whatever form the
    training loss has: ``<part>_loss``, ``<part>_accuracy``, ``<part>_errors``. ``eval_shifts`` is how far images are
    shifted for the mean of the network's answers that is evaluated, in pixels.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        schedule: Schedule,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        channels_last: bool = True,
        eval_shifts: int = 0,
    ):
        super().__init__()
        # The same mathematics in the memory format that CPU and GPU convolutions prefer.
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network
        self.make_optimizer, self.schedule, self.loss = optimizer, schedule, loss or CrossEntropy()
        self.eval_shifts = eval_shifts
        self.example_input_array = torch.zeros(1, 1, 28, 28)
        self._ranks = 1  # processes that train together
        self._sums: dict[str, Tensor] = {}
        self.last: dict[str, float] = {}  # the metrics of the last evaluation
        self.best: dict[str, tuple[float, int]] = {}  # for each part watched, the best accuracy so far and its step
        self.evaluated_at = -1  # the step of the last evaluation
        self.evaluation_seconds = 0.0  # spent evaluating during training
        self._random_state: list[Tensor] = []  # of the checkpoint, so that dropout draws what it would have drawn

    def forward(self, images: Tensor) -> Tensor:
        return mean_over_shifts(self.network, images, self.eval_shifts)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        if self._ranks == 1:
            return self.loss(self.network(images), labels)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        torch.manual_seed(hash((data.seed, batch_idx, self.global_rank)))  # a rank's dropout is its own, and resumes
        logits = self.network(images)
        share = self.loss(logits, labels) if len(labels) else logits.sum()  # 0 where there are more ranks than images
        return self._over_ranks(share, len(labels))

    def _over_ranks(self, share: Tensor, images: int) -> Tensor:
        """The loss of the whole batch, the same on each rank, from that of this rank's share of it.

        Its gradients, averaged over the ranks as DDP does, are the whole batch's, however the shares differ in size.
        """
        mean = getattr(self.loss, "reduction", "mean") == "mean"
        summed = share * images if mean else share
        totals = torch.stack([summed.detach(), torch.full_like(summed, images)])
        torch.distributed.all_reduce(totals)
        divisor = totals[1] if mean else 1
        scaled = summed * self._ranks / divisor
        return scaled + (totals[0] / divisor - scaled.detach())

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer([p for p in self.parameters() if p.requires_grad])
        if type(self.schedule) is Schedule:
            return optimizer
        base_lr = optimizer.param_groups[0]["lr"]
        unit = 1 if self.schedule.interval == "step" else self.trainer.datamodule.steps_per_epoch  # type: ignore[attr-defined]
        total = math.ceil(self.trainer.max_steps / unit)
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(step // unit, base_lr, total) / base_lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Tensor:
        """float64 (3,): the summed cross-entropy, the number recognised, the number of images."""
        images, labels = batch
        logits = self(images).float()
        loss = F.cross_entropy(logits, labels, reduction="sum")
        correct = (logits.argmax(dim=1) == labels).sum()
        sums = torch.stack([loss, correct.float(), torch.full_like(loss, len(labels))])
        return (sums.cpu() if sums.device.type == "mps" else sums).double()  # Apple's GPUs have no float64

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        part = self.trainer.datamodule.watched[dataloader_idx]  # type: ignore[attr-defined]
        self._sums[part] = self._sums.get(part, 0) + self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._sums["test"] = self._sums.get("test", 0) + self.evaluate(batch)

    def on_validation_start(self) -> None:
        self._evaluation_began = time.perf_counter()

    def on_validation_epoch_end(self) -> None:
        self._log_sums()
        self.evaluated_at = self.global_step
        for name, accuracy in self.last.items():
            part, _, kind = name.partition("_")
            if kind == "accuracy" and (part not in self.best or accuracy > self.best[part][0]):
                self.best[part] = accuracy, self.global_step
        self.evaluation_seconds += time.perf_counter() - self._evaluation_began

    def on_test_epoch_end(self) -> None:
        self._log_sums()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        checkpoint["best"], checkpoint["normalize"] = self.best, [data.mean, data.std]
        checkpoint["random_state"] = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
        if self.device.type == "mps":
            checkpoint["random_state_mps"] = torch.mps.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best, self._random_state = checkpoint["best"], checkpoint["random_state"]
        self._random_state_mps = checkpoint.get("random_state_mps")

    def setup(self, stage: str) -> None:
        for layer in self.network.modules():
            if stage == "fit" and isinstance(layer, WhiteningConv2d):  # a checkpoint, loaded later, has its own filters
                layer.prepare(self.trainer.datamodule.sample(_PREPARED_FROM))  # type: ignore[attr-defined]

    def on_train_start(self) -> None:
        self._ranks = self.trainer.world_size
        if self._random_state:
            cpu, *gpus = self._random_state
            torch.set_rng_state(cpu)
            torch.cuda.set_rng_state_all(gpus[: torch.cuda.device_count()])
            if self.device.type == "mps" and self._random_state_mps is not None:
                torch.mps.set_rng_state(self._random_state_mps)

    def _log_sums(self) -> None:
        self.last = {}
        for part, sums in self._sums.items():
            loss, correct, total = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
            values = {"loss": loss / total, "accuracy": correct / total, "errors": total - correct}
            self.last |= {f"{part}_{name}": value for name, value in values.items()}
        self._sums = {}
        for logger in self.trainer.loggers:
            logger.log_metrics(self.last, self.global_step)
        exact = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.last.items()}
        self.log_dict(exact, logger=False)
