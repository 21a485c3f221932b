"""Many runs from one command: side by side, as a search, stopped and continued."""

import csv
import json
import os
import shutil
import signal
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
from conftest import ROOT, Lab, Process, Train, command, environment
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from mnist_lab.runs.directory import register_resolvers
from mnist_lab.runs.run import find_checkpoint
from mnist_lab.sweeps import study
from mnist_lab.sweeps.slurm import Slurm

SMALL = ["data=fake", "model=softmax", "optim=sgd", "trainer=debug", "logger=none", "sweep.page=false"]
SEARCH = ["--multirun", "hydra/sweeper=optuna", *SMALL, "hydra.sweep.dir=sweep"]
LR = "optim.lr=tag(log, interval(1e-3, 1))"
DIES = "+callbacks.bad={_target_: os.abort},null"  # of two jobs the first ends its process


def found(folder: Path) -> dict[int, dict[str, Any]]:
    """The results of a sweep's jobs by their number."""
    paths = folder.glob("*/result.json")
    return {int(path.parent.name.split("-")[0]): json.loads(path.read_text()) for path in paths}


def test_jobs_side_by_side_divide_the_cores(train: Train, tmp_path: Path) -> None:
    options = ["hydra/launcher=joblib", "hydra.launcher.jobs=2", "hydra.sweep.dir=sweep"]
    run = train("--multirun", *SMALL, *options, "seed=0,1", env={"OMP_NUM_THREADS": ""})
    assert run.code == 0, run.err
    jobs = found(tmp_path / "sweep")
    assert [(jobs[number]["status"], jobs[number]["seed"]) for number in range(2)] == [("done", 0), ("done", 1)]
    assert jobs[0]["provenance"]["threads"] == max(len(os.sched_getaffinity(0)) // 2, 1)


@pytest.mark.parametrize("launcher", ["plain", "joblib"])
def test_a_job_that_is_killed_fails_alone(launcher: str, train: Train, tmp_path: Path) -> None:
    run = train(
        "--multirun", *SMALL, f"hydra/launcher={launcher}", "hydra.launcher.jobs=1", "hydra.sweep.dir=sweep", DIES
    )
    assert run.code == 1
    killed, other = (found(tmp_path / "sweep")[number] for number in range(2))
    assert (killed["status"], other["status"]) == ("failed", "done")
    assert killed["settings"] == other["settings"]  # what was recorded before is kept
    said = "killed by signal SIGABRT"
    assert said in killed["error"]
    lines = run.out.splitlines()
    assert lines[1].startswith(f"job 1 of 2: sweep/0-softmax: {said}")
    assert lines[2].startswith("job 2 of 2: sweep/1-softmax: done, validation ")
    assert f"failed: sweep/0-softmax: {said}" in run.out  # in the table
    assert run.err.splitlines()[-1].startswith(f"error: 1 of 2 jobs failed; the first: sweep/0-softmax: {said}")


@pytest.mark.slow
def test_a_system_that_cannot_fork(tmp_path: Path) -> None:
    """macOS and Windows start processes afresh."""
    (tmp_path / "script.py").write_text(f"""
import multiprocessing, runpy, sys
if __name__ == "__main__":
    get, sys.argv[0] = multiprocessing.get_context, {str(ROOT / "train.py")!r}
    multiprocessing.get_context = lambda method: get("spawn")
    runpy.run_path(sys.argv[0], run_name="__main__")
""")
    words = [
        "script.py",
        "--multirun",
        *SMALL,
        "hydra.sweep.dir=sweep",
        "hydra/launcher=joblib",
        "hydra.launcher.jobs=2",
    ]
    done = subprocess.run(
        [sys.executable, *words, "seed=0,1", DIES], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    jobs = found(tmp_path / "sweep")
    assert [jobs[number]["status"] for number in range(4)] == ["failed", "done"] * 2, done.stderr


def test_a_sweep_goes_on_with_what_is_missing_or_failed(train: Train, tmp_path: Path) -> None:
    sweep = ["--multirun", *SMALL, "optim.lr=0.1,0.2", "seed=0,1"]
    train(*sweep, "hydra.sweep.dir=sweep")
    before = found(tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep" / "1-softmax")
    (tmp_path / "sweep" / "3-softmax" / "result.json").write_text('{"status": "done", "test_accuracy": "abc"}')
    half = tmp_path / "sweep" / "2-softmax"
    (half / "result.json").write_text(json.dumps(before[2] | {"status": "running"}))
    (half / "metrics.csv").write_text("step,train_loss\n10,1.0\n2000,0.1\n")
    (half / "checkpoints" / "last.ckpt").unlink()
    again = train(*sweep, "sweep.resume=sweep")
    assert again.code == 0, again.err
    assert again.out.count(": done before, validation ") == 1
    assert "3-softmax/result.json: damaged, not the result of a run; made anew from config.yaml" in again.out
    after = found(tmp_path / "sweep")
    assert [after[number]["status"] for number in range(4)] == ["done"] * 4
    assert [after[n]["test_errors"] for n in range(4)] == [before[n]["test_errors"] for n in range(4)]
    with (half / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "5", "10", "15", "20"]
    other = train("--multirun", *SMALL, "optim.lr=0.1,0.3", "seed=0,1", "sweep.resume=sweep")
    assert other.code == 1
    assert "holds a run of other settings: optim.lr (0.2, now 0.3)" in other.err
    assert found(tmp_path / "sweep") == after


def stopped(number: signal.Signals, file: str, arguments: list[str], folder: Path) -> tuple[int, str]:
    """Start a run, and send its process group the signal ``number`` when ``file`` is there: exit code and output."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command(*arguments), cwd=folder, env=environment(), process_group=0, **pipes)
    try:
        deadline = time.monotonic() + 120
        while not (folder / file).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, number)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out


def test_the_table_and_the_page_end_a_sweep(train: Train, tmp_path: Path) -> None:
    run = train("--multirun", *SMALL, "hydra.sweep.dir=sweep", "seed=0,1", "sweep.page=true")
    assert run.code == 0, run.err
    head, row, spread, last = run.out.splitlines()[-4:]
    assert spread.startswith("± is the standard deviation")
    assert head.split()[:2] == ["n", "validation"]
    assert row.startswith("2  ")
    assert last == "with charts: sweep/report.html"
    assert (tmp_path / "sweep" / "report.html").read_text().count('"0-softmax/"') == 1  # a link to each run


@pytest.mark.parametrize(("launcher", "under_way"), [("plain", 1), ("joblib", 2)])
def test_ctrl_c_ends_a_sweep_with_its_table(launcher: str, under_way: int, tmp_path: Path) -> None:
    """As a terminal does it: one signal to the whole process group."""
    arguments = ["--multirun", *SMALL, "seed=range(6)", "hydra.sweep.dir=sweep", "trainer.max_steps=10000000"]
    arguments += [f"hydra/launcher={launcher}", f"hydra.launcher.jobs={under_way}"]
    code, out = stopped(signal.SIGINT, f"sweep/{under_way - 1}-softmax/metrics.csv", arguments, tmp_path)
    assert code == 130
    jobs = found(tmp_path / "sweep")
    assert [jobs[number]["status"] for number in sorted(jobs)] == ["interrupted"] * under_way
    assert find_checkpoint(tmp_path / "sweep" / f"{under_way - 1}-softmax").step > 0  # the one that trained for sure
    for number in jobs:
        assert f"interrupted: sweep/{number}-softmax" in out
    last = out.splitlines()[-1]
    assert last.startswith("go on with what is missing or failed: python ")
    assert last.endswith("sweep.resume=sweep")
    assert "resume" not in out[: out.index(last)]
    assert "Traceback" not in out
    assert not (tmp_path / "sweep" / "report.html").exists()  # SMALL says sweep.page=false


def test_plugins_are_imported_only_when_they_are_chosen() -> None:
    code = "from hydra.core.plugins import Plugins; import sys; Plugins.instance(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "hydra_plugins.mnist_lab" in loaded
    assert not [name for name in loaded if name.startswith(("mnist_lab.sweeps", "optuna", "joblib", "submitit"))]


def test_a_job_that_was_killed_goes_on_from_its_checkpoint(train: Train, lab: Lab, tmp_path: Path) -> None:
    options = ["data=fake", "model=softmax", "logger=none", "trainer.max_steps=2000", "sweep.page=false"]
    options += ["callbacks.checkpoints.every_n_steps=100"]
    sweep = ["--multirun", *options, "seed=0,1"]
    stopped(signal.SIGKILL, "sweep/0-softmax/checkpoints/last.ckpt", [*sweep, "hydra.sweep.dir=sweep"], tmp_path)
    assert 0 < find_checkpoint(tmp_path / "sweep" / "0-softmax", "last").step < 2000
    again = train(*sweep, "sweep.resume=sweep")
    assert again.code == 0, again.err
    after = found(tmp_path / "sweep")
    assert [after[number]["status"] for number in range(2)] == ["done"] * 2
    assert after[0]["test_loss"] == lab(*options, "seed=0").result.test_loss  # as without the interruption


@pytest.mark.parametrize(("options", "said"), [
    (["sweep.resume=nothing"], "sweep.resume=nothing: is not the directory of a sweep"),
    (["hydra/launcher=slurm", "hydra.launcher.timeout_min=soon"], "timeout_min=soon: must be at least 1, a whole num"),
    (["hydra/launcher=slurm", "hydra.launcher.mem_gb=0"], "hydra.launcher.mem_gb=0: must be at least 0.001"),
    (["hydra/launcher=slurm", "hydra.launcher.setup=[7]"], "hydra.launcher.setup: 7 is not a line of text"),
    (["hydra/launcher=slurm", "hydra.launcher.additional_parameters='a b'"], "'a b' is no option of sbatch"),
    (["hydra/launcher=joblib", "hydra.launcher.jobs=-1"], "hydra.launcher.jobs=-1: must be at least 1"),
    (["hydra/sweeper=optuna"], "nothing to search"),
    (["hydra/sweeper=optuna", "hydra.sweeper.sampler=tpee"], "hydra.sweeper.sampler=tpee: did you mean tpe?"),
    (["hydra/sweeper=optuna", "hydra.sweeper.trials=0"], "hydra.sweeper.trials=0: must be at least 1"),
    (["hydra/sweeper=optuna", "hydra.sweeper.objectives=[test_accuracy]"], "objectives=[test_accuracy]"),
    (["hydra/sweeper=optuna", LR, "hydra.sweeper.storage=postgresql+psycopg://127.0.0.1:9/x"], "cannot be reached"),
    (["hydra/sweeper=optuna", LR, "hydra.sweeper.storage=nosuch://x"], "hydra.sweeper.storage=nosuch://x"),
    (["hydra/sweeper=optuna", "optim.lr=tag(log, interval(0, 1))"], "optim.lr=tag(log, interval(0, 1)): cannot be"),
    (["hydra/sweeper=optuna", LR, "hydra.sweeper.sampler=grid"], "sampler=grid: all combinations are what hydra/s"),
])  # fmt: skip
def test_one_line_for_a_mistake(options: list[str], said: str, train: Train) -> None:
    run = train("--multirun", *SMALL, *options)
    assert run.code == 1
    (line,) = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "Traceback" not in run.err


@pytest.mark.parametrize(("module", "extra", "option"), [
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


def test_where_there_is_no_slurm(train: Train, tmp_path: Path) -> None:
    run = train("--multirun", *SMALL, "hydra/launcher=slurm", env={"PATH": str(tmp_path)})
    assert run.code == 1
    assert "error: hydra/launcher=slurm: there is no scontrol here" in run.err


def test_slurm_gets_what_the_config_says(tmp_path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        register_resolvers()
        options = [
            "partition=gpu",
            "gpus_per_node=2",
            "timeout_min=90",
            "setup='module load cuda'",
            "python='in lab python'",
        ]
        options += ["additional_parameters=[exclusive,'mail-user=me@here']"]
        overrides = ["hydra/launcher=slurm", *(f"hydra.launcher.{option}" for option in options)]
        config = compose("config", overrides, return_hydra_config=True)
    config.hydra.launcher.folder = str(tmp_path / "jobs")  # Hydra would fill in the sweep's
    launcher = Plugins.instance()._instantiate(config.hydra.launcher)
    assert isinstance(launcher, Slurm)
    wanted = ["partition=gpu", "gpus-per-node=2", "time=90", "mail-user=me@here", "mem=4096M", "cpus-per-task=2"]
    assert {f"--{option}" for option in [*wanted, "exclusive", "signal=B:USR2@90"]} <= {*launcher.options}
    lines = launcher.script(tmp_path / "jobs.pkl").splitlines()
    assert lines[2:] == ["module load cuda", f"exec in lab python -m mnist_lab.sweeps.allocation {tmp_path}/jobs.pkl"]


SPACES = [LR, "model=softmax,mlp_relu", "data.batch_size=range(20, 101, step=20)"]
SPACES += ["hydra.sweeper.params=['trainer.max_steps=int(interval(5, 20))']"]


def in_spaces(job: dict[str, Any]) -> bool:
    """Whether the settings of ``job`` are within SPACES."""
    settings = job["settings"]
    assert 1e-3 <= settings["optim.lr"] <= 1
    return settings["data.batch_size"] in (20, 40, 60, 80, 100) and 5 <= settings["trainer.max_steps"] <= 20


def test_a_search_samples_its_spaces_and_goes_on(train: Train, tmp_path: Path) -> None:
    first = train(*SEARCH, *SPACES, "hydra.sweeper.trials=3")
    assert first.code == 0, first.err
    before = found(tmp_path / "sweep")
    second = train(*SEARCH, *SPACES, "hydra.sweeper.trials=5")
    jobs = found(tmp_path / "sweep")
    assert sorted(jobs) == [0, 1, 2, 3, 4]
    assert {number: jobs[number] for number in before} == before
    assert all(in_spaces(job) and "test_accuracy" not in job for job in jobs.values())  # the test set is not touched
    assert len({job["settings"]["optim.lr"] for job in jobs.values()}) == 5  # the second draws other values
    assert [line.partition(" of 5: ")[0] for line in second.out.splitlines() if " of 5: " in line] == ["job 4", "job 5"]
    best = max(jobs, key=lambda number: jobs[number]["best_val_accuracy"])
    assert f"best_val_accuracy {jobs[best]['best_val_accuracy']:.6g}: python train.py" in second.out
    other = train(*SEARCH, "optim.lr=interval(0.1, 0.2)")
    assert "searched" in other.err
    assert "in other ranges" in other.err


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_other_samplers(sampler: str, train: Train, tmp_path: Path) -> None:
    objectives = ["hydra.sweeper.objectives=[val_accuracy,parameters]"] if sampler == "nsga2" else []
    run = train(*SEARCH, *SPACES, *objectives, f"hydra.sweeper.sampler={sampler}", "hydra.sweeper.trials=3")
    assert run.code == 0, run.err
    jobs = found(tmp_path / "sweep")
    assert sorted(jobs) == [0, 1, 2]
    assert all(in_spaces(job) for job in jobs.values())
    points = {(-job["val_accuracy"], job["parameters"]) for job in jobs.values()}
    front = [a for a in points if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in points)]
    best = [job for job in jobs.values() if (-job["val_accuracy"], job["parameters"]) in front]
    assert run.out.count("best: trial ") == (len(best) if objectives else 1)


def enqueue(folder: Path, key: str, values: list[str]) -> Any:
    """Make ``values`` the first that the search in ``folder`` tries, in this order: its study."""
    options = OmegaConf.load(ROOT / "conf" / "hydra" / "sweeper" / "optuna.yaml")
    queue = study.open_study(options.hydra.sweeper, folder)
    for value in values:
        queue.enqueue_trial({key: value})
    return queue


def test_a_run_that_falls_behind_is_pruned(train: Train, tmp_path: Path) -> None:
    values = ["1", "0.9", "0.8", "0.7", "0.6", "1e-07"]  # the pruner only watches the first five trials
    search = enqueue(tmp_path / "sweep", "optim.lr", values)
    options = ["hydra.sweeper.pruner=median", "hydra.sweeper.trials=6", "trainer.max_steps=60"]
    options += ["model=mlp_relu", "model.hidden=[16]", "trainer.val_check_interval=20"]
    run = train(*SEARCH, *options, f"optim.lr={','.join(values)}")
    assert run.code == 0, run.err
    jobs = found(tmp_path / "sweep")
    assert [jobs[number]["settings"]["optim.lr"] for number in range(6)] == [float(value) for value in values]
    assert [jobs[number]["status"] for number in range(6)] == ["done"] * 5 + ["pruned"]
    assert "behind other trials at step 20" in jobs[5]["error"]
    assert (tmp_path / "sweep" / "5-mlp_relu" / "checkpoints" / "best.ckpt").exists()  # saved before it was stopped
    assert [trial.state.name for trial in search.get_trials()] == ["COMPLETE"] * 5 + ["PRUNED"]
    assert "pruned" not in run.out[run.out.rindex("sweep:") :]  # the table lists failures only


def test_a_run_outside_a_sweep_is_not_pruned(lab: Lab) -> None:
    run = lab(*SMALL, "hydra/sweeper=optuna", "hydra.sweeper.pruner=median")
    assert run.result.status == "done"
    assert "pruning" in run.config.callbacks


def test_failed_trials_are_tolerated_up_to_a_fraction(train: Train, tmp_path: Path) -> None:
    enqueue(tmp_path / "sweep", "optim.lr", ["0.1", "0", "0.2"])
    three = [*SEARCH, "optim.lr=0.1,0.2,0", "hydra.sweeper.trials=3", "hydra.sweeper.max_failed=0.4"]
    assert train(*three).code == 0
    assert [job["status"] for _, job in sorted(found(tmp_path / "sweep").items())] == ["done", "failed", "done"]
    bad = train(*SEARCH, "hydra.sweep.dir=bad", "optim.lr=interval(-2, -1)", "hydra.sweeper.trials=10")
    assert bad.code == 1
    assert "6 of 10 trials failed, more than hydra.sweeper.max_failed=0.5 allows" in bad.err
    assert len(found(tmp_path / "bad")) == 6


def together(train: Train, arguments: list[str]) -> list[Process]:
    """Two processes with the same command at the same time."""
    done: list[Process] = []
    threads = [threading.Thread(target=lambda: done.append(train(*arguments))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def shared(train: Train, tmp_path: Path, storage: str) -> None:
    options = [f"hydra.sweeper.storage='{storage}'", "hydra.sweeper.study=mine", "hydra.sweeper.trials=6"]
    for run in together(train, [*SEARCH, LR, *options]):
        assert run.code == 0, run.err
    jobs = found(tmp_path / "sweep")
    assert sorted(jobs) == list(range(len(jobs)))
    assert 6 <= len(jobs) <= 7  # both may take a last one at the same moment
    assert {job["status"] for job in jobs.values()} == {"done"}


@pytest.mark.parametrize("kind", ["journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_two_processes_work_on_one_study(kind: str, train: Train, tmp_path: Path) -> None:
    if kind == "sqlite":
        shared(train, tmp_path, f"sqlite:///{tmp_path}/study.db")
        return
    for run in together(train, [*SEARCH, LR, "hydra.sweeper.trials=6"]):
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
    search = [*SEARCH, LR, "hydra.sweeper.trials=2"]
    stopped(signal.SIGKILL, "sweep/0-softmax/metrics.csv", [*search, "trainer.max_steps=10000000"], tmp_path)
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
