import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mirror
import pytest
import torch
from conftest import REAL_DATA
from mirror import NOWHERE

from mnist_lab.data import DigitsDataModule, sources
from mnist_lab.data.sources import FAMILIES, fetch, load
from mnist_lab.errors import UserError


@pytest.fixture
def mirrors(pretended: None) -> Iterator[str]:
    """The address of a real server, and data=mnist meaning what it serves."""
    with mirror.serving() as (address, _):
        yield address


def test_mnist_is_downloaded_once_and_verified(mirrors: str, tmp_path: Path) -> None:
    digits = load("mnist", tmp_path, mirrors=[f"{mirrors}good/"])
    assert digits.train_images.shape == (60_000, 28, 28)
    assert digits.test_labels.tolist() == list(range(10)) * 1000
    found = {path.name for path in (tmp_path / "MNIST" / "raw").iterdir()}
    assert found - {".download.lock"} == {*FAMILIES["mnist"].files}
    load("mnist", tmp_path, mirrors=[NOWHERE])  # no need to ask again


@pytest.mark.parametrize("first", [*mirror.FAULTS, None])
def test_mirrors_are_tried_in_turn(first: str | None, mirrors: str, tmp_path: Path) -> None:
    bad = f"{mirrors}{first}/" if first else NOWHERE
    load("mnist", tmp_path, mirrors=[bad, f"{mirrors}good/"], timeout=5)


def test_a_download_that_fails_everywhere_names_each_address_and_leaves_nothing(mirrors: str, tmp_path: Path) -> None:
    bad = [NOWHERE, *(f"{mirrors}{fault}/" for fault in mirror.FAULTS)]
    with pytest.raises(UserError) as raised:
        fetch("mnist", tmp_path / "data", True, bad, 5)
    for address in bad:
        assert address in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_altered_labels_are_found_out(mirrors: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch("mnist", tmp_path, True, [f"{mirrors}good/"], 5)
    monkeypatch.setitem(sources.FAMILIES, "mnist", replace(sources.FAMILIES["mnist"], sha256=(None,) * 4))
    path = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\3")
    with pytest.raises(UserError, match=f"{path}: altered"):
        load("mnist", tmp_path)


def test_auto_falls_back_but_mnist_never(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load("auto", tmp_path, mirrors=[NOWHERE]).name == "mnist5k"
    assert "NOT MNIST's" in caplog.text
    with pytest.raises(UserError, match="data=mnist5k needs neither"):
        load("mnist", tmp_path, mirrors=[NOWHERE])
    with pytest.raises(UserError, match=r"data\.download=false"):
        load("mnist", tmp_path, download=False)
    with pytest.raises(UserError, match="did you mean mnist"):
        load("mnits", tmp_path)


def test_mnist5k_is_split_by_class_without_overlap(tmp_path: Path) -> None:
    data = DigitsDataModule("mnist5k", str(tmp_path))
    data.setup()
    assert data.sizes == {"train": 4000, "val": 500, "test": 500}
    for part, each in ((data.train, 400), (data.val, 50), (data.test, 50)):
        assert torch.bincount(part[1]).tolist() == [each] * 10
    images = torch.cat([data.train[0], data.val[0], data.test[0]]).flatten(1)
    assert len(images.unique(dim=0)) == 5000


def test_the_validation_set_depends_on_the_split_seed_alone(tmp_path: Path) -> None:
    def held_out(**options: int) -> torch.Tensor:
        data = DigitsDataModule("fake", str(tmp_path), **options)
        data.setup()
        assert data.sizes == {"train": 2000 - data.sizes["val"], "val": data.sizes["val"], "test": 500}
        return data.val[0]

    assert len(held_out()) == 200
    assert torch.equal(held_out(seed=0), held_out(seed=1))
    assert not torch.equal(held_out(split_seed=0), held_out(split_seed=1))
    assert len(held_out(validation_size=0)) == 0
    assert len(held_out(validation_size=1000)) == 1000


def test_how_images_are_held_changes_nothing(tmp_path: Path) -> None:
    firsts = []
    for dtype in ("uint8", "float32"):
        data = DigitsDataModule("fake", str(tmp_path), dtype=dtype, normalize=True)
        data.setup()
        firsts.append(next(iter(data.train_dataloader()))[0])
        one_pass = itertools.islice(data.train_dataloader(), data.steps_per_epoch)
        everything = torch.cat([images for images, _ in one_pass])
        assert everything.mean().item() == pytest.approx(0, abs=1e-4)
        assert everything.std().item() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(*firsts)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"validation_size": -1}, "validation_size=-1"),
        ({"dtype": "int8"}, "dtype=int8"),
        ({"generated": [5]}, r"generated=\[5\]"),
        ({"timeout": 0.0}, "timeout=0"),
        ({"batch_size": 3000}, "batch_size=3000: fake has only 1800"),
        ({"validation_size": 2000}, "validation_size=2000"),
        ({"dataset": "mnist5k", "validation_size": 123}, "multiple of 10"),
    ],
)
def test_impossible_options_are_named(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        DigitsDataModule(**{"dataset": "fake", "root": str(tmp_path)} | options).setup()  # type: ignore[arg-type]


ABSENT = not FAMILIES["mnist"].lies_in(REAL_DATA / "MNIST" / "raw")


@pytest.mark.skipif(ABSENT, reason=f"the real MNIST is not in {REAL_DATA}")
def test_the_real_mnist() -> None:
    data = DigitsDataModule("mnist", str(REAL_DATA), download=False)
    data.setup()
    assert data.sizes == {"train": 55_000, "val": 5_000, "test": 10_000}
    assert data.digits
    assert data.digits.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.digits.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert torch.bincount(data.digits.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
