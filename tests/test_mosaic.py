import subprocess
import sys

import numpy as np
import pytest

from mnist_lab.mosaic import CORRECT, MISTAKEN, Array, enlarged, in_rows, mosaic

BLANK = np.zeros((5, 28, 28), np.uint8)
LABELS, PREDICTED = np.array([1, 2, 3, 4, 5]), np.array([1, 9, 3, 9, 5])
WHITE = (255, 255, 255)


def grounds(picture: Array, columns: int, scale: int = 1) -> list[tuple[int, ...]]:
    """The colour in a corner of each cell, where no ink is."""
    height, width = 30 * scale, picture.shape[1] // columns
    return [tuple(cell) for cell in picture[scale::height, scale::width].reshape(-1, 3).tolist()]


@pytest.mark.parametrize("labelled", [False, True])
def test_mistaken_digits_come_first_on_another_ground(labelled: bool) -> None:
    picture = mosaic(BLANK, LABELS, PREDICTED, columns=3, labelled=labelled, mistakes_first=True)
    assert picture.shape == (60, 132 if labelled else 90, 3)
    assert grounds(picture, 3) == [MISTAKEN, MISTAKEN, CORRECT, CORRECT, CORRECT, WHITE]


def test_the_ground_of_a_mistake_is_red_and_the_other_grey() -> None:
    red, green, blue = MISTAKEN
    assert red > max(green, blue) + 50
    assert len({*CORRECT}) == 1


def test_digits_stay_in_order_unless_asked() -> None:
    picture = mosaic(BLANK, LABELS, PREDICTED, columns=3, scale=2)
    assert picture.shape == (120, 264, 3)
    assert grounds(picture, 3, scale=2) == [CORRECT, MISTAKEN, CORRECT, MISTAKEN, CORRECT, WHITE]


def test_a_digit_is_drawn_in_black_on_its_ground() -> None:
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 3, 4], images[0, 3, 5] = 255, 128
    picture = mosaic(images, np.array([7]), np.array([7]), columns=1, scale=3, labelled=False)
    inked = picture[3 + 9 : 3 + 12, 3 + 12 : 3 + 18]
    assert (inked[:, :3] == 0).all()
    assert (inked[:, 3:] == np.array(CORRECT) * 127 // 255).all()
    assert (picture == 0).all(axis=2).sum() == 9


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_label_stands_left_and_prediction_right(scale: int) -> None:
    def drawn(label: int, guess: int) -> Array:
        return mosaic(BLANK[:1], np.array([label]), np.array([guess]), columns=1, scale=scale)

    middle = 22 * scale
    same, other_label, other_guess = drawn(3, 7), drawn(4, 7), drawn(3, 8)
    assert (same[:, middle:] == other_label[:, middle:]).all()
    assert (same[:, :middle] != other_label[:, :middle]).any()
    assert (same[:, :middle] == other_guess[:, :middle]).all()
    assert (same[:, middle:] != other_guess[:, middle:]).any()


def test_tiles_lie_row_after_row() -> None:
    tiles = np.arange(5, dtype=np.uint8)[:, None, None].repeat(2, axis=1)
    assert in_rows(tiles, 3).tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 255], [3, 4, 255]]
    assert enlarged(np.array([[[1, 2]]]), 2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]


def test_it_needs_neither_torch_nor_matplotlib() -> None:
    code = "import sys, mnist_lab.mosaic; assert not {'torch', 'matplotlib'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
