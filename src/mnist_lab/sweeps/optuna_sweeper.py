"""A sweeper that searches with Optuna: ``python train.py --multirun hydra/sweeper=optuna ...``.

The search space is written in Hydra's syntax: ``choice(a, b)`` or ``a,b``, ``range(1, 9)``, ``interval(0.1, 1)``,
``int(interval(1, 8))``, and ``tag(log, interval(1e-4, 1e-1))`` for a logarithmic scale.
"""

import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mnist_lab.errors import UserError, require_extra
from mnist_lab.runs.result import Result
from mnist_lab.sweeps.job import SweepJob
from mnist_lab.sweeps.study import check, open_study
from mnist_lab.sweeps.summary import summary

if TYPE_CHECKING:
    from optuna import Study

log = logging.getLogger(__name__)
Trial = tuple[int, dict[str, Any]]  # its number, its values


class OptunaSweeper(Sweeper):
    """Asks Optuna for trials, lets the launcher run each as the job of the same number, and tells Optuna their results.

    conf/hydra/sweeper/optuna.yaml explains the options. Several machines may work on one study. A machine that was
    stopped in the middle of trials runs them again when the same search is started again.
    """

    def __init__(self, **options: Any):
        self.options = OmegaConf.create(options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        require_extra("optuna", "hpo", "hydra/sweeper=optuna")
        check(self.options)
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=SweepJob(task_function), config=config
        )
        self.folder = Path(config.hydra.sweep.dir)

    def sweep(self, arguments: list[str]) -> None:
        """Search until the study has its trials, then print the table. Raises UserError where too many trials fail."""
        assert self.config is not None
        with summary(self.config):
            self._search(arguments)

    def _search(self, arguments: list[str]) -> None:
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides([*self.options.params, *arguments])
        overrides = {override.get_key_element(): override for override in parsed}
        spaces = {key: _space(override) for key, override in overrides.items() if override.is_sweep_override()}
        if not spaces:
            raise UserError("hydra/sweeper=optuna: nothing to search; say, 'optim.lr=tag(log, interval(1e-4, 1e-1))'")
        # Trials are compared by validation. The test set is for the best one only, at the end.
        fixed = [] if "test" in overrides else ["test=false"]
        fixed += [override.input_line or "" for key, override in overrides.items() if key not in spaces]
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        study = open_study(self.options, self.folder)
        _check_spaces(study, spaces)
        self._lock = _lock(self.folder, f"{socket.gethostname()}:{os.getpid()}")  # held as long as this process lives
        self._lock.acquire()
        abandoned = _adopt_abandoned(study, self.folder)
        while batch := abandoned or list(self._ask(study, spaces)):
            abandoned = []
            for group in _consecutive(batch):
                jobs = [fixed + _assignments(params) for _, params in group]
                self.validate_batch_is_legal(jobs)
                ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
                vars(self.launcher).update(total=max(self.options.trials, ended + len(jobs)), ended=ended)
                returned = self.launcher.launch(jobs, initial_job_idx=group[0][0])
                for (number, _), job in zip(group, returned, strict=True):
                    self._tell(study, number, job)
            failed = sum(trial.state.name == "FAIL" for trial in study.get_trials(deepcopy=False))
            trials, allowed = self.options.trials, self.options.max_failed
            if failed > allowed * trials:
                raise UserError(
                    f"{failed} of {trials} trials failed, more than hydra.sweeper.max_failed={allowed} allows; "
                    f"the search stops. Each says why in {self.folder}"
                )
        self._log_the_best(study, fixed)

    def _ask(self, study: "Study", spaces: dict[str, Any]) -> Iterator[Trial]:
        """The next trials, as many as run at once."""
        for _ in range(self.options.jobs):
            states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
            if len(states) - states.count("WAITING") >= self.options.trials:
                return
            trial = study.ask(spaces)
            trial.set_user_attr("owner", f"{socket.gethostname()}:{os.getpid()}")
            yield trial.number, trial.params

    def _tell(self, study: "Study", number: int, job: JobReturn) -> None:
        from optuna.trial import TrialState

        result = Result("failed")
        if job.status == JobStatus.COMPLETED and job.hydra_cfg is not None:
            result = Result.read(Path(job.hydra_cfg.hydra.runtime.output_dir))
        values = [getattr(result, measure) for measure in self.options.objectives]
        if result.status == "done" and None not in values:
            study.tell(number, values)
        else:
            study.tell(number, state=TrialState.PRUNED if result.status == "pruned" else TrialState.FAIL)

    def _log_the_best(self, study: "Study", fixed: list[str]) -> None:
        kept = [word for word in fixed if word != "test=false" and not word.startswith("sweep.")]
        for trial in sorted(study.best_trials, key=lambda trial: trial.values):
            measured = zip(self.options.objectives, trial.values, strict=True)
            reached = ", ".join(f"{name} {value:.6g}" for name, value in measured)
            words = " ".join(kept + _assignments(trial.params))
            log.info(f"best: trial {trial.number}, {reached}: python train.py {words}")
        if not study.best_trials:
            log.warning("no trial was completed")


def _assignments(params: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in params.items()]


def _space(override: Override) -> Any:
    """The search space in ``override`` as an Optuna distribution; choices stay in Hydra's syntax."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space, step = override.value(), None
    try:
        if isinstance(space, IntervalSweep):
            numbers: list[Any] = [space.start, space.end]
        elif isinstance(space, RangeSweep):
            numbers, step = list(space.range()), space.step
        else:
            return CategoricalDistribution(list(override.sweep_string_iterator()))
        low, high, log_scale = numbers[0], numbers[-1], "log" in space.tags
        if all(isinstance(number, int) for number in numbers):  # a range, or int(interval(...))
            return IntDistribution(low, high, step=int(step or 1), log=log_scale)
        return FloatDistribution(low, high, step=None if log_scale else step, log=log_scale)
    except (ValueError, IndexError) as error:
        raise UserError(f"{override.input_line}: cannot be searched ({error})") from error


def _check_spaces(study: "Study", spaces: dict[str, Any]) -> None:
    """Raise UserError where the study was begun with other search spaces."""
    now = {key: repr(space) for key, space in spaces.items()}
    then = study.user_attrs.get("spaces", now)
    if then != now:
        raise UserError(
            f"the study {study.study_name} searched {', '.join(then)} in other ranges; repeat its command, "
            "or name another hydra.sweeper.study or hydra.sweep.dir"
        )
    study.set_user_attr("spaces", now)


def _lock(folder: Path, owner: str) -> FileLock:
    """What the process ``owner`` holds while it lives; the operating system frees it, however the process ends."""
    return FileLock(folder / f".{owner.replace(':', '-')}.lock")


def _adopt_abandoned(study: "Study", folder: Path) -> list[Trial]:
    """Take over the trials that were running in a process of this machine that no longer exists."""
    found, host = [], socket.gethostname()
    for trial in study.get_trials(deepcopy=False):
        owner = str(trial.user_attrs.get("owner", ""))
        if trial.state.name == "RUNNING" and owner.startswith(f"{host}:"):
            with contextlib.suppress(Timeout), _lock(folder, owner).acquire(blocking=False):
                study._storage.set_trial_user_attr(trial._trial_id, "owner", f"{host}:{os.getpid()}")
                found.append((trial.number, dict(trial.params)))
    return found


def _consecutive(batch: list[Trial]) -> Iterator[list[Trial]]:
    """The batch in groups of consecutive numbers, as launchers count: other machines take numbers in between."""
    for _, group in itertools.groupby(enumerate(batch), key=lambda pair: pair[1][0] - pair[0]):
        yield [trial for _, trial in group]
