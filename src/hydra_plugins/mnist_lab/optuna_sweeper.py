"""A sweeper that searches with Optuna: ``python train.py --multirun hydra/sweeper=optuna ...``.

What is searched is written in Hydra's own words: ``choice(a, b)`` or ``a,b``, ``range(1, 9)``, ``interval(0.1, 1)``,
``int(interval(1, 8))``, and ``tag(log, interval(1e-4, 1e-1))`` for a logarithmic scale.
"""

import itertools
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mnist_lab import results, search
from mnist_lab.errors import UserError, needed

if TYPE_CHECKING:
    from optuna import Study

log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Asks Optuna for trials, lets the launcher run them, and tells Optuna what they reached.

    A trial's number is its job's number. conf/hydra/sweeper/optuna.yaml says what the options mean. Several machines
    may work on one study; one that starts anew runs trials again that were left behind when it was stopped.
    """

    def __init__(self, **options: Any):
        self.options = OmegaConf.create(options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        needed("optuna", "hpo", "hydra/sweeper=optuna")
        search.check(self.options)
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.folder = Path(config.hydra.sweep.dir)

    def sweep(self, arguments: list[str]) -> None:
        """Search until the study has its trials. Raises UserError where too many of them fail."""
        given = list(self.options.params) + arguments
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = {override.get_key_element(): override for override in parser.parse_overrides(given)}
        spaces = {key: _space(override) for key, override in overrides.items() if override.is_sweep_override()}
        if not spaces:
            raise UserError("hydra/sweeper=optuna: nothing to search; say, 'optim.lr=tag(log, interval(1e-4, 1e-1))'")
        # Trials are compared on validation. Whoever searches has no business with the test set before the end.
        fixed = [] if "test" in overrides else ["test=false"]
        fixed += [override.input_line or "" for key, override in overrides.items() if key not in spaces]
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        study = search.open_study(self.options, self.folder)
        _same_search(study, spaces)
        wanted = self._enqueue_grid(study, spaces) if self.options.sampler == "grid" else self.options.trials
        again = _left_behind(study)
        while batch := again or list(self._ask(study, spaces, wanted)):
            again = []
            for group in _consecutive(batch):
                jobs = [fixed + [f"{key}={value}" for key, value in params.items()] for _, params in group]
                self.validate_batch_is_legal(jobs)
                returned = self.launcher.launch(jobs, initial_job_idx=group[0][0])
                for (number, _), job in zip(group, returned, strict=True):
                    self._tell(study, number, job)
            failed = sum(trial.state.name == "FAIL" for trial in study.get_trials(deepcopy=False))
            if failed > self.options.max_failed * wanted:
                raise UserError(
                    f"{failed} of {wanted} trials failed, more than hydra.sweeper.max_failed={self.options.max_failed} "
                    f"allows; the search stops. Each says why in {self.folder}"
                )
        self._say_the_best(study, fixed)

    def _enqueue_grid(self, study: "Study", spaces: dict[str, Any]) -> int:
        """Queue every combination that is not there yet; how many there are."""
        axes = {key: _values(key, space) for key, space in spaces.items()}
        combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        for combination in combinations:
            study.enqueue_trial(combination, skip_if_exists=True)
        return len(combinations)

    def _ask(self, study: "Study", spaces: dict[str, Any], wanted: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The next trials, as many as run at once: number and values."""
        for _ in range(self.options.jobs):
            states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
            if len(states) - states.count("WAITING") >= wanted:
                return
            trial = study.ask(spaces)
            trial.set_user_attr("owner", f"{socket.gethostname()}:{os.getpid()}")
            yield trial.number, trial.params

    def _tell(self, study: "Study", number: int, job: JobReturn) -> None:
        from optuna.trial import TrialState

        state: TrialState = TrialState.FAIL
        reached: list[Any] | None = None
        if job.hydra_cfg is not None:
            result = results.read(Path(job.hydra_cfg.hydra.runtime.output_dir))
            values = [result.get(measure) for measure in self.options.objectives]
            if result["status"] == "pruned":
                state = TrialState.PRUNED
            elif result["status"] == "done" and None not in values:
                state, reached = TrialState.COMPLETE, values
        study.tell(number, reached, state)

    def _say_the_best(self, study: "Study", fixed: list[str]) -> None:
        names = list(self.options.objectives)
        for trial in sorted(study.best_trials, key=lambda trial: trial.values):
            reached = ", ".join(f"{name} {value:.6g}" for name, value in zip(names, trial.values, strict=True))
            chosen = [f"{key}={value}" for key, value in trial.params.items()]
            kept = [word for word in fixed if word != "test=false" and not word.startswith("sweep.")]
            words = " ".join(kept + chosen)
            log.info(f"best: trial {trial.number}, {reached}: python train.py {words}")
        if not study.best_trials:
            log.warning("no trial came to its end")


def _space(override: Override) -> Any:
    """What ``override`` searches, as an Optuna distribution; a choice is kept as the words that Hydra takes."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    log_scale = isinstance(value, (IntervalSweep, RangeSweep)) and "log" in value.tags
    try:
        if isinstance(value, IntervalSweep):
            assert value.start is not None
            assert value.end is not None
            if isinstance(value.start, int) and isinstance(value.end, int):  # int(interval(...))
                return IntDistribution(value.start, value.end, log=log_scale)
            return FloatDistribution(float(value.start), float(value.end), log=log_scale)
        if isinstance(value, RangeSweep):
            numbers = list(value.range())
            if all(isinstance(number, int) for number in numbers):
                return IntDistribution(int(numbers[0]), int(numbers[-1]), step=int(value.step), log=log_scale)
            return FloatDistribution(numbers[0], numbers[-1], step=None if log_scale else value.step, log=log_scale)
    except (ValueError, IndexError) as error:
        raise UserError(f"{override.input_line}: cannot be searched ({error})") from error
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _values(key: str, space: Any) -> list[Any]:
    """All values of a space that has an end of them. Raises UserError for others."""
    if hasattr(space, "choices"):
        return list(space.choices)
    if not space.step or space.log:
        raise UserError(f"{key}: a grid needs choices or a range with a step; an interval has no end of values")
    count = round((space.high - space.low) / space.step) + 1
    return [space.low + i * space.step for i in range(count)]


def _same_search(study: "Study", spaces: dict[str, Any]) -> None:
    """Raise UserError where the study is one of other spaces."""
    now = {key: repr(space) for key, space in spaces.items()}
    then = study.user_attrs.get("spaces")
    if then is None:
        study.set_user_attr("spaces", now)
    elif then != now:
        raise UserError(
            f"the study {study.study_name} searched {', '.join(then)} in other ranges; repeat its command, "
            "or name another hydra.sweeper.study or hydra.sweep.dir"
        )


def _left_behind(study: "Study") -> list[tuple[int, dict[str, Any]]]:
    """Trials that a process of this machine had begun and will not end: it is gone."""
    found = []
    for trial in study.get_trials(deepcopy=False):
        host, _, process = str(trial.user_attrs.get("owner", ":")).partition(":")
        if trial.state.name == "RUNNING" and host == socket.gethostname() and not Path(f"/proc/{process}").exists():
            study._storage.set_trial_user_attr(trial._trial_id, "owner", f"{host}:{os.getpid()}")
            found.append((trial.number, dict(trial.params)))
    return found


def _consecutive(batch: list[tuple[int, dict[str, Any]]]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """The batch in groups whose numbers follow each other, as launchers count; other machines take numbers too."""
    for _, group in itertools.groupby(enumerate(batch), key=lambda pair: pair[1][0] - pair[0]):
        yield [trial for _, trial in group]
