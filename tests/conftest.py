"""What the tests share: runs in this process by ``mnist_lab.train``, and runs of train.py in processes of their own."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # faults and mirror, from every folder
os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side, and threads that wait for each other's core crawl
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # as on a newcomer's machine
os.environ.pop("HYDRA_FULL_ERROR", None)

import started

import mnist_lab

for name in [name for name in os.environ if name.startswith("SLURM_")]:  # as outside of Slurm's jobs
    del os.environ[name]
os.environ["SLURM_CONF"] = os.devnull  # and no test submits to somebody's cluster
ROOT = Path(__file__).parents[1]
REAL_DATA = Path(os.environ.pop("MNIST_LAB_DATA", ROOT / "data"))  # for the one test that wants it


@dataclass
class Process:
    """A finished process of train.py: what it printed, and the directory it left."""

    code: int
    out: str
    err: str
    directory: Path

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.directory / "result.json").read_text())

    @property
    def message(self) -> str:
        """The one line that a mistake gets."""
        assert self.code == 1, self.err
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0]


Lab = Callable[..., mnist_lab.Run]
Train = Callable[..., Process]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Runs ``mnist_lab.train`` in this process, from an empty folder; ``to`` names the run directory in it."""
    monkeypatch.chdir(tmp_path)
    return lab_in(tmp_path)


def lab_in(folder: Path) -> Lab:
    """What ``lab`` does, from ``folder``."""

    def run(*overrides: str, to: str = "run") -> mnist_lab.Run:
        elsewhere = {"resume", "hydra.run.dir"} & {override.split("=")[0] for override in overrides}
        return mnist_lab.train(*overrides, *([] if elsewhere else [f"hydra.run.dir={folder / to}"]))

    return run


def environment(**more: str) -> dict[str, str]:
    """Of a process that a test starts."""
    return dict(os.environ) | more


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *arguments]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Runs ``python train.py`` to its end, from an empty folder, with ``limit`` bytes of memory."""
    return trains_in(tmp_path)


def trains_in(folder: Path) -> Train:
    """What ``train`` does, from ``folder``."""

    def run(*arguments: str, env: dict[str, str] | None = None, to: str = "run", limit: int | None = None) -> Process:
        directory = folder / to
        elsewhere = {"resume", "hydra.run.dir", "--multirun"} & {argument.split("=")[0] for argument in arguments}
        where = [] if elsewhere else [f"hydra.run.dir={directory}"]
        said = Path(tempfile.mkdtemp(prefix="said-", dir=folder))
        script, given = ROOT / "train.py", [*arguments, *where]
        code = started.run(script, given, folder, environment(**(env or {})), said, limit)
        return Process(code, (said / "out").read_text(), (said / "err").read_text(), directory)

    return run


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """data=mnist means what mirror.py serves."""
    import mirror
    import torchvision

    from mnist_lab.data import sources

    monkeypatch.setitem(sources.FAMILIES, "mnist", sources.FAMILIES["mnist"])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", torchvision.datasets.MNIST.resources)
    mirror.pretend()


@pytest.fixture
def lean_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that LeanSteps have taken."""
    from mnist_lab.speed.lean_steps import LeanSteps

    taken: list[int] = []
    step = LeanSteps._step

    def counted(self: Any, trainer: Any, *rest: Any) -> None:
        taken.append(trainer.global_step)
        step(self, trainer, *rest)

    monkeypatch.setattr(LeanSteps, "_step", counted)
    return taken


def quiet_trainer(folder: Path, callbacks: list[Any], from_step: int = -1, **options: Any) -> Any:
    """A Trainer in this process, on the CPU, that writes curves in ``folder`` and prints nothing."""
    import pytorch_lightning as pl

    from mnist_lab.callbacks import CsvLogger

    return pl.Trainer(
        callbacks=callbacks,
        logger=CsvLogger(folder, from_step),
        default_root_dir=str(folder),
        accelerator="cpu",
        max_epochs=-1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        **{"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        | {"val_check_interval": 5}
        | options,
    )
