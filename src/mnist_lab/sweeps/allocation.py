"""A process inside a Slurm allocation: its directory, its threads, its restarts, its stop before the time limit."""

import atexit
import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from filelock import Timeout
from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from mnist_lab.errors import UserError
from mnist_lab.runs.directory import checkpoint_path, run_lock
from mnist_lab.runs.result import FILE
from mnist_lab.sweeps.launchers import recorded

_SECONDS_TO_FREE = 120  # a run's directory, for the process of a job that Slurm has started again elsewhere


class Allocation(Callback):
    """Hydra calls it in every process of train.py for which Slurm has set SLURM_JOB_ID."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Give the processes that srun started one directory, which a job that was requeued finds again."""
        several = int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1
        itself = os.environ.get("SLURM_TASK_PID") == str(os.getpid())  # not a shell or a script, which may start others
        by_srun = "SLURM_STEP_ID" in os.environ and (several or itself)
        named = OmegaConf.to_container(config.hydra.run, resolve=False) != {"dir": "${run_dir:}"} or config.resume
        if by_srun and not named:
            step = f"{os.environ['SLURM_JOB_ID']}-{os.environ['SLURM_STEP_ID']}"
            command = zlib.crc32("\0".join(sys.argv[1:]).encode())  # a step may start several runs
            with read_write(config.hydra):
                config.hydra.run.dir = str(Path(config.hydra.run.dir).with_name(f"{step}-{command:08x}"))
        run_dir = Path(config.hydra.run.dir)
        enter(run_dir, alone=not by_srun)
        if _restarted() and not config.resume and checkpoint_path(run_dir, "last").exists():
            config.resume = str(run_dir)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        enter(Path(config.hydra.sweep.dir))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
            os.environ.setdefault("OMP_NUM_THREADS", cores)  # torch, which is not loaded yet, would take all


def enter(folder: Path, alone: bool = True) -> None:
    """Make this process fit for Slurm before it works in ``folder``.

    From now on, SIGUSR2 is a SIGTERM after which the job is queued again, to go on from what it has saved. Slurm sends
    it before the time limit where sbatch was given ``--signal``. A start that saved nothing is not followed by another.
    """
    if alone:
        os.environ["SLURM_JOB_NAME"] = "interactive"  # else Lightning waits for as many processes as there are tasks
    leads = {os.environ.get(name, "0") for name in ("SLURM_PROCID", "LOCAL_RANK")} == {"0"}
    if _restarted() and leads and folder.exists():
        with contextlib.suppress(Timeout, OSError, NotImplementedError):  # which the run itself will tell
            run_lock(folder).acquire(timeout=_SECONDS_TO_FREE).lock.release()

    def saved() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("last.ckpt")}

    before, asked = saved(), list[int]()

    def requeue() -> None:
        if not any(recorded(path.parent).status == "interrupted" for path in folder.rglob(FILE)):
            return  # all was done when the signal came
        if saved() == before:
            print("error: not queued again, since nothing was trained before the time limit", file=sys.stderr)
            return
        try:
            slurm("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
        except UserError as error:
            print(f"error: not queued again: {error}", file=sys.stderr)

    def stop(number: int, frame: Any) -> None:
        if leads and not asked:
            atexit.register(requeue)
        asked.append(number)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGUSR2, stop)


def slurm(command: str, *words: str, stdout: Any = subprocess.PIPE) -> str:
    """What a command of Slurm prints. Raises UserError with what it complains of."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
    late = {signal.SIGINT, signal.SIGTERM} if command == "sbatch" else set()  # they come when its answer is there
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, late)
    try:
        done = subprocess.run([command, *words], env=env, stdout=stdout, stderr=-1, text=True, start_new_session=True)
    except FileNotFoundError:
        where = "run this where it is, or take hydra/launcher=joblib"
        raise UserError(f"hydra/launcher=slurm: there is no {command} here; {where}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if done.returncode:
        said = "; ".join(re.sub(r"^.*?(error|fatal): ", "", line) for line in done.stderr.splitlines())
        raise UserError(f"hydra/launcher=slurm: {command}: {said or f'exit code {done.returncode}'}")
    return done.stdout or ""


def main(path: str) -> None:
    """Run the job of a sweep that is this task's, one of those in the file ``path``."""
    sys.argv, pickled = pickle.loads(Path(path).read_bytes())
    sys.path.insert(0, str(Path(sys.argv[0]).absolute().parent))  # as train.py has it
    launcher, tasks = pickle.loads(pickled)
    job = tasks[int(os.environ["SLURM_ARRAY_TASK_ID"])]
    launcher.enter_process()
    run_dir = launcher.directory(job)
    enter(run_dir)
    returned = launcher(job)
    if returned.status == JobStatus.FAILED:
        sys.exit(f"error: {str(returned._return_value).removeprefix(f'{run_dir}: ')}")


def _restarted() -> bool:
    """Whether Slurm has started this job before: it was preempted or requeued, or its node failed."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0


if __name__ == "__main__":
    main(sys.argv[1])
