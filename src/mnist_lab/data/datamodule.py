"""The LightningDataModule: a data set split into train, validation and test, served as batches from memory."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from mnist_lab.data.batches import Batches
from mnist_lab.data.sources import Digits, load


class DigitsDataModule(pl.LightningDataModule):
    """Loads ``dataset`` once and serves it.

    ``validation_size`` images are carved from train by ``split_seed`` (None: the data set's usual number; 0: none, and
    all are trained on). ``watch_test`` adds the test set to what is evaluated during training, as a curve only:
    nothing is chosen by it. ``dtype`` is how images are held: ``uint8`` takes a quarter of ``float32``'s memory.
    ``normalize`` subtracts the training images' mean and divides by their standard deviation.

    Raises ValueError for numbers out of range; UserError, from :func:`load`, where the data cannot be had.
    """

    def __init__(
        self,
        dataset: str,
        root: str,
        seed: int = 0,
        batch_size: int = 100,
        eval_batch_size: int = 1000,
        validation_size: int | None = None,
        split_seed: int = 0,
        watch_test: bool = False,
        drop_last: bool = False,
        dtype: str = "uint8",
        normalize: bool = False,
        download: bool = True,
        mirrors: list[str] | None = None,
        timeout: float = 10.0,
        generated: list[int] | None = None,
    ):
        super().__init__()
        for name, number in {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "timeout": timeout}.items():
            if number <= 0:
                raise ValueError(f"{name}={number}: must be above 0")
        if validation_size is not None and validation_size < 0:
            raise ValueError(f"validation_size={validation_size}: must not be negative")
        if dtype not in ("uint8", "float32"):
            raise ValueError(f"dtype={dtype}: must be uint8 or float32")
        if generated is not None and len(generated) != 2:
            raise ValueError(f"generated={generated}: must be two numbers, of training and of test images")
        self.dataset, self.root, self.seed = dataset, Path(root).expanduser().absolute(), seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.validation_size, self.split_seed, self.watch_test = validation_size, split_seed, watch_test
        self.drop_last, self.dtype, self.normalize = drop_last, dtype, normalize
        self.download, self.mirrors, self.timeout = download, mirrors, timeout
        self.generated = (generated[0], generated[1]) if generated else (2000, 500)
        self.digits: Digits | None = None
        self.mean, self.std = 0.0, 1.0

    def setup(self, stage: str | None = None) -> None:
        """Load and split, once."""
        if self.digits is not None:
            return
        digits = load(self.dataset, self.root, self.download, self.mirrors, self.timeout, self.generated)
        size = digits.validation_size if self.validation_size is None else self.validation_size
        held_out, kept = split(digits.train_labels, size, self.split_seed, digits.by_class)
        if len(kept) < self.batch_size:
            raise ValueError(f"batch_size={self.batch_size}: {digits.name} has only {len(kept)} training images")
        self.val = self._held(digits.train_images[held_out]), digits.train_labels[held_out]
        train_images = digits.train_images.index_select(0, kept) if size else digits.train_images
        self.train = self._held(train_images), digits.train_labels[kept]
        self.test = self._held(digits.test_images), digits.test_labels
        if self.normalize:
            self.mean, self.std = mean_and_std(train_images)
        self.digits = digits

    def _held(self, images: Tensor) -> Tensor:
        return images if self.dtype == "uint8" else images.float() / 255

    @property
    def sizes(self) -> dict[str, int]:
        """How many images train, validation and test hold."""
        return {name: len(getattr(self, name)[1]) for name in ("train", "val", "test")}

    @property
    def watched(self) -> list[str]:
        """What is evaluated during training, in the order of :meth:`val_dataloader`."""
        return (["val"] if self.sizes["val"] else []) + (["test"] if self.watch_test else [])

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every training image is seen once."""
        return self.train_dataloader().per_pass

    def train_dataloader(self) -> Batches:
        """Shuffled batches of ``batch_size``, without end: steps are the measure of a run."""
        return self._batches(self.train, self.batch_size, seed=self.seed, drop_last=self.drop_last)

    def val_dataloader(self) -> list[Batches]:
        """What is watched during training, in order; empty where nothing is."""
        return [self._batches(getattr(self, name), self.eval_batch_size) for name in self.watched]

    def test_dataloader(self) -> Batches:
        """The test images in order."""
        return self._batches(self.test, self.eval_batch_size)

    def _batches(
        self, part: tuple[Tensor, Tensor], batch_size: int, seed: int | None = None, drop_last: bool = False
    ) -> Batches:
        strategy = self.trainer.strategy if self.trainer else None
        device = strategy.root_device if strategy else torch.device("cpu")
        return Batches(
            part[0].to(device),
            part[1].to(device),
            batch_size,
            seed=seed,
            drop_last=drop_last,
            mean=self.mean,
            std=self.std,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )


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
    if by_class:
        held_out = torch.cat([order[labels[order] == digit][: size // 10] for digit in range(10)])
    else:
        held_out = order[:size]
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[held_out] = False
    return held_out, rest.nonzero().flatten()
