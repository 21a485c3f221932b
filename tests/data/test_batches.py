import itertools

import pytest
import torch
from torch import Tensor

from mnist_lab.data import Batches


def numbered(count: int) -> tuple[Tensor, Tensor]:
    """Images that carry their own number, which is also their label."""
    return torch.arange(count).reshape(-1, 1, 1).expand(-1, 28, 28).float(), torch.arange(count)


def order(batches: Batches, count: int) -> list[list[int]]:
    """The labels of the next batches."""
    served = []
    for images, labels in itertools.islice(batches, count):
        assert images.shape == (len(labels), 1, 28, 28)
        assert torch.equal(images[:, 0, 0, 0], labels.float())
        served.append(labels.tolist())
    return served


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1500, 2500])
def test_a_pass_serves_every_image_once_in_another_order_each_time(batch_size: int) -> None:
    batches = Batches(*numbered(2500), batch_size, seed=0)
    assert batches.per_epoch == -(-2500 // batch_size)
    served = order(batches, 2 * batches.per_epoch)
    first, second = served[: batches.per_epoch], served[batches.per_epoch :]
    for served in (first, second):
        assert sorted([number for batch in served for number in batch]) == list(range(2500))
    assert first != second


def test_the_seed_fixes_the_order_of_all_passes() -> None:
    one, same, other = (order(Batches(*numbered(50), 8, seed=seed), 21) for seed in (0, 0, 1))
    assert one == same != other


def test_without_a_seed_the_order_is_kept() -> None:
    assert len(Batches(*numbered(10), 4)) == 3
    assert order(Batches(*numbered(10), 4), 99) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_drop_last() -> None:
    batches = Batches(*numbered(10), 4, drop_last=True)
    assert len(batches) == 2
    assert order(batches, 99) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_share_every_batch(world_size: int) -> None:
    alone = order(Batches(*numbered(103), 10, seed=0), 22)
    shares = [
        order(Batches(*numbered(103), 10, seed=0, rank=rank, world_size=world_size), 22) for rank in range(world_size)
    ]
    assert [[n for part in parts for n in part] for parts in zip(*shares, strict=True)] == alone


def test_bytes_become_intensities_and_are_normalised() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 1).expand(-1, 28, 28)
    (served, _), *_ = Batches(images, torch.zeros(256), 256)
    assert torch.equal(served[:, 0, 0, 0], torch.arange(256) / 255)
    (floats, _), *_ = Batches(images.float() / 255, torch.zeros(256), 256)
    assert torch.equal(served, floats)
    (normal, _), *_ = Batches(images, torch.zeros(256), 256, mean=0.5, std=0.25)
    torch.testing.assert_close(normal, (floats - 0.5) / 0.25)


@pytest.mark.parametrize("stop", [0, 1, 5, 12, 13, 14, 25, 26, 30])
def test_it_goes_on_where_its_state_says(stop: int) -> None:
    whole = order(Batches(*numbered(100), 8, seed=3), 50)  # 13 batches a pass
    batches = Batches(*numbered(100), 8, seed=3)
    served = []
    if stop:
        for _, labels in batches:  # the iterator is left where it stands, as a training loop leaves it
            served.append(labels.tolist())
            if len(served) == stop:
                break
    more = Batches(*numbered(100), 8, seed=99)
    more.load_state_dict(batches.state_dict())
    assert served + order(more, 50 - stop) == whole
