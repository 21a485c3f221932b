import hashlib
import struct
from pathlib import Path

import pytest
import torch

from mnist_lab.data.idx import read_idx
from mnist_lab.errors import UserError

GOOD = struct.pack(">4I", 0x803, 2, 2, 3) + bytes(range(12))


def test_bytes_and_integers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(GOOD)
    assert torch.equal(read_idx(path, (2, 2, 3)), torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3))
    path.write_bytes(struct.pack(">3I", 0xC02, 2, 2) + struct.pack(">4i", 1, -2, 70_000, 4))
    assert read_idx(path, (2, 2)).tolist() == [[1, -2], [70_000, 4]]


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"", "not an IDX file"),
        (GOOD[:7], "not an IDX file"),
        (b"\x1f\x8b" + GOOD[2:], "not an IDX file"),
        (b"\0\0\x0e" + GOOD[3:], "not an IDX file"),
        (GOOD[:-1], "truncated, 11 bytes"),
        (GOOD + b"\0", "too long, 13 bytes"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**31, 2**31), "where [2, 2, 3] are expected"),
        (GOOD[:-1] + b"\xff", "altered"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(contents: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(contents)
    with pytest.raises(UserError) as raised:
        read_idx(path, (2, 2, 3), hashlib.sha256(GOOD).hexdigest())
    assert said in str(raised.value)
    assert f"delete {path}" in str(raised.value)


def test_a_missing_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        read_idx(tmp_path / "nothing", (1,))
    with pytest.raises(UserError, match="cannot be read"):
        read_idx(tmp_path, (1,))
