"""Where the trials of an Optuna search are kept, for its sweeper and for the runs, which report to be pruned.

The sweeper is in hydra_plugins/mnist_lab/optuna_sweeper.py, where Hydra looks for it.
"""

import logging
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig

from mnist_lab.errors import UserError, did_you_mean, needed

if TYPE_CHECKING:
    from optuna import Study

# What a search may go by, and which way: never the test set.
MEASURES: dict[str, Literal["minimize", "maximize"]] = {
    "val_accuracy": "maximize",
    "best_val_accuracy": "maximize",
    "parameters": "minimize",
    "fit_seconds": "minimize",
    "images_per_second": "maximize",
}
SAMPLERS = ("tpe", "random", "grid", "nsga2")
PRUNERS = ("none", "median", "hyperband")


class Pruned(Exception):  # noqa: N818
    """A run was stopped because others of its search were better at the same step."""


def open_study(sweeper: DictConfig, folder: Path) -> "Study":
    """The study that ``sweeper`` (the config hydra/sweeper=optuna) describes, of the sweep in ``folder``; made if new.

    Raises UserError where its storage cannot be reached.
    """
    needed("optuna", "hpo", "hydra/sweeper=optuna")
    import optuna  # here and below, because only a search needs it

    optuna.logging.set_verbosity(logging.WARNING)
    for attempt in range(3):
        try:
            return _open(sweeper, folder)
        except (ModuleNotFoundError, ValueError, OSError) as error:
            raise UserError(f"hydra.sweeper.storage={sweeper.storage}: {error}") from error
        except Exception as error:  # whatever the driver of a data base says; two that make its tables collide
            if attempt == 2:
                said = " ".join(str(error.__cause__ or error).split())
                raise UserError(f"hydra.sweeper.storage={sweeper.storage}: cannot be reached ({said})") from error
            time.sleep(random.uniform(0.1, 0.5))
    raise AssertionError


def _open(sweeper: DictConfig, folder: Path) -> "Study":
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage: Any = sweeper.storage
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
            pruner=_pruner(sweeper.pruner),
        )
        # Several trials at once, here or elsewhere: a sampler must not ask twice for what is under way. A search that
        # goes on must not draw the same numbers again.
        study.sampler = _sampler(sweeper.sampler, sweeper.seed + len(study.get_trials(deepcopy=False)))
    return study


def _sampler(name: str, seed: int) -> Any:
    from optuna import samplers

    if name == "tpe":
        return samplers.TPESampler(seed=seed, constant_liar=True)
    return samplers.NSGAIISampler(seed=seed) if name == "nsga2" else samplers.RandomSampler(seed=seed)


def _pruner(name: str) -> Any:
    from optuna import pruners

    kinds = {"none": pruners.NopPruner, "median": pruners.MedianPruner, "hyperband": pruners.HyperbandPruner}
    return kinds[name]()


def check(sweeper: DictConfig) -> None:
    """Raise UserError for a value that is out of range."""
    for key, known in {"sampler": SAMPLERS, "pruner": PRUNERS}.items():
        if sweeper[key] not in known:
            raise UserError(f"hydra.sweeper.{key}={sweeper[key]}: {did_you_mean(str(sweeper[key]), known)}")
    for measure in sweeper.objectives:
        if measure not in MEASURES:
            raise UserError(f"hydra.sweeper.objectives=[{measure}]: {did_you_mean(measure, MEASURES)}")
    if not sweeper.objectives:
        raise UserError(f"hydra.sweeper.objectives=[]: name at least one of {', '.join(MEASURES)}")
    if len(sweeper.objectives) > 1 and sweeper.pruner != "none":
        raise UserError(f"hydra.sweeper.pruner={sweeper.pruner}: needs a single objective; with several, take none")
    for key in ("trials", "jobs"):
        if sweeper[key] < 1:
            raise UserError(f"hydra.sweeper.{key}={sweeper[key]}: must be at least 1")
    if not 0 <= sweeper.max_failed <= 1:
        raise UserError(f"hydra.sweeper.max_failed={sweeper.max_failed}: must be a share from 0 to 1")


def reporter(hydra: Any) -> Callable[[int, float], None] | None:
    """For a run: what reports its validation accuracy to the search it belongs to, if that prunes; else None.

    A function of the step and the accuracy, which raises Pruned where the run has fallen behind.
    """
    sweeper = hydra.sweeper
    if sweeper.get("pruner", "none") == "none":
        return None
    from optuna.trial import Trial

    study = open_study(sweeper, Path(hydra.sweep.dir))
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, hydra.job.num)
    trial = Trial(study, trial_id)

    def report(step: int, accuracy: float) -> None:
        trial.report(accuracy, step)
        if trial.should_prune():
            raise Pruned(f"behind other trials at step {step:,}, with a validation accuracy of {accuracy:.2%}")

    return report
