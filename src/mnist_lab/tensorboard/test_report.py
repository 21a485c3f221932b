"""What TensorBoard shows of the test: the worst digits, the confusion matrix, precision and recall, the projector."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mnist_lab.mosaic import Array
from mnist_lab.tensorboard import images
from mnist_lab.tensorboard.logger import TensorBoard, find_logger

_PROJECTOR = """embeddings {
  tensor_name: "last_hidden_layer" tensor_path: "projector/points.tsv" metadata_path: "projector/labels.tsv"
  sprite { image_path: "projector/digits.png" single_image_dim: 28 single_image_dim: 28 }
}
"""


class TestReport(pl.Callback):
    """Collects the network's outputs while the test images are evaluated, and shows them in TensorBoard.

    ``worst``: this many digits of the greatest cross-entropy, the worst first (0: none). ``confusion``: the confusion
    matrix. ``pr_curves``: precision and recall of each class against the others. ``projector``: this many digits, the
    first of the test set, in the embedding projector, by the inputs of the network's last linear layer (0: none).
    """

    __test__ = False  # not a test, though pytest would take it for one by its name
    in_sweeps = False

    def __init__(self, worst: int = 50, confusion: bool = True, pr_curves: bool = True, projector: int = 1000):
        for name, number in {"worst": worst, "projector": projector}.items():
            if number < 0:
                raise ValueError(f"{name}={number}: must not be negative")
        self.worst, self.confusion, self.pr_curves, self.projector = worst, confusion, pr_curves, projector

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._logits: list[Tensor] = []  # of each batch
        self._hidden: list[Tensor] = []  # the inputs of the last linear layer, of the first batches
        self._hooks: list[RemovableHandle] = []
        if not any(isinstance(logger, TensorBoard) for logger in trainer.loggers):  # a test alone, of a finished run
            return

        inputs_of_last: list[Tensor] = []  # where shifted copies are evaluated, the last are the images themselves

        def note_batch(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._logits.append(output.float().cpu())
            if sum(len(batch) for batch in self._hidden) < self.projector:
                self._hidden += [batch.float().cpu() for batch in inputs_of_last]

        def note_hidden(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            inputs_of_last[:] = inputs

        self._hooks = [pl_module.register_forward_hook(note_batch)]
        linear = [layer for layer in pl_module.network.modules() if isinstance(layer, nn.Linear)]
        self._hooks += [layer.register_forward_pre_hook(note_hidden) for layer in linear[-1:]]

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring together what the processes have seen, and show it unless it contains NaN or Inf."""
        if not self._hooks:
            return
        for hook in self._hooks:
            hook.remove()
        logits, hidden = (gathered(batches, trainer.world_size) for batches in (self._logits, self._hidden))
        logger = find_logger(trainer)
        if logger is None or not logits.isfinite().all():
            return
        step, predicted = pl_module.global_step, logits.argmax(dim=1)
        pixels, labels = (part[: len(logits)] for part in trainer.datamodule.test)  # type: ignore[attr-defined]
        if self.worst:
            logger.add_picture("test/worst_digits", worst_digits(pixels, labels, logits, self.worst), step)
        if self.confusion:
            logger.add_picture("test/confusion", images.confusion(confusion(labels, predicted)), step)
        if self.pr_curves:
            add_pr_curves(logger.experiment, labels, logits, step)
        if n := min(len(hidden), self.projector):
            write_projector(Path(logger.log_dir), hidden[:n], pixels[:n], labels[:n], predicted[:n])


def gathered(batches: list[Tensor], world_size: int) -> Tensor:
    """The rows of all processes, in the order of the data. Each process has its part of each batch."""
    of_ranks: list[Any] = [batches] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(of_ranks, batches)
    return torch.cat([torch.empty(0), *(part for batch in zip(*of_ranks, strict=False) for part in batch)])


def worst_digits(pixels: Tensor, labels: Tensor, logits: Tensor, n: int) -> Array:
    """The picture of the ``n`` digits with the greatest cross-entropy, the worst first."""
    losses, worst = F.cross_entropy(logits, labels, reduction="none").topk(min(n, len(labels)))
    title = f"the {len(worst)} of {len(labels):,} with the greatest cross-entropy, {losses[0]:.1f} to {losses[-1]:.1f}"
    return images.digits(pixels[worst], labels[worst], logits[worst].argmax(dim=1), title)


def confusion(labels: Tensor, predicted: Tensor) -> Tensor:
    """How often (10, 10) each label, in rows, was predicted to be each digit, in columns."""
    return torch.bincount(labels * 10 + predicted, minlength=100).view(10, 10)


def add_pr_curves(writer: Any, labels: Tensor, logits: Tensor, step: int) -> None:
    """Precision and recall of each digit against all others, at 127 thresholds of its probability."""
    probabilities = logits.softmax(dim=1).numpy()
    for digit in range(10):
        writer.add_pr_curve(f"precision_recall/{digit}", (labels == digit).numpy(), probabilities[:, digit], step)


def write_projector(run_dir: Path, points: Tensor, pixels: Tensor, labels: Tensor, predicted: Tensor) -> None:
    """Write points (n, dimensions) for the embedding projector, into ``run_dir/projector``.

    Images (n, 28, 28) stand for the points, which can be coloured by label, predicted digit, and whether that is
    correct. Coordinates are rounded to a thousandth of their range.
    """
    low, high = points.min().item(), points.max().item()
    # The projector reads text. SummaryWriter.add_embedding formats every number, 1.1 s for 1,000 points of 1,024
    # dimensions; to look them up among 1,001 texts takes 0.06 s.
    texts = np.array([f"{low + (high - low) * i / 1000:.4g}" for i in range(1001)], dtype=object)
    steps = ((points - low) / max(high - low, 1e-12) * 1000).round().long().numpy()
    pairs = zip(labels.tolist(), predicted.tolist(), strict=True)
    about = [("label", "predicted", "correct"), *((f"{a}", f"{b}", "yes" if a == b else "no") for a, b in pairs)]
    folder = run_dir / "projector"
    folder.mkdir(exist_ok=True)
    for name, rows in {"points.tsv": texts[steps].tolist(), "labels.tsv": about}.items():
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    images.sprite(pixels).save(folder / "digits.png")
    (run_dir / "projector_config.pbtxt").write_text(_PROJECTOR, encoding="utf-8")
