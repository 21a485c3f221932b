import pytest
import torch
from torch import Tensor

from mnist_lab.data import Batches


def numbered(count: int) -> tuple[Tensor, Tensor]:
    """Images that carry their own number, which is also their label."""
    return torch.arange(count).reshape(-1, 1, 1).expand(-1, 28, 28).float(), torch.arange(count)


def order(batches: Batches, passes: int = 1) -> list[list[int]]:
    """The labels of each batch."""
    served = []
    for _ in range(passes):
        for images, labels in batches:
            assert images.shape == (len(labels), 1, 28, 28)
            assert torch.equal(images[:, 0, 0, 0], labels.float())
            served.append(labels.tolist())
    return served


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1500, 2500])
def test_a_pass_serves_every_image_once_in_another_order_each_time(batch_size: int) -> None:
    batches = Batches(*numbered(2500), batch_size, seed=0)
    first, second = order(batches), order(batches)
    assert len(first) == len(batches) == -(-2500 // batch_size)
    for served in (first, second):
        assert sorted([number for batch in served for number in batch]) == list(range(2500))
    assert first != second


def test_the_seed_fixes_the_order_of_all_passes() -> None:
    one, same, other = (order(Batches(*numbered(50), 8, seed=seed), passes=3) for seed in (0, 0, 1))
    assert one == same != other


def test_without_a_seed_the_order_is_kept() -> None:
    assert order(Batches(*numbered(10), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_drop_last() -> None:
    batches = Batches(*numbered(10), 4, drop_last=True)
    assert len(batches) == 2
    assert order(batches) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_share_every_batch(world_size: int) -> None:
    alone = order(Batches(*numbered(103), 10, seed=0), passes=2)
    shares = [
        order(Batches(*numbered(103), 10, seed=0, rank=rank, world_size=world_size), passes=2)
        for rank in range(world_size)
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
    whole = order(Batches(*numbered(100), 8, seed=3), passes=4)  # 13 batches a pass
    batches, served = Batches(*numbered(100), 8, seed=3), []
    while len(served) < stop:
        for _, labels in batches:
            served.append(labels.tolist())
            if len(served) == stop:
                break
    more = Batches(*numbered(100), 8, seed=99)
    more.load_state_dict(batches.state_dict())
    assert (served + order(more, passes=4))[: len(whole)] == whole


def test_a_finished_pass_is_not_repeated() -> None:
    batches, more = Batches(*numbered(20), 8, seed=3), Batches(*numbered(20), 8, seed=99)
    order(batches)
    more.load_state_dict(batches.state_dict())
    assert order(more) == order(batches)
