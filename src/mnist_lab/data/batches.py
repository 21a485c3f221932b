"""Minibatches cut from tensors in memory: no Python for a single image, no worker processes."""

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_BLOCK = 1000  # images made ready at a time: enough to spread the cost of a call, few enough to stay in the cache


class Batches:
    """Iterates over (images float32 (b, 1, 28, 28), labels int64 (b,)): one pass over the data in order.

    With a ``seed`` it never ends: one shuffled pass follows another, all drawn from one generator, so the seed fixes
    the order of every pass. A batch holds ``batch_size`` images over all processes together: each of ``world_size``
    ranks takes its share of each batch, so the run does not depend on their number. Images of uint8 become
    ``(value / 255 - mean) / std``.

    ``state_dict`` says where in which pass it stands; Lightning keeps it in checkpoints.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        *,
        seed: int | None = None,
        drop_last: bool = False,
        mean: float = 0.0,
        std: float = 1.0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.images, self.labels, self.batch_size, self.drop_last = images, labels, batch_size, drop_last
        self.mean, self.std, self.rank, self.world_size = mean, std, rank, world_size
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._pass_state = self._generator.get_state() if self._generator else None
        self._served = 0  # batches of this pass handed out so far
        self._resume_at = 0

    @property
    def per_pass(self) -> int:
        """Batches in one pass over the data."""
        whole, rest = divmod(len(self.labels), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __len__(self) -> int:
        return sys.maxsize if self._generator else self.per_pass

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._generator is None:
            yield from self._pass(None)
        while self._generator is not None:
            self._pass_state = self._generator.get_state()
            order = torch.randperm(len(self.labels), generator=self._generator)
            yield from self._pass(order.to(self.labels.device))

    def _pass(self, order: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        start, self._resume_at = self._resume_at, 0
        self._served = start
        blocks = max(_BLOCK // self.batch_size, 1)
        for block in range(start, self.per_pass, blocks):
            batches = range(block, min(block + blocks, self.per_pass))
            first, last = batches[0] * self.batch_size, min((batches[-1] + 1) * self.batch_size, len(self.labels))
            images, labels = (
                part[first:last] if order is None else part.index_select(0, order[first:last])  # 9 times as fast as []
                for part in (self.images, self.labels)
            )
            cut = torch.split(self._ready(images), self.batch_size), torch.split(labels, self.batch_size)
            for batch in zip(*cut, strict=True):
                self._served += 1
                if self.world_size > 1:
                    part = self._share(0, len(batch[1]))
                    yield batch[0][part], batch[1][part]
                else:
                    yield batch

    def place(self, batch: int) -> slice:
        """Where in the data this rank's part of the batch number ``batch`` lies, where they are served in order."""
        first = batch * self.batch_size
        return self._share(first, min(first + self.batch_size, len(self.labels)))

    def _share(self, low: int, high: int) -> slice:
        """This rank's part of the batch from ``low`` to ``high``; shares differ by one image at most."""
        size = high - low
        return slice(low + size * self.rank // self.world_size, low + size * (self.rank + 1) // self.world_size)

    def _ready(self, images: Tensor) -> Tensor:
        images, ours = images.unsqueeze(1), images.dtype == torch.uint8  # a copy of ours may be changed in place
        if ours:
            images = images.float().div_(255)
        if (self.mean, self.std) != (0.0, 1.0):
            images = images.sub_(self.mean).div_(self.std) if ours else (images - self.mean) / self.std
        return images

    def state_dict(self) -> dict[str, Any]:
        """Where this stands: the generator as it was when the pass began, and the batches of it handed out."""
        return {"pass_state": self._pass_state, "served": self._served}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next iteration go on after the batches already handed out."""
        if self._generator and state["pass_state"] is not None:
            self._generator.set_state(state["pass_state"])
        self._resume_at = state["served"]
