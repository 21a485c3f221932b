"""Where the checkpoints of a run lie, and which of them can be read."""

import contextlib
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from mnist_lab.errors import UserError

log = logging.getLogger(__name__)
_NEEDED = {"state_dict", "optimizer_states", "loops", "global_step", "best", "random_state", "normalize"}


class Checkpoint(NamedTuple):
    """A file that was read and found whole, and the step at which it was saved."""

    path: Path
    step: int


def checkpoint_path(run_dir: Path, name: str) -> Path:
    """Where a checkpoint lies: ``last``, ``previous`` (the last before it), ``best``, ``before_nan``."""
    return run_dir / "checkpoints" / f"{name}.ckpt"


class DamagedCheckpoint(Exception):  # noqa: N818
    """A file that is not, or no longer, a checkpoint; the message says what is wrong with it."""


def find_checkpoint(resume: str | Path, which: str = "last") -> Checkpoint:
    """The checkpoint to load: ``resume`` itself where it names a file, else the run directory's ``which``.

    A damaged last one is replaced by the one before it, with a warning. Raises UserError where none can be read.
    """
    path = Path(resume).expanduser()
    path = path if path.suffix == ".ckpt" else checkpoint_path(path, which)
    try:
        return verify_checkpoint(path)
    except DamagedCheckpoint as fault:
        if path.name == "last.ckpt":
            with contextlib.suppress(DamagedCheckpoint):
                before = verify_checkpoint(path.with_name("previous.ckpt"))
                log.warning(f"{path}: {fault}; going on from the one before it, {before.path.name}")
                return before
        raise UserError(f"{path}: {fault}; name another checkpoint of the run, or start a new run") from fault


def verify_checkpoint(path: Path) -> Checkpoint:
    """Read the file at ``path``. Raises DamagedCheckpoint unless it is whole and holds tensors and plain values."""
    import torch  # here, because composing a config needs this package but not torch

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise DamagedCheckpoint("larger inside than outside, refused")
            if broken := archive.testzip():
                raise DamagedCheckpoint(f"damaged, {broken} fails its checksum")
        loaded: Any = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except FileNotFoundError:
        raise DamagedCheckpoint("does not exist; the run has kept no such checkpoint") from None
    except pickle.UnpicklingError:
        raise DamagedCheckpoint(
            "holds more than tensors and plain values, refused: loading it could run code"
        ) from None
    except DamagedCheckpoint:
        raise
    except Exception as error:  # whatever a damaged archive makes of zipfile and torch
        raise DamagedCheckpoint(f"damaged ({type(error).__name__})") from error
    missing = _NEEDED - loaded.keys() if isinstance(loaded, dict) else _NEEDED
    if missing:
        raise DamagedCheckpoint(f"not a checkpoint of a run, {', '.join(sorted(missing))} missing")
    return Checkpoint(path, int(loaded["global_step"]))
