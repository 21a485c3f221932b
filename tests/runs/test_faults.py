"""A few of each of the faults that `make faults` does by the dozen, and those that are done once."""

import random
import subprocess
from pathlib import Path

import faults
import pytest


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(name, marks=[pytest.mark.slow] if fault.slow else [])
        for name, fault in faults.FAULTS.items()
        if fault.few
    ],
)
@pytest.mark.usefixtures("pretended")
def test_nothing_is_lost(fault: str, tmp_path: Path) -> None:
    do, _, few, _ = faults.FAULTS[fault]
    do(tmp_path, few, random.Random(1))


def can_mount(folder: Path) -> bool:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode == 0
    return mounted and subprocess.run(["umount", folder]).returncode == 0


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "try").mkdir()
    if not can_mount(tmp_path / "try"):
        pytest.skip("a file system of its own cannot be mounted here")
    faults.full_disks(tmp_path, 2, random.Random(1))
