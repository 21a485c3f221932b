"""What the test shows: the worst digits, what is taken for what, precision and recall, the last hidden layer."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mnist_lab import drawing
from mnist_lab.callbacks.moments import add_picture, has_tensorboard, writer
from mnist_lab.classifier import Batch, DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.data.batches import Batches
from mnist_lab.files import whole

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Outcome(pl.Callback):
    """Notes what the network makes of the test images while they are tested, and shows it in TensorBoard.

    ``worst``: so many digits of the greatest cross-entropy, the worst first (0: none). ``confusion``: the confusion
    matrix. ``pr_curves``: precision and recall of each class against the others. ``projector``: so many digits, the
    first of the test set, in the embedding projector, by the inputs of the network's last linear layer (0: none).
    """

    def __init__(self, worst: int = 50, confusion: bool = True, pr_curves: bool = True, projector: int = 1000):
        for name, number in {"worst": worst, "projector": projector}.items():
            if number < 0:
                raise ValueError(f"{name}={number}: must not be negative")
        self.worst, self.confusion, self.pr_curves, self.projector = worst, confusion, pr_curves, projector
        self._hooks: list[RemovableHandle] = []
        self._now: dict[str, Tensor] = {}  # what the hooks have seen of the current batch
        self._all: dict[str, Tensor] = {}  # the same of the whole test set, a row an image, zeros where not seen

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to the network."""
        assert isinstance(pl_module, DigitClassifier)
        self._all = {}
        if not has_tensorboard(trainer):
            return

        def note_logits(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._now["logits"] = output.float()

        def note_hidden(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._now["hidden"] = inputs[0].float()

        self._hooks = [pl_module.network.register_forward_hook(note_logits)]
        linear = [layer for layer in pl_module.network.modules() if isinstance(layer, nn.Linear)]
        if linear and self.projector:
            self._hooks.append(linear[-1].register_forward_hook(note_hidden))

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Put what was seen where it belongs."""
        if not self._hooks:
            return
        loader = trainer.test_dataloaders
        assert isinstance(loader, Batches)
        rows, total = loader.place(batch_idx), len(loader.labels)
        self._now["seen"] = torch.ones(len(batch[1]), 1, device=batch[1].device)
        for name, values in self._now.items():
            size = min(self.projector, total) if name == "hidden" else total
            if name not in self._all:
                self._all[name] = values.new_zeros(size, values.shape[1])
            into = self._all[name][rows]  # shorter at the end of what the projector takes
            into.copy_(values[: len(into)])

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring together what the processes have seen, and show it."""
        self._leave()
        # Each image was seen by one process; in the others its row is zeros.
        whole_set = {name: trainer.strategy.reduce(rows, reduce_op="sum").cpu() for name, rows in self._all.items()}
        self._all = {}
        to, data = writer(trainer), trainer.datamodule  # type: ignore[attr-defined]
        if to is None or not whole_set or not whole_set["logits"].isfinite().all():
            return
        seen = whole_set["seen"][:, 0].nonzero().flatten()
        logits, labels, step = whole_set["logits"][seen], data.test[1][seen], pl_module.global_step
        if self.worst:
            self._show_worst(to, data, seen, logits, step)
        if self.confusion:
            add_picture(to, "test/confusion", drawing.confusion(confusion(labels, logits.argmax(dim=1))), step)
        if self.pr_curves:
            add_pr_curves(to, labels, logits, step)
        if "hidden" in whole_set:
            hidden = whole_set["hidden"][: len(seen)]
            n = len(hidden)
            project(Path(to.log_dir), hidden, _pixels(data, seen[:n]), labels[:n], logits[:n].argmax(dim=1))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Listen no more."""
        self._leave()

    def _leave(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._now = [], {}

    def _show_worst(self, to: "SummaryWriter", data: DigitsDataModule, seen: Tensor, logits: Tensor, step: int) -> None:
        labels = data.test[1][seen]
        losses, worst = F.cross_entropy(logits, labels, reduction="none").topk(min(self.worst, len(seen)))
        title = (
            f"the {len(worst)} of {len(seen):,} with the greatest cross-entropy, {losses[0]:.1f} to {losses[-1]:.1f}"
        )
        drawn = drawing.digits(_pixels(data, seen[worst]), labels[worst], logits[worst].argmax(dim=1), title)
        add_picture(to, "test/worst_digits", drawn, step)


def _pixels(data: DigitsDataModule, which: Tensor) -> Tensor:
    """Test images (n, 28, 28) in [0, 1]."""
    images = data.test[0][which]
    return images.float() / 255 if images.dtype == torch.uint8 else images


def confusion(labels: Tensor, computed: Tensor) -> Tensor:
    """How often (10, 10) each label, a row, was computed to be each digit, a column."""
    return torch.bincount(labels * 10 + computed, minlength=100).view(10, 10)


def add_pr_curves(to: "SummaryWriter", labels: Tensor, logits: Tensor, step: int) -> None:
    """Precision and recall of each digit against all others, at 127 thresholds of its probability."""
    probabilities = logits.softmax(dim=1).numpy()
    for digit in range(10):
        to.add_pr_curve(f"precision_recall/{digit}", (labels == digit).numpy(), probabilities[:, digit], step)


def project(folder: Path, points: Tensor, images: Tensor, labels: Tensor, computed: Tensor) -> None:
    """Hand points (n, dimensions) to the embedding projector of the run directory ``folder``.

    The files lie in ``projector/``; images (n, 28, 28) in [0, 1] stand for the points, which can be coloured by label,
    computed label and whether they are the same. Coordinates are rounded to a 1/1000 of their range.
    """
    low, high = points.min().item(), points.max().item()
    # The projector reads text. Formatting a million numbers takes half a second, looking them up a tenth of that.
    texts = np.array([f"{low + (high - low) * i / 1000:.4g}" for i in range(1001)], dtype=object)
    steps = ((points - low) / max(high - low, 1e-12) * 1000).round().long().numpy()
    about = [("label", "computed", "right")]
    about += [
        (str(a), str(b), "yes" if a == b else "no") for a, b in zip(labels.tolist(), computed.tolist(), strict=True)
    ]
    config = (
        'embeddings {\n  tensor_name: "last_hidden_layer"\n  tensor_path: "projector/points.tsv"\n'
        '  metadata_path: "projector/labels.tsv"\n'
        '  sprite {\n    image_path: "projector/digits.png"\n'
        "    single_image_dim: 28\n    single_image_dim: 28\n  }\n}"
    )
    _write(folder / "projector" / "points.tsv", ["\t".join(row) for row in texts[steps].tolist()])
    _write(folder / "projector" / "labels.tsv", ["\t".join(row) for row in about])
    with whole(folder / "projector" / "digits.png") as partial:
        drawing.sprite(images).save(partial, "PNG")
    _write(folder / "projector_config.pbtxt", [config])


def _write(path: Path, lines: list[str]) -> None:
    with whole(path) as partial:
        partial.write_text("\n".join(lines) + "\n")
