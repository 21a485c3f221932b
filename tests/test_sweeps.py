"""Many runs from one command: side by side, searched, stopped and gone on with."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Run, Train, command, environment
from hydra import compose, initialize_config_dir

from mnist_lab import runs

SMALL = ["data=fake", "model=softmax", "optim=sgd", "trainer=debug", "logger=none"]
SEARCH = ["--multirun", "hydra/sweeper=optuna", *SMALL, "hydra.sweep.dir=sweep"]
RATE = "optim.lr=tag(log, interval(1e-3, 1))"
DIES = "+callbacks.bad={_target_: os.abort},null"  # of two jobs the first ends its process


def found(folder: Path) -> dict[int, dict[str, Any]]:
    """The results of a sweep's jobs by their number."""
    paths = folder.glob("*/result.json")
    return {int(path.parent.name.split("-")[0]): json.loads(path.read_text()) for path in paths}


def test_jobs_in_processes_that_stay_share_the_cores(train: Train, tmp_path: Path) -> None:
    options = ["hydra/launcher=joblib", "hydra.launcher.jobs=2", "hydra.sweep.dir=sweep"]
    run = train("--multirun", *SMALL, *options, "seed=0,1", env={"OMP_NUM_THREADS": ""})
    assert run.code == 0, run.err
    for job in found(tmp_path / "sweep").values():
        assert job["status"] == "done"
        assert job["provenance"]["threads"] == max(len(os.sched_getaffinity(0)) // 2, 1)


@pytest.mark.parametrize("launcher", [pytest.param("joblib", marks=pytest.mark.slow), "local_cluster"])
def test_a_job_that_is_killed_fails_alone(launcher: str, train: Train, tmp_path: Path) -> None:
    options = [f"hydra/launcher={launcher}", "hydra.launcher.jobs=2", "hydra.sweep.dir=sweep"]
    run = train("--multirun", *SMALL, *options, DIES)
    assert run.code == 1
    killed, other = (found(tmp_path / "sweep")[number] for number in range(2))
    assert (killed["status"], other["status"]) == ("failed", "done")
    assert "the process of the job is gone" in killed["error"]
    assert "0-softmax: the process of the job is gone" in run.out  # in the table


def test_a_sweep_goes_on_with_what_is_missing_or_failed(train: Train, tmp_path: Path) -> None:
    sweep = ["--multirun", *SMALL, "optim.lr=0.1,0.2", "seed=0,1"]
    train(*sweep, "hydra.sweep.dir=sweep")
    before = found(tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep" / "1-softmax")
    half = tmp_path / "sweep" / "2-softmax"
    (half / "result.json").write_text(json.dumps(before[2] | {"status": "running"}))
    (half / "metrics.csv").write_text("step,train_loss\n10,1.0\n2000,0.1\n")
    (half / "checkpoints" / "last.ckpt").unlink()
    again = train(*sweep, "sweep.resume=sweep")
    assert again.code == 0, again.err
    assert again.out.count("done before") == 2
    after = found(tmp_path / "sweep")
    assert [after[number]["status"] for number in range(4)] == ["done"] * 4
    assert [after[n]["test_errors"] for n in range(4)] == [before[n]["test_errors"] for n in range(4)]
    with (half / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "5", "10", "15", "20"]
    other = train("--multirun", *SMALL, "optim.lr=0.1,0.3", "seed=0,1", "sweep.resume=sweep")
    assert other.code == 1
    assert "holds a run of other settings: optim.lr (0.2, now 0.3)" in other.err
    assert found(tmp_path / "sweep") == after


def killed_once(file: str, arguments: list[str], folder: Path) -> None:
    """Start a run, and kill it when ``file`` is there."""
    null = subprocess.DEVNULL
    process = subprocess.Popen(command(*arguments), cwd=folder, env=environment(), stdout=null, stderr=null)
    try:
        deadline = time.monotonic() + 120
        while not (folder / file).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def test_a_job_that_was_killed_goes_on_from_its_checkpoint(train: Train, tmp_path: Path) -> None:
    options = ["--multirun", "data=fake", "model=softmax", "logger=none", "seed=0,1", "trainer.max_steps=2000"]
    options += ["callbacks.checkpoints.every_n_steps=100"]
    train(*options, "hydra.sweep.dir=whole")
    killed_once("sweep/0-softmax/checkpoints/last.ckpt", [*options, "hydra.sweep.dir=sweep"], tmp_path)
    assert 0 < runs.step_of(tmp_path / "sweep" / "0-softmax" / "checkpoints" / "last.ckpt") < 2000
    again = train(*options, "sweep.resume=sweep")
    assert again.code == 0, again.err
    whole, after = found(tmp_path / "whole"), found(tmp_path / "sweep")
    assert [after[n]["test_loss"] for n in range(2)] == [whole[n]["test_loss"] for n in range(2)]


@pytest.mark.parametrize(("options", "said"), [
    (["sweep.resume=nothing"], "sweep.resume=nothing: is not the directory of a sweep"),
    (["hydra/launcher=slurm"], "hydra/launcher=slurm: Could not detect"),
    (["hydra/launcher=joblib", "hydra.launcher.jobs=-1"], "hydra.launcher.jobs=-1: must be at least 1"),
    (["hydra/sweeper=optuna"], "nothing to search"),
    (["hydra/sweeper=optuna", "hydra.sweeper.sampler=tpee"], "hydra.sweeper.sampler=tpee: did you mean tpe?"),
    (["hydra/sweeper=optuna", "hydra.sweeper.trials=0"], "hydra.sweeper.trials=0: must be at least 1"),
    (["hydra/sweeper=optuna", "hydra.sweeper.objectives=[test_accuracy]"], "objectives=[test_accuracy]"),
    (["hydra/sweeper=optuna", RATE, "hydra.sweeper.storage=postgresql+psycopg://127.0.0.1:9/x"], "cannot be reached"),
    (["hydra/sweeper=optuna", RATE, "hydra.sweeper.storage=nosuch://x"], "hydra.sweeper.storage=nosuch://x"),
    (["hydra/sweeper=optuna", "optim.lr=tag(log, interval(0, 1))"], "optim.lr=tag(log, interval(0, 1)): cannot be"),
    (["hydra/sweeper=optuna", RATE, "hydra.sweeper.sampler=grid"], "a grid needs choices or a range"),
])  # fmt: skip
def test_one_line_for_a_mistake(options: list[str], said: str, train: Train) -> None:
    run = train("--multirun", *SMALL, *options)
    assert run.code == 1
    (line,) = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "Traceback" not in run.err


@pytest.mark.parametrize(("module", "extra", "option"), [
    ("joblib", "parallel", "hydra/launcher=joblib"),
    ("submitit", "slurm", "hydra/launcher=local_cluster"),
    ("optuna", "hpo", "hydra/sweeper=optuna"),
])  # fmt: skip
def test_a_missing_extra_is_named(module: str, extra: str, option: str, train: Train, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("raise ImportError")
    run = train("--multirun", *SMALL, option, env={"PYTHONPATH": str(tmp_path)})
    assert run.code == 1
    assert f"error: {option}: needs {module}, which is not installed: pip install -e '.[{extra}]'" in run.err


def test_sweep_resume_is_for_sweeps(train: Train, tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").touch()
    assert "resume=<run directory>" in train(*SMALL, "sweep.resume=.").message


def test_slurm_gets_what_the_config_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hydra_plugins.mnist_lab.launchers import Slurm

    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        runs.register()
        options = ["partition=gpu", "gpus_per_node=2", "timeout_min=90", "additional_parameters=['mail-user=me@here']"]
        overrides = ["hydra/launcher=slurm", *(f"hydra.launcher.{option}" for option in options)]
        config = compose("config", overrides, return_hydra_config=True)
    chosen = {
        str(key): config.hydra.launcher[key] for key in config.hydra.launcher if key not in ("_target_", "folder")
    }
    executor = Slurm(folder=str(tmp_path / "jobs"), **chosen).executor()
    script = executor._executor._make_submission_file_text("command", "uid")
    for line in ("partition=gpu", "gpus-per-node=2", "time=90", "mail-user=me@here", "mem=4GB", "cpus-per-task=2"):
        assert f"#SBATCH --{line}\n" in script


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_a_search_finds_good_settings_and_goes_on(sampler: str, train: Train, tmp_path: Path) -> None:
    spaces = [RATE, "model=softmax,mlp_relu", "data.batch_size=range(20, 101, step=20)"]
    spaces += ["hydra.sweeper.params=['trainer.max_steps=int(interval(5, 20))']"]
    objectives = ["hydra.sweeper.objectives=[val_accuracy,parameters]"] * (sampler == "nsga2")
    search = [*SEARCH, *spaces, *objectives, f"hydra.sweeper.sampler={sampler}"]
    first = train(*search, "hydra.sweeper.trials=3")
    assert first.code == 0, first.err
    before = found(tmp_path / "sweep")
    second = train(*search, "hydra.sweeper.trials=5")
    jobs = found(tmp_path / "sweep")
    assert sorted(jobs) == [0, 1, 2, 3, 4]
    assert {number: jobs[number] for number in before} == before
    for job in jobs.values():
        settings = job["settings"]
        assert 1e-3 <= settings["optim.lr"] <= 1
        assert settings["data.batch_size"] in (20, 40, 60, 80, 100)
        assert 5 <= settings["trainer.max_steps"] <= 20
        assert "test_accuracy" not in job  # a search does not touch it
    assert (
        len({job["settings"]["optim.lr"] for job in jobs.values()}) == 5
    )  # the second does not draw the first's again
    best = max(jobs, key=lambda number: jobs[number]["val_accuracy"])
    assert (
        sampler == "nsga2" or f"best_val_accuracy {jobs[best]['best_val_accuracy']:.6g}: python train.py" in second.out
    )
    other = train(*SEARCH, "optim.lr=interval(0.1, 0.2)")
    assert "searched" in other.err
    assert "in other ranges" in other.err


def test_a_grid_is_searched_once(train: Train, tmp_path: Path) -> None:
    grid = [*SEARCH, "hydra.sweeper.sampler=grid", "optim.lr=0.1,0.2", "data.batch_size=range(20, 41, step=20)"]
    assert train(*grid).code == 0
    pairs = {(j["settings"]["optim.lr"], j["settings"]["data.batch_size"]) for j in found(tmp_path / "sweep").values()}
    assert pairs == {(0.1, 20), (0.1, 40), (0.2, 20), (0.2, 40)}
    before = found(tmp_path / "sweep")
    assert train(*grid).code == 0
    assert found(tmp_path / "sweep") == before


def test_a_run_that_falls_behind_is_pruned(train: Train, tmp_path: Path) -> None:
    options = ["hydra.sweeper.pruner=median", "hydra.sweeper.sampler=grid", "trainer.max_steps=60"]
    options += ["model=mlp_relu", "model.hidden=[16]", "trainer.val_check_interval=20"]
    run = train(*SEARCH, *options, "optim.lr=1,0.9,0.8,0.7,0.6,1e-7")  # the pruner looks on for five trials first
    assert run.code == 0, run.err
    jobs = found(tmp_path / "sweep")
    assert [jobs[number]["status"] for number in range(6)] == ["done"] * 5 + ["pruned"]
    assert "behind other trials at step 20" in jobs[5]["error"]
    assert "pruned" not in run.out[run.out.rindex("sweep:") :]  # no failure that the table need list


def test_failed_trials_are_tolerated_up_to_a_share(train: Train, tmp_path: Path) -> None:
    grid = [*SEARCH, "hydra.sweeper.sampler=grid", "optim.lr=0.1,0.2,0", "hydra.sweeper.max_failed=0.4"]
    assert train(*grid).code == 0
    assert sorted(job["status"] for job in found(tmp_path / "sweep").values()) == ["done", "done", "failed"]
    bad = train(*SEARCH, "hydra.sweep.dir=bad", "optim.lr=interval(-2, -1)", "hydra.sweeper.trials=10")
    assert bad.code == 1
    assert "trials failed, more than hydra.sweeper.max_failed=0.5 allows" in bad.err
    assert len(found(tmp_path / "bad")) == 6


def together(train: Train, arguments: list[str]) -> list[Run]:
    """Two processes with the same command at the same time."""
    done: list[Run] = []
    threads = [threading.Thread(target=lambda: done.append(train(*arguments))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def shared(train: Train, tmp_path: Path, storage: str) -> None:
    options = [f"hydra.sweeper.storage='{storage}'", "hydra.sweeper.study=mine", "hydra.sweeper.trials=6"]
    for run in together(train, [*SEARCH, RATE, *options]):
        assert run.code == 0, run.err
    jobs = found(tmp_path / "sweep")
    assert sorted(jobs) == list(range(len(jobs)))
    assert 6 <= len(jobs) <= 7  # both may take a last one at the same moment
    assert {job["status"] for job in jobs.values()} == {"done"}


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_two_processes_work_on_one_study(kind: str, train: Train, tmp_path: Path) -> None:
    if kind == "sqlite":
        shared(train, tmp_path, f"sqlite:///{tmp_path}/study.db")
        return
    for run in together(train, [*SEARCH, RATE, "hydra.sweeper.trials=6"]):
        assert run.code == 0, run.err
    assert sorted(found(tmp_path / "sweep"))[:6] == list(range(6))


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a data base of our own, on a socket in its folder."""
    pytest.importorskip("psycopg")
    places = [*os.environ["PATH"].split(os.pathsep), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    initdb = shutil.which("initdb", path=os.pathsep.join(places))
    if initdb is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tempfile.mkdtemp(prefix="pg")  # short, as the path of a socket must be
    user = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "nobody")
    data = f"{folder}/data"
    subprocess.run([*user, initdb, "-D", data, "-U", "lab", "-A", "trust"], check=True, capture_output=True, cwd=folder)
    server = subprocess.Popen(
        [*user, str(Path(initdb).with_name("postgres")), "-D", data, "-k", folder, "-c", "listen_addresses="],
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        deadline = time.monotonic() + 60
        while not Path(folder, ".s.PGSQL.5432").exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"postgresql+psycopg://lab@/postgres?host={folder}"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


def test_two_processes_work_on_one_study_in_postgresql(train: Train, tmp_path: Path, postgresql: str) -> None:
    shared(train, tmp_path, postgresql)


def test_a_trial_that_was_left_behind_is_run_again(train: Train, tmp_path: Path) -> None:
    search = [*SEARCH, RATE, "hydra.sweeper.trials=2"]
    killed_once("sweep/0-softmax/metrics.csv", [*search, "trainer.max_steps=10000000"], tmp_path)
    lr = found(tmp_path / "sweep")[0]["settings"]["optim.lr"]
    shutil.rmtree(tmp_path / "sweep" / "0-softmax")
    run = train(*search)
    assert run.code == 0, run.err
    jobs = found(tmp_path / "sweep")
    assert {number: job["status"] for number, job in jobs.items()} == {0: "done", 1: "done"}
    assert jobs[0]["settings"]["optim.lr"] == lr


def torchrun(folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    options = ["data=fake", "model=softmax", "optim=sgd", "trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2"]
    options += ["trainer.accelerator=cpu", "trainer.max_steps=40", "logger=none", "hydra.run.dir=two"]
    launch = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}", "--master-addr=127.0.0.1"]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *launch, f"--master-port={port}", *command(*options)[1:]],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_two_nodes_train_as_one(train: Train, tmp_path: Path) -> None:
    """Two nodes of one process each, both on this machine; what they share is the network and the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [torchrun(tmp_path, rank, port) for rank in range(2)]
    for node in nodes:
        out, _ = node.communicate(timeout=240)
        assert node.returncode == 0, out
    options = ["data=fake", "model=softmax", "optim=sgd", "trainer=cpu", "trainer.max_steps=40", "logger=none"]
    one = train(*options, to="one")
    two = json.loads((tmp_path / "two" / "result.json").read_text())
    assert two["test_errors"] == one.result["test_errors"]
    assert two["test_loss"] == pytest.approx(one.result["test_loss"], abs=1e-6)
