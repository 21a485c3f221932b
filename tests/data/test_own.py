"""Images of one's own, in files with MNIST's names."""

from pathlib import Path

import numpy as np
import pytest

from mnist_lab.data.sources import load
from mnist_lab.errors import UserError


def write(folder: Path, part: str, labels: list[int]) -> np.ndarray:
    """Files of as many images as there are labels: the images."""
    images = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 28, 28), np.uint8)
    sizes = np.array([len(labels), 28, 28], ">u4").tobytes()
    (folder / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + images.tobytes())
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + bytes(labels))
    return images


def test_train_and_test_are_what_the_folder_holds(tmp_path: Path) -> None:
    train, test = write(tmp_path, "train", [1, 2, 3] * 10), write(tmp_path, "t10k", [4, 5])
    digits = load("own", tmp_path)
    np.testing.assert_array_equal(digits.train_images, train)
    np.testing.assert_array_equal(digits.test_images, test)
    assert digits.test_labels.tolist() == [4, 5]
    assert digits.validation_size == 3


def test_without_test_images_every_fifth_tests(tmp_path: Path) -> None:
    images = write(tmp_path, "train", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    digits = load("own", tmp_path)
    assert digits.test_labels.tolist() == [4, 9]
    assert digits.train_labels.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 0]
    np.testing.assert_array_equal(digits.test_images, images[[4, 9]])


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data=own: .*train-images-idx3-ubyte: No such file.*data\.root="):
        load("own", tmp_path)
    write(tmp_path, "train", [1, 10])
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte: must hold labels from 0 to 9"):
        load("own", tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="train-labels-idx1-ubyte: missing"):
        load("own", tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not an IDX file"):
        load("own", tmp_path)
