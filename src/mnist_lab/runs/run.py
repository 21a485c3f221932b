"""A run directory as an object: its config, result, curves, checkpoints and network."""

import contextlib
import logging
import pickle
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import Timeout
from omegaconf import DictConfig

from mnist_lab.config import flatten_config
from mnist_lab.errors import UserError
from mnist_lab.runs import directory, metrics
from mnist_lab.runs.directory import checkpoint_path, run_lock
from mnist_lab.runs.metrics import Metrics
from mnist_lab.runs.result import Result

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

log = logging.getLogger(__name__)
_NEEDED = {"state_dict", "optimizer_states", "loops", "global_step", "best", "random_state", "normalize"}


class Checkpoint(NamedTuple):
    """A file that was read and found whole, and the step at which it was saved."""

    path: Path
    step: int


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


class Prediction(NamedTuple):
    """What a network takes n images for."""

    digits: "np.ndarray[Any, Any]"  # (n,) the most probable class of each
    labels: list[str]  # its name
    probabilities: "np.ndarray[Any, Any]"  # (n, 10)


class Run:
    """The one handle for a run directory. It reads what lies there when it is asked, so a run may still be training.

    Errors are UserErrors that name the file. The config may come from a stranger: it may name classes of this project
    and torch.optim, and of the packages in ``trust`` (None: any).
    """

    def __init__(self, run_dir: str | Path, trust: Sequence[str] | None = ()):
        self.directory, self.trust = directory.find_run(run_dir, trained=True).absolute(), trust

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    @cached_property
    def config(self) -> DictConfig:
        """The whole config, resolved, as ``config.yaml`` has it."""
        return directory.read_run_config(self.directory, self.trust)

    @property
    def result(self) -> Result:
        """What ``result.json`` says now."""
        return Result.read(self.directory)

    @property
    def metrics(self) -> Metrics:
        """The curves in ``metrics.csv``."""
        return Metrics(self.directory / metrics.FILE)

    def checkpoint(self, which: str = "last") -> Checkpoint:
        """The checkpoint ``last`` or ``best``, read and found whole."""
        return find_checkpoint(self.directory, which)

    def network(self, which: str = "last") -> "nn.Module":
        """The trained network, on the CPU, in evaluation mode: images (n, 1, 28, 28) in [0, 1] -> logits (n, 10)."""
        import torch  # here, because a run can be read without torch
        from hydra.utils import instantiate

        from mnist_lab.networks.layers import Normalize, ShiftedCopies

        path = self.checkpoint(which).path
        saved = torch.load(path, weights_only=True, map_location="cpu")
        network: nn.Module = instantiate(self.config.model, _convert_="all")
        try:
            network.load_state_dict({name.removeprefix("network."): w for name, w in saved["state_dict"].items()})
        except RuntimeError as error:
            raise UserError(f"{path}: the checkpoint is not of the network in {directory.CONFIG}") from error
        if shifts := self.config.get("eval_shifts"):
            network = ShiftedCopies(network, shifts)
        normalized = saved["normalize"] != [0.0, 1.0]
        return (torch.nn.Sequential(Normalize(*saved["normalize"]), network) if normalized else network).eval()

    @property
    def data(self) -> str:
        """The name of the data set it was trained on."""
        with contextlib.suppress(UserError):  # without result.json, what the config says
            return self.result.data or str(self.config.data.dataset)
        return str(self.config.data.dataset)

    @property
    def classes(self) -> tuple[str, ...]:
        """What the ten labels mean, as that data set names them."""
        from mnist_lab.data.sources import classes_of  # here, because it needs torch

        return classes_of(self.data)

    def predict(self, images: Any, which: str = "last") -> Prediction:
        """What the network takes images (n, 28, 28) for: uint8, or floats in [0, 1]; light on dark, as it was trained.

        ``python -m mnist_lab.predict`` makes such images of any picture. Raises UserError for other shapes and values.
        """
        each = probabilities(self.network(which), images)
        digits = each.argmax(axis=1)
        return Prediction(digits, [self.classes[digit] for digit in digits], each)


def probabilities(network: "nn.Module", images: Any) -> "np.ndarray[Any, Any]":
    """Of each class (n, 10), for images as :meth:`Run.predict` takes them, in batches of 1,000."""
    import numpy as np
    import torch

    try:
        values = torch.tensor(np.ascontiguousarray(images))
    except (TypeError, ValueError, RuntimeError) as error:
        said = f"predict: {type(images).__name__} is no array of images"
        raise UserError(f"{said}; mnist_lab.explore.normalize.from_picture makes one of a picture") from error
    if values.ndim != 3 or values.shape[1:] != (28, 28):
        raise UserError(f"predict: images of shape {tuple(values.shape)}; they must be (n, 28, 28)")
    values = values / 255 if values.dtype == torch.uint8 else values.float()
    if not ((values >= 0) & (values <= 1)).all():
        raise UserError("predict: images must be uint8, or floats from 0 to 1")
    with torch.inference_mode():
        logits = torch.cat([network(part) for part in torch.split(values[:, None], 1000)])
    each: np.ndarray[Any, Any] = logits.softmax(dim=1).numpy()
    return each


def load(run_dir: str | Path, trust: Sequence[str] = ()) -> Run:
    """The run in ``run_dir``, or in ``outputs/<name>/latest``. Raises UserError where there is none."""
    run = Run(run_dir, trust)
    if not (run.directory / directory.CONFIG).exists():
        run.result  # noqa: B018  # says what is missing
    return run


def state(folder: Path, result: Result) -> str:
    """How the run stands. Its process may have been killed, and cannot say so: it held the lock of its directory."""
    if result.status != "running":
        return result.status
    lock = run_lock(folder)
    with contextlib.suppress(OSError, NotImplementedError):
        if Path(lock.lock_file).exists():
            try:
                with lock:
                    return "killed"
            except Timeout:
                return "running"
    return "killed or still running"


def read_result(run_dir: Path) -> Result:
    """What ``result.json`` says; where it is missing or damaged, with a warning, what ``config.yaml`` says of the run.

    Raises UserError where that cannot be read either.
    """
    try:
        return Result.read(run_dir)
    except UserError as fault:
        config = directory.read_run_config(run_dir, trust=None)  # nothing in it is made here
        log.warning(f"{fault}; made anew from {directory.CONFIG} and the checkpoint, without the seconds until now")
        model = config.model._target_.rpartition(".")[2]
        return Result("interrupted", name=config.name or model, model=model, settings=flatten_config(config))
