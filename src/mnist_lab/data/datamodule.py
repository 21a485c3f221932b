"""The LightningDataModule: a data set split into train, validation and test, served as batches from memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from mnist_lab.data.batches import Augmentation, Batches
from mnist_lab.data.sources import load


@dataclass(eq=False)
class DigitsDataModule(pl.LightningDataModule):
    """Loads ``dataset`` once and serves it.

    ``validation_size`` images are carved from train by ``split_seed`` (None: the data set's usual number; 0: none, and
    all are trained on). ``watch_test`` adds the test set to what is evaluated during training, as a curve only:
    nothing is chosen by it. ``dtype`` is how images are held: ``uint8`` takes a quarter of ``float32``'s memory.
    ``normalize`` subtracts the training images' mean and divides by their standard deviation. ``augment`` changes the
    training images, and never those that are evaluated.

    Raises ValueError for numbers out of range; UserError, from :func:`load`, where the data cannot be had.
    """

    dataset: str
    root: str
    seed: int = 0
    batch_size: int = 100
    eval_batch_size: int = 1000
    validation_size: int | None = None
    split_seed: int = 0
    watch_test: bool = False
    drop_last: bool = False
    dtype: str = "uint8"
    normalize: bool = False
    download: bool = True
    mirrors: list[str] | None = None
    timeout: float = 10.0
    generated: list[int] | None = None
    augment: Augmentation | None = None

    def __post_init__(self) -> None:
        super().__init__()
        for name in ("batch_size", "eval_batch_size", "timeout"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")
        if self.validation_size is not None and self.validation_size < 0:
            raise ValueError(f"validation_size={self.validation_size}: must not be negative")
        if self.dtype not in ("uint8", "float32"):
            raise ValueError(f"dtype={self.dtype}: must be uint8 or float32")
        if self.generated is not None and len(self.generated) != 2:
            raise ValueError(f"generated={self.generated}: must be two numbers, of training and of test images")
        self.mean, self.std = 0.0, 1.0

    def setup(self, stage: str | None = None) -> None:
        """Load and split, once."""
        if hasattr(self, "digits"):
            return
        root = Path(self.root).expanduser().absolute()
        options = {"download": self.download, "mirrors": self.mirrors, "timeout": self.timeout}
        digits = load(self.dataset, root, self.generated, **options)
        size = digits.validation_size if self.validation_size is None else self.validation_size
        held_out, kept = split(digits.train_labels, size, self.split_seed, digits.by_class)
        if len(kept) < self.batch_size:
            raise ValueError(f"batch_size={self.batch_size}: {digits.name} has only {len(kept)} training images")
        train_images = digits.train_images.index_select(0, kept) if size else digits.train_images
        if self.normalize:
            self.mean, self.std = mean_and_std(train_images)
        self.train = self._held(train_images), digits.train_labels[kept]
        self.val = self._held(digits.train_images[held_out]), digits.train_labels[held_out]
        self.test = self._held(digits.test_images), digits.test_labels
        self.sizes = {"train": len(kept), "val": len(held_out), "test": len(digits.test_labels)}
        # What is evaluated during training, in the order of val_dataloader.
        self.watched = (["val"] if size else []) + (["test"] if self.watch_test else [])
        self.steps_per_epoch = self.train_dataloader().per_epoch  # in which every training image is seen once
        self.digits = digits

    def _held(self, images: Tensor) -> Tensor:
        return images if self.dtype == "uint8" else images.float() / 255

    def train_dataloader(self) -> Batches:
        """Shuffled batches of ``batch_size``, without end: steps are the measure of a run."""
        options = {"seed": self.seed, "drop_last": self.drop_last, "augment": self.augment}
        return self._batches(self.train, self.batch_size, **options)

    def sample(self, count: int) -> Tensor:
        """float32 (n, 1, 28, 28), n at most ``count``: training images from all over the set, as batches hold them."""
        step = -(-self.sizes["train"] // count)  # a set may be sorted by class
        images, labels = (part[::step] for part in self.train)
        return next(iter(Batches(images, labels, count, mean=self.mean, std=self.std)))[0]

    def val_dataloader(self) -> list[Batches]:
        """What is watched during training, in order; empty where nothing is."""
        return [self._batches(getattr(self, name), self.eval_batch_size) for name in self.watched]

    def test_dataloader(self) -> Batches:
        """The test images in order."""
        return self._batches(self.test, self.eval_batch_size)

    def _batches(self, part: tuple[Tensor, Tensor], batch_size: int, **options: Any) -> Batches:
        if self.trainer is not None:
            part = part[0].to(self.trainer.strategy.root_device), part[1].to(self.trainer.strategy.root_device)
            options |= {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        return Batches(*part, batch_size, mean=self.mean, std=self.std, **options)


def mean_and_std(images: Tensor) -> tuple[float, float]:
    """Of the intensities, in [0, 1], of images of uint8."""
    counts = torch.bincount(images.flatten(), minlength=256).double()
    intensities = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts @ intensities) / counts.sum()
    variance = counts @ (intensities - mean).square() / (counts.sum() - 1)
    return mean.item(), variance.sqrt().item()


def split(labels: Tensor, size: int, seed: int, by_class: bool) -> tuple[Tensor, Tensor]:
    """Positions of ``size`` held-out images, drawn by ``seed``, and of the rest in their order.

    ``by_class`` holds out the same number of each of the ten classes. Raises ValueError where that cannot be.
    """
    if size >= len(labels):
        raise ValueError(f"validation_size={size}: must leave some of the {len(labels)} training images to train on")
    if by_class and size % 10:
        raise ValueError(f"validation_size={size}: must be a multiple of 10, the same number of each class")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    held_out = order[:size]
    if by_class:
        held_out = torch.cat([order[labels[order] == digit][: size // 10] for digit in range(10)])
    rest = torch.ones(len(labels)).index_fill(0, held_out, 0)
    return held_out, rest.nonzero().flatten()
