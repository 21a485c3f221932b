"""Runs the jobs of a sweep on a cluster, as the tasks of Slurm job arrays.

A task's index is the number of its job: ``scancel 12_7`` cancels job 7. What lives, ``squeue`` tells; how a job ended,
its run directory. The sweep's folder ``slurm`` keeps what was submitted: scripts, ids, output.
"""

import contextlib
import itertools
import logging
import os
import pickle
import re
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn

from mnist_lab.errors import UserError, short_path
from mnist_lab.runs.result import FILE
from mnist_lab.sweeps import at_least, command_again
from mnist_lab.sweeps.allocation import slurm
from mnist_lab.sweeps.job import earlier_result
from mnist_lab.sweeps.launchers import Job, JobLauncher, recorded

log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 5
_SECONDS_TO_APPEAR = 60  # that a network file system may take to show what was written elsewhere
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"}
_ENDED |= {"PREEMPTED", "REVOKED", "GONE"}


class State(NamedTuple):
    """How Slurm sees a job: its id, as ``12_7``, its state, why it waits, the status its process ended with."""

    id: str
    name: str
    reason: str = ""
    status: int = 0


class Slurm(JobLauncher):
    """Submits arrays and waits for them. conf/hydra/launcher/slurm.yaml has the options, each checked here."""

    def __init__(
        self,
        folder: str,
        array_parallelism: int,
        timeout_min: int,
        cpus_per_task: int,
        mem_gb: float,
        gpus_per_node: int,
        additional_parameters: Sequence[str] | str,
        setup: Sequence[str] | str,
        python: str | None,
        **names: str | None,  # partition, account, qos
    ):
        self.folder, self.shell = Path(folder).absolute(), _lines("setup", setup)
        self.python = python or shlex.quote(sys.executable)
        self.at_once = at_least("hydra.launcher.array_parallelism", array_parallelism)
        options: dict[str, Any] = {
            "job-name": "mnist_lab",
            "open-mode": "append",
            "output": str(self.folder).replace("%", "%%") + "/%A_%a.log",
            "time": (minutes := at_least("hydra.launcher.timeout_min", timeout_min)),
            "signal": f"B:USR2@{min(90, 15 * minutes)}",  # so many seconds before the time is over
            "cpus-per-task": at_least("hydra.launcher.cpus_per_task", cpus_per_task),
            "mem": f"{1024 * at_least('hydra.launcher.mem_gb', mem_gb, 0.001):.0f}M",
            "gpus-per-node": at_least("hydra.launcher.gpus_per_node", gpus_per_node, 0) or None,
            **names,
        }
        self.options = [f"--{name}={value}" for name, value in options.items() if value is not None]
        for given in _lines("additional_parameters", additional_parameters):
            if not re.fullmatch(r"(--)?[a-z][a-z0-9-]+(=.+)?", given):
                raise UserError(f"hydra.launcher.additional_parameters: {given!r} is no option of sbatch, as exclusive")
            self.options.append(f"--{given.removeprefix('--')}")

    def _launch(self, jobs: list[Job]) -> dict[int, JobReturn]:
        """Run those that are neither done nor in Slurm already, and wait for all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        begun = any(Path(self.config.hydra.sweep.dir).rglob(FILE))
        returns = {job[0]: self._tell(self._done(job)) for job in jobs if begun and self._was_done(job)}
        waiting = {job[0]: job for job in jobs if job[0] not in returns}
        handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            if living := self._living(waiting):
                log.info(f"{len(living)} jobs are in Slurm already, {_arrays(living)}")
            self._submit([job for number, job in waiting.items() if number not in living])
            self._wait(waiting, returns)
        except BaseException:
            with contextlib.suppress(UserError):
                if living := self._living(waiting):
                    ids, again = _arrays(living), command_again(self.config.hydra.sweep.dir)
                    log.warning(f"{len(living)} jobs live on in Slurm, {ids}; rejoin: {again}; cancel: scancel {ids}")
            raise
        finally:
            signal.signal(signal.SIGTERM, handler)
        return returns

    def _was_done(self, job: Job) -> bool:
        run_dir = self.directory(job)
        before = earlier_result(self._run_config(job), run_dir) if (run_dir / FILE).exists() else None
        return before is not None and before.status in ("done", "pruned")

    def _submit(self, jobs: list[Job]) -> None:
        """Submit an array for each range of job numbers that Slurm takes at once."""
        found = re.search(r"MaxArraySize\s*= (\d+)", slurm("scontrol", "show", "config") if jobs else "")
        size = int(found[1]) if found else 1001
        for part, group in itertools.groupby(jobs, key=lambda job: job[0] // size):
            tasks = {job[0] - part * size: job for job in group}
            stem = self.folder / f"{part * size}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            script, payload, ids = (stem.with_suffix(suffix) for suffix in (".sh", ".pkl", ".id"))
            payload.write_bytes(pickle.dumps((sys.argv, pickle.dumps((self, tasks)))))
            script.write_text(self.script(payload), encoding="utf-8")
            words = ["--parsable", "--requeue", *self.options, f"--array={','.join(map(str, tasks))}%{self.at_once}"]
            with ids.open("w", encoding="utf-8") as file:  # sbatch writes it, also where this process is killed
                slurm("sbatch", *words, str(script), stdout=file)
            given = ids.read_text(encoding="utf-8").strip()
            log.info(f"{len(tasks)} jobs submitted as {given}; output in {short_path(self.folder)}")

    def script(self, payload: Path) -> str:
        """What Slurm runs for a task of the array whose jobs lie in the file ``payload``."""
        environment = "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} PYTHONUNBUFFERED=1"
        job = f"exec {self.python} -m mnist_lab.sweeps.allocation {shlex.quote(str(payload))}"  # exec: it gets signals
        return "\n".join(["#!/bin/bash", environment, *self.shell, job, ""])

    def _look(self) -> dict[int, State]:
        """How Slurm sees the jobs of this sweep, by number. Raises UserError where it does not say."""
        paths = [path for path in self.folder.glob("*.id") if path.stat().st_size]
        first = {path.read_text(encoding="utf-8").split(";")[0].strip(): int(path.name.split("-")[0]) for path in paths}
        words = ["--me", "--all", "--noheader", "--array", "--states=all", "--Format"]
        words += ["ArrayJobID:|,ArrayTaskID:|,State:|,Reason:|,exit_code:|"]
        rows = [line.split("|") for line in (slurm("squeue", *words) if first else "").splitlines()]
        return {  # where a job was submitted several times, the last
            first[array] + int(task): State(f"{array}_{task}", name, reason, int(status) if status.isdigit() else 0)
            for array, task, name, reason, status, *_ in sorted(rows, key=lambda row: int(row[0]))
            if array in first and task.isdigit()
        }

    def _living(self, jobs: dict[int, Job]) -> dict[int, State]:
        return {number: state for number, state in self._look().items() if number in jobs and state.name not in _ENDED}

    def _wait(self, waiting: dict[int, Job], returns: dict[int, JobReturn]) -> None:
        """Move each job from ``waiting`` to ``returns`` as it ends; say why those wait that have not begun."""
        told, seen, ended = {"None", "JobArrayTaskLimit"}, dict[int, State](), dict[int, float]()
        while waiting:
            try:
                now = self._look()
                gone = {number: seen.get(number, State("", ""))._replace(name="GONE") for number in waiting}
                seen = gone | now
            except UserError as error:  # no news is no end
                now = {}
                if str(error) not in told:
                    log.warning(f"{error}; asking again")
                told.add(str(error))
            for number, job in list(waiting.items()):
                state = seen.get(number)
                if not state or state.name not in _ENDED:
                    continue
                if recorded(self.directory(job)).status in ("done", "pruned"):
                    returned = self._done(job)
                elif state.name not in ("COMPLETED", "GONE") or time.monotonic() > ended.setdefault(
                    number, time.monotonic() + _SECONDS_TO_APPEAR
                ):
                    returned = self._killed(job, self._why(state))
                else:
                    continue
                returns[number] = self._tell(returned)
                del waiting[number]
            reasons = Counter(state.reason for number, state in now.items() if state.name == "PENDING")
            for reason in reasons.keys() - told:
                log.info(f"{reasons[reason]} jobs wait: {reason}")
            told |= reasons.keys()
            time.sleep(_SECONDS_BETWEEN_LOOKS if waiting else 0)

    def _why(self, state: State) -> str:
        """Why a job ended: its state, what it said last, where the rest is."""
        path = self.folder / f"{state.id}.log"
        said = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        lines = [line for line in said.split("\n") if line.strip()]
        number = state.status & 0x7F if state.name == "FAILED" else 0
        killed = f" ({signal.Signals(number).name})" if 0 < number < 32 else ""
        return f"{state.name}{killed}" + (f": {lines[-1].strip()}; output in {short_path(path)}" if lines else "")


def _arrays(states: dict[int, State]) -> str:
    """The ids of the arrays that the jobs belong to."""
    return " ".join(sorted({state.id.partition("_")[0] for state in states.values()}, key=int))


def _lines(name: str, given: Sequence[str] | str) -> list[str]:
    """The option ``name``, a list of strings; one alone will do. Raises UserError for anything else."""
    lines = [given] if isinstance(given, str) else list(given)
    if strange := [line for line in lines if not isinstance(line, str) or "\n" in line]:
        raise UserError(f"hydra.launcher.{name}: {strange[0]!r} is not a line of text; write ['one', 'another']")
    return lines
