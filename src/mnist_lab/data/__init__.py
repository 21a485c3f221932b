"""Images and labels as tensors in memory; knows nothing of models."""

from mnist_lab.data.batches import Batches
from mnist_lab.data.datamodule import DigitsDataModule

__all__ = ["Batches", "DigitsDataModule"]
