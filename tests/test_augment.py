import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lab
from torch import Tensor

from mnist_lab.augment import Affine, Elastic, Handwriting, Shift, affine_maps
from mnist_lab.data import Batches, DigitsDataModule
from mnist_lab.data.batches import Augmentation
from mnist_lab.errors import UserError

IMAGES = torch.rand(60, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(60) % 10
KINDS: dict[str, Augmentation] = {
    "shift": Shift(3),
    "affine": Affine(30, 0.3, 0.2, 0.3, 3),
    "elastic": Elastic(),
    "drawn": Handwriting(),
}


def mapped(**changes: float) -> Tensor:
    """The images after exactly these changes."""
    same = {"degrees": 0.0, "width": 1.0, "height": 1.0, "shear": 0.0, "right": 0.0, "down": 0.0}
    maps = affine_maps(**{name: torch.full((60,), value) for name, value in (same | changes).items()})
    return Affine()(IMAGES, LABELS, maps)


def moved(images: Tensor, down: int, right: int) -> Tensor:
    """With background coming in, by hand."""
    result = torch.zeros_like(images)
    rows, columns = slice(max(down, 0), 28 + min(down, 0)), slice(max(right, 0), 28 + min(right, 0))
    from_rows, from_columns = slice(max(-down, 0), 28 + min(-down, 0)), slice(max(-right, 0), 28 + min(-right, 0))
    result[:, rows, columns] = images[:, from_rows, from_columns]
    return result


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, IMAGES),
        ({"degrees": 90.0}, IMAGES.rot90(1, (1, 2))),
        ({"degrees": -90.0}, IMAGES.rot90(-1, (1, 2))),
        ({"degrees": 180.0}, IMAGES.flip(1, 2)),
        ({"right": 1.0}, moved(IMAGES, 0, 1)),
        ({"right": -3.0, "down": 2.0}, moved(IMAGES, 2, -3)),
        ({"degrees": 90.0, "down": 1.0}, moved(IMAGES.rot90(1, (1, 2)), 1, 0)),
        ({"right": 0.5}, (IMAGES + moved(IMAGES, 0, 1)) / 2),
    ],
)
def test_turning_and_shifting_by_hand(changes: dict[str, float], expected: Tensor) -> None:
    torch.testing.assert_close(mapped(**changes), expected, rtol=0, atol=1e-5)


def test_scale_and_shear_by_hand() -> None:
    torch.testing.assert_close(mapped(width=3.0)[:, :, 12], IMAGES[:, :, 13], rtol=0, atol=1e-5)
    torch.testing.assert_close(mapped(height=3.0)[:, 15], IMAGES[:, 14], rtol=0, atol=1e-5)
    sheared = mapped(shear=2.0)  # half a pixel above the centre: one to the right; one and a half: three
    torch.testing.assert_close(sheared[:, 13], moved(IMAGES, 0, 1)[:, 13], rtol=0, atol=1e-5)
    torch.testing.assert_close(sheared[:, 12], moved(IMAGES, 0, 3)[:, 12], rtol=0, atol=1e-5)
    torch.testing.assert_close(sheared[:, 15], moved(IMAGES, 0, -3)[:, 15], rtol=0, atol=1e-5)


def test_whole_pixels_are_moved_without_rounding() -> None:
    augment, drawn = Shift(1), torch.tensor([[down, right] for down in (-1, 0, 1) for right in (-1, 0, 1)])
    for row, image, result in zip(drawn.tolist(), IMAGES[:9], augment(IMAGES[:9], LABELS[:9], drawn), strict=True):
        assert torch.equal(result, moved(image[None], *row)[0])


def test_all_of_the_range_is_drawn_and_nothing_beyond() -> None:
    drawn = Shift(2).draw(1000, torch.Generator().manual_seed(0))
    assert [part.unique().tolist() for part in drawn.unbind(1)] == [[-2, -1, 0, 1, 2]] * 2
    turned = Affine(degrees=20, scale=0, shift=0).draw(1000, torch.Generator().manual_seed(0))
    angles = torch.rad2deg(torch.atan2(turned[:, 3], turned[:, 0]))
    assert -20 <= angles.min() < -19 < 19 < angles.max() <= 20
    sizes = 1 / Affine(degrees=0, scale=0.25, shift=0).draw(1000, torch.Generator().manual_seed(0))[:, 0]
    assert 0.8 <= sizes.min() < 0.81 < 1.24 < sizes.max() <= 1.25
    nothing = Elastic(pixels=0, degrees=0, scale=0, stretch=0, shear=0, shift=0)
    torch.testing.assert_close(nothing(IMAGES, LABELS, nothing.draw(60, torch.Generator())), IMAGES, rtol=0, atol=1e-5)


def test_no_pixel_of_an_elastic_image_comes_from_further_than_it_may() -> None:
    line = torch.arange(28.0).expand(200, 28, 28)  # the intensity says the column
    augment = Elastic(pixels=2, degrees=0, scale=0, stretch=0, shear=0, shift=0)
    drawn = augment.draw(200, torch.Generator().manual_seed(0))
    distance = (augment(line, LABELS, drawn) - line)[:, 3:-3, 3:-3].abs()
    assert 1 < distance.max() <= 2.001
    neighbours = (distance[:, :, 1:] - distance[:, :, :-1]).abs()
    assert neighbours.max() < 0.8  # smooth


def test_some_ones_get_an_upstroke_and_stay_centred() -> None:
    bars = torch.zeros(200, 28, 28)
    bars[:, 4:24, 13:16] = 1.0
    labels = torch.arange(200) % 2 * 6 + 1  # ones and sevens
    still = {"pixels": 0, "degrees": 0, "scale": 0, "stretch": 0, "shear": 0, "shift": 0}
    augment = Handwriting(upstrokes=0.5, **still)
    written = augment(bars, labels, augment.draw(200, torch.Generator().manual_seed(0)))
    changed = ((written - bars).abs().amax(dim=(1, 2)) > 0.5).tolist()
    assert not any(changed[1::2])  # the sevens
    assert 35 < sum(changed) < 65
    for image in written[torch.tensor(changed)]:
        rows, columns = (image > 0.5).nonzero().unbind(1)
        assert columns.max() - columns.min() >= 4
        assert rows.max() - rows.min() in (19, 20, 21)  # as tall as it was
        mass = torch.stack([(image.sum(axis) * torch.arange(28)).sum() / image.sum() for axis in (0, 1)])
        torch.testing.assert_close(mass, torch.tensor([14.0, 13.5]), rtol=0, atol=0.3)
    none = Handwriting(upstrokes=0, **still)
    torch.testing.assert_close(none(bars, labels, none.draw(200, torch.Generator())), bars, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_depends_on_its_own_row_only(kind: str) -> None:
    augment = KINDS[kind]
    drawn = augment.draw(60, torch.Generator().manual_seed(1))
    together = augment(IMAGES, LABELS, drawn)
    assert not torch.allclose(together, IMAGES, atol=0.1)
    for size in (1, 2, 3, 7, 59):
        of_each = (every.split(size) for every in (IMAGES, LABELS, drawn))
        parts = [augment(*part) for part in zip(*of_each, strict=True)]
        assert torch.equal(torch.cat(parts), together)


def batches(augment: Augmentation | None, images: Tensor = IMAGES, **options: Any) -> Batches:
    return Batches(images, torch.arange(60), 8, seed=0, augment=augment, **options)


def first(served: Batches, count: int) -> list[tuple[Tensor, Tensor]]:
    return list(itertools.islice(served, count))


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return all(torch.equal(*pair) for a, b in zip(one, other, strict=True) for pair in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_augmented_anew_in_every_epoch_in_the_usual_order(kind: str) -> None:
    plain, augmented = first(batches(None), 16), first(batches(KINDS[kind]), 16)
    assert [labels.tolist() for _, labels in plain] == [labels.tolist() for _, labels in augmented]
    epochs = [torch.cat([images for images, _ in part]) for part in (augmented[:8], augmented[8:])]
    orders = [torch.cat([labels for _, labels in part]).argsort() for part in (augmented[:8], augmented[8:])]
    one, two = (epoch[order] for epoch, order in zip(epochs, orders, strict=True))
    assert not torch.allclose(one, IMAGES[:, None], atol=0.1)
    assert not torch.allclose(one, two, atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [3, 8, 11])
def test_augmented_batches_go_on_where_their_state_says(kind: str, stop: int) -> None:
    whole = first(batches(KINDS[kind]), 20)
    begun = batches(KINDS[kind])
    for _ in itertools.islice(begun, stop):
        pass
    more = batches(KINDS[kind])
    more.load_state_dict(begun.state_dict())
    assert same(first(more, 20 - stop), whole[stop:])


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_share_augmented_batches(kind: str) -> None:
    alone = first(batches(KINDS[kind]), 10)
    ranks = [first(batches(KINDS[kind], rank=rank, world_size=3), 10) for rank in range(3)]
    together = [tuple(map(torch.cat, zip(*parts, strict=True))) for parts in zip(*ranks, strict=True)]
    assert same(together, alone)  # type: ignore[arg-type]


def test_augmenting_comes_before_normalising_so_that_what_comes_in_is_background() -> None:
    as_bytes = (255 * IMAGES).byte()
    served = first(batches(Shift(3), as_bytes), 3)
    normalised = first(batches(Shift(3), as_bytes, mean=0.5, std=0.25), 3)
    for (images, _), (normal, _) in zip(served, normalised, strict=True):
        torch.testing.assert_close(normal, (images - 0.5) / 0.25)
    floats = first(batches(Shift(3), as_bytes.float() / 255), 3)
    assert same(served, floats)
    assert torch.equal(as_bytes, (255 * IMAGES).byte())


def test_what_is_evaluated_is_never_augmented(tmp_path: Path) -> None:
    def served(augment: Augmentation | None) -> list[list[tuple[Tensor, Tensor]]]:
        options: dict[str, Any] = {"generated": [200, 70], "watch_test": True, "augment": augment}
        data = DigitsDataModule("fake", str(tmp_path), **options)
        data.setup()
        train = first(data.train_dataloader(), 2)
        return [train, *(list(part) for part in (*data.val_dataloader(), data.test_dataloader()))]

    (train, *evaluated), (augmented, *with_augment) = served(None), served(Affine())
    assert len(evaluated) == 3
    assert all(map(same, evaluated, with_augment))
    assert not same(train, augmented)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (Shift, {"pixels": -1}, "pixels=-1: must be from 0 to 14"),
        (Shift, {"pixels": 15}, "pixels=15"),
        (Affine, {"degrees": 181}, "degrees=181: must be from 0 to 180"),
        (Affine, {"scale": -0.1}, "scale=-0.1: must be from 0 to 1"),
        (Affine, {"stretch": 2.0}, "stretch=2.0"),
        (Affine, {"shear": 1.5}, "shear=1.5"),
        (Affine, {"shift": 15}, "shift=15"),
        (Elastic, {"pixels": 20}, "pixels=20"),
        (Elastic, {"points": 1}, "points=1: must be from 2 to 14"),
        (Elastic, {"degrees": float("nan")}, "degrees=nan"),
    ],
)
def test_values_out_of_range_are_named(kind: type, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**options)


RUN = ["model=mlp_relu", "model.dropout=0.2", "data=fake", "data.batch_size=30", "logger=none", "test=false"]


def weights(run: Any) -> dict[str, Tensor]:
    loaded: dict[str, Any] = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    tensors: dict[str, Tensor] = loaded["state_dict"]
    return tensors


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_an_augmented_run_goes_on_as_if_it_had_never_stopped(lab: Lab) -> None:
    options = [*RUN, "augment=elastic", "data.normalize=true"]
    whole = lab(*options, "trainer.max_steps=80", to="whole")  # 60 steps an epoch
    begun = lab(*options, "trainer.max_steps=37", to="begun")
    lab(f"resume={begun.directory}", "trainer.max_steps=80")
    assert equal(weights(begun), weights(whole))
    plain = lab(*RUN, "data.normalize=true", "trainer.max_steps=80", to="plain")
    assert not equal(weights(plain), weights(whole))
    assert whole.result.settings["augment"] == "Elastic"
    assert not [key for key in plain.result.settings if key.startswith("augment")]


def test_a_range_is_checked_before_data_is_loaded(lab: Lab) -> None:
    with pytest.raises(UserError, match=r"augment\.degrees=200.0: must be from 0 to 180"):
        lab(*RUN, "augment=affine", "augment.degrees=200.0")
    with pytest.raises(UserError, match=r"augment\.angle: there is no such key"):
        lab(*RUN, "augment=affine", "+augment.angle=20")
