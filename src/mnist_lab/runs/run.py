"""A run directory as an object: its config, result, curves, checkpoints and network."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from mnist_lab.errors import UserError
from mnist_lab.runs import directory, metrics
from mnist_lab.runs.checkpoints import Checkpoint, find_checkpoint
from mnist_lab.runs.metrics import Metrics
from mnist_lab.runs.result import Result

if TYPE_CHECKING:
    from torch import nn


class Run:
    """The one handle for a run directory. It reads what lies there when it is asked, so a run may still be training.

    Errors are UserErrors that name the file. The config may come from a stranger: it may name classes of this project
    and torch.optim, and of the packages in ``trust`` (None: any).
    """

    def __init__(self, run_dir: str | Path, trust: Sequence[str] | None = ()):
        self.directory, self.trust = Path(run_dir), trust

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

        from mnist_lab.networks.layers import Normalize

        path = self.checkpoint(which).path
        saved = torch.load(path, weights_only=True, map_location="cpu")
        network: nn.Module = instantiate(self.config.model, _convert_="all")
        try:
            network.load_state_dict({name.removeprefix("network."): w for name, w in saved["state_dict"].items()})
        except RuntimeError as error:
            raise UserError(f"{path}: the checkpoint is not of the network in {directory.CONFIG}") from error
        normalized = saved["normalize"] != [0.0, 1.0]
        return (torch.nn.Sequential(Normalize(*saved["normalize"]), network) if normalized else network).eval()


def load(run_dir: str | Path, trust: Sequence[str] = ()) -> Run:
    """The run in ``run_dir``. Raises UserError where there is none."""
    run = Run(run_dir, trust)
    run.result  # noqa: B018  # says what is missing
    return run
