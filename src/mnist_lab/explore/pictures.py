"""Files of pictures: PNG, JPEG and their like, arrays of NumPy, IDX files; one after the other."""

import contextlib
import gzip
import io
import sys
import warnings
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image

from mnist_lab.errors import UserError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".npy", "idx3-ubyte", ".gz")
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # others run programs, or are no pictures


def find(words: Iterable[str]) -> list[str]:
    """The files that ``words`` name: files, folders with all that looks like a picture in them, patterns, ``-``."""
    found: list[str] = []
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            inside = sorted(str(file) for file in path.rglob("*") if file.name.lower().endswith(_SUFFIXES))
        else:
            inside = [] if word == "-" or path.exists() else sorted(glob(str(path), recursive=True))  # noqa: PTH207
            inside = inside or [word]  # what is missing is told when its turn comes
        if not inside:
            raise UserError(f"{word}: has no pictures in it; name files, folders, patterns, or - for standard input")
        found += inside
    return found


def read(path: str) -> Iterator[tuple[str, Image.Image]]:
    """The pictures in the file at ``path``, ``-`` for standard input, with their names; what it is, its bytes tell.

    Raises UserError, OSError or whatever Pillow raises where it cannot be read.
    """
    name = "standard input" if path == "-" else path
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # more pixels than a camera takes
        file: IO[bytes] = io.BytesIO(sys.stdin.buffer.read()) if path == "-" else stack.enter_context(open(path, "rb"))  # noqa: PTH123
        if _begins(file)[:2] == b"\x1f\x8b":
            file = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=file)))
        begins = _begins(file)
        if begins == b"\x93NUMPY":
            mapped = isinstance(file, io.BufferedReader)  # not read before it is needed
            values = np.load(path, mmap_mode="r") if mapped else np.load(file)
            yield from _numbered(name, _images(values, name))
        elif begins[:3] == b"\0\0\x08":
            yield from _numbered(name, _idx(file, name))
        else:
            yield name, Image.open(file, formats=_FORMATS)


def _begins(file: IO[bytes]) -> bytes:
    begins = file.read(6)
    file.seek(0)
    return begins


def _numbered(name: str, images: Iterable[Any]) -> Iterator[tuple[str, Image.Image]]:
    for number, image in enumerate(images):
        yield f"{name}[{number}]", Image.fromarray(image)


def _images(values: Any, name: str) -> Iterator[Any]:
    """The pictures of an array: (n, 28, 28), (n, 1, 28, 28), (n, 784), (height, width); whole bytes or in [0, 1]."""
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        values = values.reshape(-1, 28, 28) if values.shape[1] == 784 else values[None]
    if values.ndim != 3 or not values.size:
        raise UserError(f"{name}: an array of shape {values.shape}; it must be (n, 28, 28) or one picture")
    for image in values:
        within = image.dtype == bool or 0 <= image.min() <= image.max() <= (1 if image.dtype.kind == "f" else 255)
        if image.dtype.kind not in "buif" or not within:
            raise UserError(f"{name}: its values must be whole numbers from 0 to 255, or from 0 to 1")
        yield (image if image.dtype.kind in "ui" else np.rint(image * 255.0)).astype(np.uint8)


def _idx(file: IO[bytes], name: str) -> Iterator[Any]:
    """The pictures of an IDX file: a magic number, three sizes, bytes."""
    header = file.read(16)
    count, height, width = np.frombuffer(header[4:].ljust(12, b"\0"), ">u4").tolist()
    if header[3] != 3 or not 0 < height * width <= 89_000_000:
        raise UserError(f"{name}: an IDX file that holds no pictures")
    for number in range(count):
        body = file.read(height * width)
        if len(body) < height * width:
            raise UserError(f"{name}: truncated, {number:,} pictures where {count:,} are expected")
        yield np.frombuffer(body, np.uint8).reshape(height, width)
