"""Sweeps and trainings on a real Slurm, which the tests start themselves."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm
from conftest import command, environment
from slurm import hurry, said, states, wait_for

from mnist_lab.runs.run import find_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or ""),
]
RUN = ["data=fake", "model=softmax", "optim=sgd", "trainer=debug", "logger=none"]
SWEEP = ["--multirun", *RUN, "sweep.page=false", "hydra/launcher=slurm", "hydra.sweep.dir=sweep"]
SWEEP += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"]
FEW = 800
SLOW = [
    "+callbacks.slow={_target_: observers.Slow}",
    "trust=[observers]",
    "trainer.log_every_n_steps=10",
    "trainer.val_check_interval=500",
]
LONG = [*SLOW, "trainer.max_steps=1000000"]
SLOW += [f"trainer.max_steps={FEW}"]  # some seconds


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, slurm.cluster(Path(folder), max_array=8) as env:
        yield env | {"PYTHONPATH": str(Path(slurm.__file__).parent)}  # observers.py


@pytest.fixture(autouse=True)
def empty(env: dict[str, str]) -> Iterator[None]:
    yield
    said(env, "scancel", "--user=root")
    wait_for(lambda: not said(env, "squeue", "-h"), "the end of the jobs")


def submit(folder: Path, env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start train.py where the jobs' output goes to."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command(*arguments), cwd=folder, env=environment(**env), process_group=0, **pipes)


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == code, out
    assert "Traceback" not in out
    return out


def script(folder: Path, env: dict[str, str], options: list[str], *lines: str) -> str:
    """Submit a job script of these lines; the id of the job. Its output is in job.log."""
    text = "\n".join(["#!/bin/bash", *lines, ""])
    words = ["sbatch", "--parsable", "--mem=1G", "--open-mode=append", f"--output={folder / 'job.log'}", *options]
    done = subprocess.run(words, env=env, cwd=folder, input=text, text=True, capture_output=True, check=True)
    return done.stdout.strip()


def train_line(*arguments: str) -> str:
    return " ".join(f"'{word}'" for word in command(*RUN, *arguments))


def result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    return json.loads(path.read_text()) if path.exists() else {}


def job_result(folder: Path, number: int) -> dict[str, Any]:
    return result(folder / "sweep" / f"{number}-softmax")


def steps(run_dir: Path) -> list[int]:
    path = run_dir / "metrics.csv"
    with path.open() if path.exists() else tempfile.TemporaryFile("w+") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def trains(*run_dirs: Path) -> None:
    """Wait until they train."""
    wait_for(lambda: all(len(steps(run_dir)) > 2 for run_dir in run_dirs), "training")


def farther(run_dir: Path) -> None:
    """Wait until it is trained beyond where it is now."""
    last = len(steps(run_dir))
    wait_for(lambda: len(steps(run_dir)) > last, "more steps")


def arrays(folder: Path) -> list[str]:
    return sorted(path.read_text().strip() for path in (folder / "sweep" / "slurm").glob("*.id"))


def test_a_sweep_in_arrays_of_the_size_that_slurm_takes(env: dict[str, str], tmp_path: Path) -> None:
    sweep = [*SWEEP, "seed=range(9)", "trainer.max_steps=5"]
    out = ended(submit(tmp_path, env, *sweep))
    assert out.count("jobs submitted as ") == 2
    assert len([line for line in out.splitlines() if ": done, validation " in line]) == 9
    assert [job_result(tmp_path, number)["seed"] for number in range(9)] == list(range(9))
    assert job_result(tmp_path, 8)["provenance"]["threads"] == 1
    assert " of 9: sweep/8-softmax: done before, " in ended(submit(tmp_path, env, *sweep, "sweep.resume=sweep"))
    assert len(arrays(tmp_path)) == 2  # nothing was submitted again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_jobs_outlive_the_command_that_submitted_them(
    number: signal.Signals, env: dict[str, str], tmp_path: Path
) -> None:
    sweep = [*SWEEP, "seed=0,1", *SLOW]
    sweep += ["hydra.launcher.array_parallelism=1"]
    process = submit(tmp_path, env, *sweep)
    trains(tmp_path / "sweep" / "0-softmax")
    os.killpg(process.pid, number)
    out = ended(process, {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number])
    (array,) = arrays(tmp_path)
    if number != signal.SIGKILL:
        (line,) = [line for line in out.splitlines() if "live on" in line]
        assert line.startswith(f"2 jobs live on in Slurm, {array}; rejoin: python ")
        assert line.endswith(f"sweep.resume=sweep; cancel: scancel {array}")
    out = ended(submit(tmp_path, env, *sweep, "sweep.resume=sweep"))
    assert f"jobs are in Slurm already, {array}" in out
    assert arrays(tmp_path) == [array]
    for job in range(2):
        assert job_result(tmp_path, job)["status"] == "done"
        curve = steps(tmp_path / "sweep" / f"{job}-softmax")
        assert curve == sorted(curve)
        assert curve[-1] == FEW


def is_task(process: Path, array: str, task: int) -> bool:
    """Whether the process that /proc shows there is that task's Python."""
    with contextlib.suppress(OSError):
        env = (process / "environ").read_text(errors="replace").split("\0")
        wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}"}
        return wanted <= {*env} and "mnist_lab.sweeps.allocation" in (process / "cmdline").read_text()
    return False


def test_cancelled_jobs_and_one_that_dies_are_told_at_once(env: dict[str, str], tmp_path: Path) -> None:
    process = submit(tmp_path, env, *SWEEP, "seed=range(4)", *LONG, "hydra.launcher.array_parallelism=3")
    runs = [tmp_path / "sweep" / f"{number}-softmax" for number in range(3)]
    trains(*runs)
    (array,) = arrays(tmp_path)
    said(env, "scancel", f"{array}_3", f"{array}_0")  # one has not begun
    (pid,) = (int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if is_task(path.parent, array, 1))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: states(env)[f"{array}_1"] == "FAILED", "the death of a job")
    wait_for(lambda: job_result(tmp_path, 3), "the record of the job that never began")
    said(env, "scancel", array)
    out = ended(process, 1)
    told = {line.partition("sweep/")[2].partition("-")[0]: line for line in out.splitlines() if line.startswith("job ")}
    assert "0-softmax: CANCELLED" in told["0"]
    assert f"; output in sweep/slurm/{array}_0.log" in told["0"]
    assert "1-softmax: FAILED (SIGKILL)" in told["1"]
    assert "3-softmax: CANCELLED" in told["3"]
    never = job_result(tmp_path, 3)
    assert (never["status"], never["name"], never["model"], never["seed"]) == ("failed", "softmax", "softmax", 3)
    assert never["settings"] == {**job_result(tmp_path, 0)["settings"], "seed": 3}
    assert "failed: sweep/3-softmax: CANCELLED" in out  # in the table
    assert job_result(tmp_path, 0)["status"] == "interrupted"
    assert (runs[0] / "checkpoints" / "last.ckpt").exists()


def test_a_suspended_job_lives(env: dict[str, str], tmp_path: Path) -> None:
    process = submit(tmp_path, env, *SWEEP, *SLOW, "seed=0")
    trains(tmp_path / "sweep" / "0-softmax")
    (array,) = arrays(tmp_path)
    said(env, "scontrol", "suspend", f"{array}_0")
    wait_for(lambda: states(env)[f"{array}_0"] == "SUSPENDED", "the suspension")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(12)  # it looks twice
    said(env, "scontrol", "resume", f"{array}_0")
    assert "job 1 of 1: sweep/0-softmax: done, " in ended(process)


def stopped_at(run_dir: Path) -> int:
    """The step at which a run was stopped and saved, once it says so."""
    wait_for(lambda: result(run_dir).get("status") == "interrupted", "the stop")
    assert find_checkpoint(run_dir).step == result(run_dir)["steps"] > 0
    return int(result(run_dir)["steps"])


@pytest.mark.parametrize("how", ["preempted", "time limit", "node failure"])
def test_a_job_that_is_queued_again_goes_on_where_it_was_stopped(how: str, env: dict[str, str], tmp_path: Path) -> None:
    run_dir = tmp_path / "sweep" / "0-softmax"
    process = submit(tmp_path, env, *SWEEP, *SLOW, "seed=0", "hydra.launcher.cpus_per_task=2")
    trains(run_dir)
    (array,) = arrays(tmp_path)
    job = f"{array}_0"
    if how == "preempted":
        said(env, "sbatch", "--parsable", "--partition=high", "--exclusive", "--nodes=2", "--wrap=true", "-o/dev/null")
    elif how == "time limit":
        said(env, "scancel", "--batch", "--signal=USR2", job)
    else:
        node = said(env, "squeue", "-h", "-j", job, "-o", "%N")
        said(env, "scontrol", "update", f"node={node}", "state=down", "reason=test")
    stopped_at(run_dir)
    hurry(env, job)
    out = ended(process)
    if how == "node failure":
        said(env, "scontrol", "update", f"node={node}", "state=resume")
    assert "job 1 of 1: sweep/0-softmax: done, " in out
    curve = steps(run_dir)
    assert curve == sorted(curve)
    assert curve[-1] == FEW
    assert int(said(env, "scontrol", "show", "job", job).partition("Restarts=")[2].split()[0]) == 1


@pytest.mark.parametrize(("options", "line"), [
    (["hydra.launcher.partition=nosuch"], "invalid partition specified: nosuch"),
    (["hydra.launcher.mem_gb=4000"], "Memory specification can not be satisfied"),
    (["hydra.launcher.additional_parameters=['constraint=nosuch']"], "Invalid feature specification"),
    (["hydra.launcher.additional_parameters=[nosuch]"], "unrecognized option '--nosuch'"),
])  # fmt: skip
def test_what_sbatch_refuses_is_one_line(options: list[str], line: str, env: dict[str, str], tmp_path: Path) -> None:
    out = ended(submit(tmp_path, env, *SWEEP, *options), 1)
    (told,) = [word for word in out.splitlines() if word.startswith("error: ")]
    assert told.startswith("error: hydra/launcher=slurm: sbatch: ")
    assert line in told
    assert len(out.splitlines()) == 2  # the other says how many jobs there are


def test_why_a_job_waits_is_told(env: dict[str, str], tmp_path: Path) -> None:
    process = submit(tmp_path, env, *SWEEP, "seed=0,1", "hydra.launcher.timeout_min=121")
    assert process.stdout
    lines = iter(process.stdout.readline, "")
    assert any(line == "2 jobs wait: PartitionTimeLimit\n" for line in lines)
    said(env, "scancel", *arrays(tmp_path))
    assert "failed: sweep/1-softmax: CANCELLED" in ended(process, 1)


def test_a_job_submits_a_sweep_with_modules(env: dict[str, str], tmp_path: Path) -> None:
    words = [
        *SWEEP,
        "seed=0",
        "hydra.launcher.setup='export OMP_NUM_THREADS=2; module () { echo loaded; }; module load x'",
    ]
    words += ["hydra.launcher.additional_parameters=[exclusive,'comment=lab']"]
    line = " ".join(f'"{word}"' for word in command(*words))
    job = script(tmp_path, env, ["--ntasks=2"], f"cd {tmp_path}", line)
    wait_for(lambda: states(env)[job] not in ("PENDING", "RUNNING", "COMPLETING"), "the job")
    log = (tmp_path / "job.log").read_text()
    assert "job 1 of 1: sweep/0-softmax: done, " in log
    assert job_result(tmp_path, 0)["provenance"]["threads"] == 2
    (output,) = (tmp_path / "sweep" / "slurm").glob("*.log")
    assert "loaded" in output.read_text()


def test_two_tasks_train_as_one_and_go_on_when_requeued(env: dict[str, str], tmp_path: Path) -> None:
    options = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--requeue"]
    ddp = ["trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2", "trainer.accelerator=cpu"]
    lines = [
        f"srun {train_line(*ddp, f'seed={seed}', *more)}"
        for seed, more in (
            (0, ["trainer.max_steps=5"]),
            (1, [*SLOW, "name=long"]),
        )
    ]
    job = script(tmp_path, env, options, "export MASTER_ADDR=127.0.0.1 OMP_NUM_THREADS=1", *lines)
    outputs = tmp_path / "outputs"
    wait_for(lambda: list(outputs.glob("long/*/metrics.csv")), "the second training")
    (run_dir,) = outputs.glob("long/*")
    trains(run_dir)
    said(env, "scontrol", "requeue", job)
    at = stopped_at(run_dir)
    hurry(env, job)
    wait_for(lambda: states(env)[job] not in ("PENDING", "RUNNING", "COMPLETING"), "the job")
    assert states(env)[job] == "COMPLETED", (tmp_path / "job.log").read_text()
    (first,), (again,) = outputs.glob("softmax/*"), outputs.glob("long/*")
    assert again == run_dir
    assert first.name.startswith(f"{job}-0-")
    assert run_dir.name.startswith(f"{job}-1-")
    curve = steps(run_dir)
    assert curve == sorted(curve)
    assert 0 < at < curve[-1] == FEW
    assert (result(first)["status"], result(first)["steps"]) == ("done", 5)


def test_runs_in_an_allocation_of_several_tasks_are_apart(env: dict[str, str], tmp_path: Path) -> None:
    run = train_line("trainer.max_steps=5")
    script(tmp_path, env, ["--ntasks=2", "--wait"], run, run, f'srun --ntasks=1 bash -c "{run}; {run}; true"')
    done = [result(path)["status"] for path in (tmp_path / "outputs" / "softmax").iterdir()]
    assert done == ["done"] * 4, (tmp_path / "job.log").read_text()


def test_a_training_saves_and_is_queued_again_before_its_time_limit(env: dict[str, str], tmp_path: Path) -> None:
    job = script(tmp_path, env, ["--ntasks=1", "--requeue"], f"srun {train_line(*SLOW)}")
    outputs = tmp_path / "outputs" / "softmax"
    for _ in range(2):
        wait_for(lambda: list(outputs.glob("*/metrics.csv")), "training")
        (run_dir,) = outputs.iterdir()
        farther(run_dir)
        said(env, "scancel", "--signal=USR2", job)  # as sbatch --signal=USR2@60 has it
        stopped_at(run_dir)
        hurry(env, job)
    wait_for(lambda: result(run_dir)["status"] == "done", "the end")
    curve = steps(run_dir)
    assert curve == sorted(curve)
    assert curve[-1] == FEW


def test_a_run_that_a_job_holds_is_refused(env: dict[str, str], tmp_path: Path) -> None:
    process = submit(tmp_path, env, *SWEEP, *LONG, "seed=0")
    run_dir = tmp_path / "sweep" / "0-softmax"
    trains(run_dir)
    other = subprocess.run(
        command(f"resume={run_dir}"), cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert other.returncode == 1
    assert "another process is at work on this run" in other.stderr
    said(env, "scancel", *arrays(tmp_path))
    ended(process, 1)


def test_a_search(env: dict[str, str], tmp_path: Path) -> None:
    search = ["hydra/sweeper=optuna", "hydra.sweeper.trials=4", "hydra.sweeper.jobs=2"]
    out = ended(submit(tmp_path, env, *SWEEP, *search, "optim.lr=tag(log, interval(1e-3, 1))"))
    assert "job 4 of 4: " in out
    assert [job_result(tmp_path, number)["status"] for number in range(4)] == ["done"] * 4
    assert len(arrays(tmp_path)) == 2
