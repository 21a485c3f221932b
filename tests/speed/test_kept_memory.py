import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Train, environment

from mnist_lab.speed.kept_memory import keep_freed_memory

FAULTS = """
import resource, torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a trick for glibc")
def test_freed_memory_is_not_faulted_in_again() -> None:
    code = f"{FAULTS}\nfrom mnist_lab.speed.kept_memory import keep_freed_memory\nfaults()\nfreed = faults()\n"
    code += "assert keep_freed_memory()\nfaults()\nprint(freed, faults())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    freed, kept = map(int, run.stdout.split())
    assert kept < freed / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()


def test_switched_off_it_is_not_done(train: Train, tmp_path: Path) -> None:
    options = ["model=softmax", "data=fake", "trainer=debug", "logger=none"]
    on, off = (train(*options, f"speed.kept_memory={on}", to=on) for on in ("true", "false"))
    assert on.result["test_loss"] == off.result["test_loss"]
