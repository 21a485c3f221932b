"""Pictures and strokes, made into images of MNIST's kind."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL_DATA
from PIL import Image, ImageDraw, ImageFilter

from mnist_lab.data import sources
from mnist_lab.explore.normalize import BOX, CENTRE, from_picture, from_strokes

SEVEN = [np.array([[0, 0], [12, 0], [5, 20]])]
FIVE = [np.array([[10, 0], [1, 0], [0, 9], [6, 8], [10, 12], [8, 19], [0, 20]])]


def drawn(strokes: list[Any], pen: int = 10, size: int = 300, ink: Any = 0, paper: Any = 255, mode: str = "L") -> Any:
    """A picture of ``strokes``, 20 units tall, a third of ``size``, at the upper right."""
    picture = Image.new(mode, (size, size), paper)
    for stroke in strokes:
        ImageDraw.Draw(picture).line([tuple(p) for p in stroke * size / 60 + size / 3], ink, pen, joint="curve")
    return picture


def near(image: Any, other: Any) -> float:
    """The cosine between two images."""
    one, two = image.astype(float).ravel(), other.astype(float).ravel()
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def test_a_digit_of_mnist_passes_unchanged_and_so_does_its_negative() -> None:
    for image in sources.load("mnist5k", Path()).test_images.numpy()[::4]:
        assert (from_picture(Image.fromarray(image)).image == image).all()
        assert (from_picture(Image.fromarray(255 - image)).image == image).all()


ABSENT = not sources.FAMILIES["mnist"].lies_in(REAL_DATA / "MNIST" / "raw")


@pytest.mark.slow
@pytest.mark.skipif(ABSENT, reason=f"the real MNIST is not in {REAL_DATA}")
def test_so_do_all_the_test_images_of_mnist() -> None:
    images = sources.load("mnist", REAL_DATA, download=False).test_images.numpy()
    assert all((from_picture(Image.fromarray(image)).image == image).all() for image in images)


def test_enlarged_and_out_of_place_a_digit_comes_back() -> None:
    images = sources.load("mnist5k", Path()).test_images.numpy()[::25]
    page = Image.new("L", (400, 300), "white")
    likeness = []
    for image in images:
        page.paste(255, (0, 0, 400, 300))
        page.paste(Image.fromarray(255 - image).resize((196, 196), Image.Resampling.BICUBIC), (190, 20))
        likeness.append(near(from_picture(page).image, image))
    assert np.mean(likeness) > 0.95
    assert min(likeness) > 0.8


def test_strokes_are_as_long_as_the_box_and_centred_whatever_their_unit() -> None:
    image = from_strokes(SEVEN).image
    rows = np.flatnonzero((image > 127).any(axis=1))
    assert np.ptp(rows) + 1 == pytest.approx(BOX, abs=1)
    mass = image.astype(float)
    assert mass.sum(axis=0) @ np.arange(28) / mass.sum() == pytest.approx(CENTRE, abs=0.1)
    assert mass.sum(axis=1) @ np.arange(28) / mass.sum() == pytest.approx(CENTRE, abs=0.1)
    np.testing.assert_allclose(from_strokes([SEVEN[0] * 37.5 - 1000]).image.astype(int), image, atol=1)


def test_the_width_of_the_pen_on_the_page_does_not_matter() -> None:
    for strokes in (SEVEN, FIVE):
        made = from_strokes(strokes).image
        assert min(near(from_picture(drawn(strokes, pen)).image, made) for pen in (2, 6, 18)) > 0.9
        assert near(from_picture(drawn(strokes, 20, 2500)).image, made) > 0.9


def test_every_kind_of_file_gives_the_same(tmp_path: Path) -> None:
    made = from_picture(drawn(FIVE)).image
    grey = drawn(FIVE)
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6  # turn right to see it upright
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "grey.png": (grey, {}),
        "one_bit.png": (grey.convert("1"), {}),
        "sixteen.png": (sixteen, {}),
        "float.tiff": (Image.fromarray(np.asarray(grey, np.float32) / 255), {}),
        "colour.jpg": (drawn(FIVE, ink=(10, 20, 120), paper=(250, 250, 230), mode="RGB"), {"quality": 60}),
        "chalk.png": (drawn(FIVE, ink=(230, 230, 210), paper=(30, 60, 40), mode="RGB"), {}),
        "clear.png": (drawn(FIVE, ink=(0, 0, 0, 255), paper=(0, 0, 0, 0), mode="RGBA"), {}),
        "white_on_clear.png": (drawn(FIVE, ink=(255, 255, 255, 255), paper=(0, 0, 0, 0), mode="RGBA"), {}),
        "clear_grey.png": (drawn(FIVE, ink=(0, 255), paper=(255, 0), mode="LA"), {}),
        "palette.gif": (grey.convert("P"), {}),
        "phone.jpg": (grey.transpose(Image.Transpose.ROTATE_90), {"exif": turned}),
        "cmyk.jpg": (grey.convert("CMYK"), {}),
    }
    for name, (picture, options) in kinds.items():
        picture.save(tmp_path / name, **options)
        assert near(from_picture(Image.open(tmp_path / name)).image, made) > 0.95, name


def test_shadows_lines_and_noise_are_no_ink() -> None:
    page = drawn([], size=900)
    for y in range(40, 900, 60):
        ImageDraw.Draw(page).line((0, y, 900, y + 8), 190, 3)
    for stroke in FIVE:
        ImageDraw.Draw(page).line([tuple(p) for p in stroke * 15 + 300], 50, 14, joint="curve")
    light = np.asarray(page.filter(ImageFilter.GaussianBlur(1.5)), float) * np.linspace(1, 0.4, 900)
    light *= 1 - 0.5 / (1 + np.exp(-(np.arange(900) - 350) / 25))  # somebody's shadow over most of it
    light += np.random.default_rng(0).normal(0, 4, light.shape)
    file = io.BytesIO()
    Image.fromarray(light.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=70)
    found = from_picture(Image.open(file))
    assert found.problem is None
    assert near(found.image, from_strokes(FIVE).image) > 0.9


def test_what_is_no_digit_is_said() -> None:
    page = drawn([])
    assert from_picture(page).problem == "nothing is drawn there"
    assert from_picture(Image.new("RGBA", (50, 50))).problem == "nothing is drawn there"
    for size in ((1, 1), (1, 9), (9, 1)):
        assert from_picture(Image.new("L", size)).problem == "nothing is drawn there"
    ImageDraw.Draw(page).ellipse((100, 100, 112, 113), 0)
    assert from_picture(page).problem == "a dot"
    two = drawn([*SEVEN, FIVE[0] + [20, 0]])
    assert from_picture(two).problem == "several digits"
    noise = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    assert from_picture(Image.fromarray(noise)).problem == "no ink on a plain ground"
    assert from_strokes([]).problem == "nothing is drawn there"
    assert from_strokes([[[3, 3]]]).problem == "a dot"
    assert from_strokes([[[3, 3], [5, 4]]], smallest=4).problem == "a dot"
    assert from_strokes([[[3, 3]]]).image[14, 14] == 255
    with pytest.raises(ValueError, match="not a number"):
        from_strokes([[[0, float("nan")]]])


def test_parts_of_one_digit_and_specks_are_not_several() -> None:
    five = drawn([FIVE[0][1:], np.array([[2, -2], [11, -2]])])  # its bar drawn apart
    clean = from_picture(five).image
    ImageDraw.Draw(five).point([(20, 20), (280, 250), (281, 250)], 0)
    found = from_picture(five)
    assert found.problem is None
    assert near(found.image, clean) > 0.95


def test_strange_sizes_and_random_pictures_never_stop_it() -> None:
    generator = np.random.default_rng(0)
    for height, width in ((1, 2), (2, 2), (3, 90), (28, 28), (5, 700), (61, 40)):
        for density in (0.001, 0.02, 0.3, 0.7, 0.99):
            picture = ((generator.random((height, width)) < density) * 255).astype(np.uint8)
            found = from_picture(Image.fromarray(picture))
            assert (found.image.shape, found.image.dtype) == ((28, 28), np.uint8)
