"""The Optuna study of a search: its options, and its storage, which the sweeper and the runs of the search open."""

import logging
import random
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig

from mnist_lab.errors import UserError, did_you_mean
from mnist_lab.sweeps import at_least

if TYPE_CHECKING:
    from optuna import Study

# What a search may optimise: numbers of result.json that the test set has no part in.
MEASURES: dict[str, Literal["minimize", "maximize"]] = {
    "val_accuracy": "maximize",
    "best_val_accuracy": "maximize",
    "parameters": "minimize",
    "multiply_adds": "minimize",
    "fit_seconds": "minimize",
    "images_per_second": "maximize",
}
# By the names of Optuna's classes. TPE must not propose again what a trial that is still running tries.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tpe": ("TPESampler", {"constant_liar": True}),
    "random": ("RandomSampler", {}),
    "nsga2": ("NSGAIISampler", {}),
}
PRUNERS = {"none": "NopPruner", "median": "MedianPruner", "hyperband": "HyperbandPruner"}


def open_study(sweeper: DictConfig, folder: Path) -> "Study":
    """Open or create the study of the sweep in ``folder``; ``sweeper`` is the config of hydra/sweeper=optuna.

    Raises UserError where its storage cannot be reached.
    """
    for attempt in (1, 2, 3):
        try:
            return _open(sweeper, folder)
        except (ModuleNotFoundError, ValueError, OSError) as error:
            raise UserError(f"hydra.sweeper.storage={sweeper.storage}: {error}") from error
        except Exception as error:  # of a database driver; also when two processes create its tables at once
            if attempt == 3:
                said = " ".join(str(error.__cause__ or error).split())
                raise UserError(f"hydra.sweeper.storage={sweeper.storage}: cannot be reached ({said})") from error
            time.sleep(random.uniform(0.1, 0.5))
    raise AssertionError


def _open(sweeper: DictConfig, folder: Path) -> "Study":
    import optuna  # here, because it is an extra
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(logging.WARNING)
    storage = sweeper.storage
    if not storage:
        folder.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            study_name=sweeper.study or folder.name,
            storage=storage,
            directions=[MEASURES[measure] for measure in sweeper.objectives],
            load_if_exists=True,
            pruner=getattr(optuna.pruners, PRUNERS[sweeper.pruner])(),
        )
        name, options = SAMPLERS[sweeper.sampler]
        # A search that goes on must not draw the same numbers again, so the seed depends on the number of trials.
        seed = sweeper.seed + len(study.get_trials(deepcopy=False))
        study.sampler = getattr(optuna.samplers, name)(seed=seed, **options)
    return study


def check(sweeper: DictConfig) -> None:
    """Raise UserError for an option that is out of range."""
    if sweeper.sampler == "grid":
        raise UserError(
            "hydra.sweeper.sampler=grid: all combinations are what hydra/sweeper=combinations trains: leave out "
            "hydra/sweeper=optuna and its options, and write choices as a,b and ranges as range(1, 9)"
        )
    for key, known in {"sampler": list(SAMPLERS), "pruner": list(PRUNERS)}.items():
        if sweeper[key] not in known:
            raise UserError(f"hydra.sweeper.{key}={sweeper[key]}: {did_you_mean(str(sweeper[key]), known)}")
    for measure in sweeper.objectives or [""]:  # at least one is needed
        if measure not in MEASURES:
            raise UserError(f"hydra.sweeper.objectives=[{measure}]: {did_you_mean(measure, MEASURES)}")
    if len(sweeper.objectives) > 1 and sweeper.pruner != "none":
        raise UserError(f"hydra.sweeper.pruner={sweeper.pruner}: needs a single objective; with several, take none")
    for key in ("trials", "jobs"):
        at_least(f"hydra.sweeper.{key}", sweeper[key])
    if not 0 <= sweeper.max_failed <= 1:
        raise UserError(f"hydra.sweeper.max_failed={sweeper.max_failed}: must be a fraction from 0 to 1")
