"""What a result depends on besides its config: code, command, versions, machine."""

import functools
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("mnist_lab", "torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "tensorboard")


def provenance() -> dict[str, Any]:
    """Git commit, whether the tree differs from it, command, versions, hardware and threads; plain values."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "git_sha": _git("rev-parse", "HEAD"),
        "git_dirty": None if changed is None else bool(changed),
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


@functools.cache  # a sweep's jobs in one process ask once
def _git(*arguments: str) -> str | None:
    """What git says of the checkout that this code lies in; None where there is none."""
    with suppress(OSError, subprocess.SubprocessError):
        options: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "check": True, "timeout": 10}
        return str(subprocess.run(["git", *arguments], cwd=Path(__file__).parent, **options).stdout.strip())
    return None


@functools.cache
def _cpu() -> str:
    with suppress(OSError):
        if found := re.search(
            r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        ):
            return found[1].strip()
    return platform.processor() or platform.machine()
