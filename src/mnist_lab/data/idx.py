"""IDX files, the format of MNIST: a magic number, the sizes, then the values (http://yann.lecun.com/exdb/mnist/)."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_lab.errors import UserError

_TYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype("u1"), 0x0C: np.dtype(">i4")}


def read_idx(path: Path, shape: tuple[int, ...], sha256: str | None = None) -> Tensor:
    """Read an IDX file whose values must have exactly ``shape``; bytes give uint8, 4-byte integers int32.

    Raises UserError, naming the file and the remedy, where it is missing, unreadable, of another size or shape, or
    where its checksum differs. The size is checked before anything is read.
    """
    remedy = f"delete {path} to have it downloaded again, or put the right file there"
    header_size = 4 + 4 * len(shape)
    try:
        with path.open("rb") as file:
            header = file.read(header_size)
            if len(header) < header_size or header[:2] != b"\0\0" or header[2] not in _TYPES or header[3] != len(shape):
                raise UserError(f"{path}: not an IDX file of {len(shape)} dimensions; {remedy}")
            sizes = np.frombuffer(header[4:], ">u4").tolist()
            if tuple(sizes) != shape:
                raise UserError(f"{path}: holds {sizes} values where {list(shape)} are expected; {remedy}")
            dtype = _TYPES[header[2]]
            expected = int(np.prod(shape)) * dtype.itemsize
            size = path.stat().st_size - header_size
            body = bytearray(expected)
            if size != expected or file.readinto(body) != expected:
                state = "too long" if size > expected else "truncated"
                raise UserError(f"{path}: {state}, {size} bytes of values where {expected} are expected; {remedy}")
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {remedy}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if sha256 and hashlib.sha256(header + body).hexdigest() != sha256:
        raise UserError(f"{path}: altered, its SHA-256 is not that of the original; {remedy}")
    values = np.frombuffer(body, dtype).reshape(shape)
    return torch.from_numpy(values if dtype.itemsize == 1 else values.astype(np.int32))
