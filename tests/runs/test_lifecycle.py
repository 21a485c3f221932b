"""The record of a run: that it says how the run stands whatever happens, and that nothing locks a run away."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import faults
import filelock
import mirror
import pytest
import pytorch_lightning as pl
import torch
from conftest import ROOT, Lab, Train, command, environment, lab_in
from omegaconf import OmegaConf

import mnist_lab
from mnist_lab import Run
from mnist_lab.errors import UserError
from mnist_lab.sweeps import report
from mnist_lab.view.recording import Recording

SMALL = ["model=softmax", "data=fake", "trainer=debug", "logger=none"]
DIVERGING = ["optim.lr=1e30", "loss.written_out=true", "callbacks.nan_guard=null"]


def strict(text: str) -> Any:
    """JSON as every other reader takes it: without NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run."""
    return lab_in(tmp_path_factory.mktemp("done"))(*SMALL)


def test_a_diverged_run_is_done_and_says_nan(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    run = lab(*SMALL[:3], *DIVERGING)  # with TensorBoard and its HPARAMS
    written = strict((run.directory / "result.json").read_text())
    assert (written["status"], written["test_loss"]) == ("done", "NaN")
    assert run.result.test_loss != run.result.test_loss
    assert "loss NaN" in run.result.table(run.directory)
    assert run.metrics["test_loss"].tolist() != run.metrics["test_loss"].tolist()
    assert "10.00 %" in report.table(report.collect([run.directory]))
    strict(json.dumps(report.records(report.collect([run.directory]))))
    assert Recording(run.directory).moment(20).curves


@pytest.mark.parametrize("mistake", [["seed=[1,2]"], ["seed=nan"], ["fit=false"], ["+sed={a: 1}"]])
def test_a_mistake_never_leaves_a_run_that_seems_to_run(mistake: list[str], lab: Lab) -> None:
    with pytest.raises(UserError):
        lab(*SMALL, *mistake)
    assert Run("run").result.status == "failed"


class Ends(pl.Callback):
    """Ends a run with an error that is no Exception, as Rust's panics are."""

    def on_train_batch_start(self, *_: Any) -> None:
        raise BaseException("panic")


def test_whatever_ends_a_run_its_status_says_failed(lab: Lab) -> None:
    with pytest.raises(BaseException, match="panic"):
        lab(*SMALL, "+callbacks.ends._target_=test_lifecycle.Ends")
    assert (Run("run").result.status, Run("run").result.error) == ("failed", "BaseException('panic')")


class IsStopped(pl.Callback):
    """Is stopped while it writes, and cannot finish its file either."""

    def on_train_batch_start(self, *_: Any) -> None:
        try:
            sys.exit(143)
        finally:
            raise OSError("half a file")


class Misreads(pl.Callback):
    """Fails where somebody else's code has called sys.exit."""

    def on_train_batch_start(self, *_: Any) -> None:
        try:
            sys.exit(2)
        except SystemExit:
            raise ValueError("no config") from None


def test_who_is_stopped_while_writing_is_interrupted(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        lab(*SMALL, "+callbacks.stopped._target_=test_lifecycle.IsStopped")
    assert isinstance(stopped.value.__cause__, SystemExit)
    assert stopped.value.__cause__.code == 143
    assert (Run("run").result.status, Run("run").result.error) == ("interrupted", None)
    assert "interrupted, and then: " in caplog.text
    assert "half a file" in caplog.text


def test_an_error_after_somebody_elses_exit_is_an_error(lab: Lab) -> None:
    with pytest.raises(ValueError, match="no config"):
        lab(*SMALL, "+callbacks.misreads._target_=test_lifecycle.Misreads")
    assert Run("run").result.status == "failed"
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:  # of somebody else, before
        with pytest.raises(BaseException, match="panic"):
            lab(*SMALL, "+callbacks.ends._target_=test_lifecycle.Ends", to="after")
    assert Run("after").result.status == "failed"


@pytest.fixture
def moved(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretended: None) -> Run:
    """A finished run whose data have been moved from the folder before to the folder after."""
    raw = tmp_path / "before" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in zip(mirror_files(), mirror.contents(), strict=True):
        (raw / name).write_bytes(content)
    monkeypatch.setenv("MNIST_LAB_DATA", "before")
    options = ["model=softmax", "data=auto", f"data.mirrors=[{mirror.NOWHERE}]", "data.timeout=1"]
    run = lab(*options, "trainer=debug", "logger=none")
    assert run.result.data == "mnist"
    monkeypatch.delenv("MNIST_LAB_DATA")
    (tmp_path / "before").rename(tmp_path / "after")
    return run


def mirror_files() -> tuple[str, ...]:
    from mnist_lab.data.sources import FAMILIES

    return FAMILIES["mnist"].files


@pytest.mark.parametrize(
    ("where", "use"),
    [
        ("the environment", "trainer.max_steps=30"),
        ("the command line", "fit=false"),
        ("data/", "trainer.max_steps=30"),
        ("nowhere", "trainer.max_steps=30"),
        ("nowhere", "fit=false"),
    ],
)
def test_data_that_moved_are_found_or_missed_in_one_line(
    where: str, use: str, moved: Run, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = [(moved.directory / name).read_text() for name in ("result.json", "config.yaml")]
    more = [f"resume={moved.directory}", use]
    if where == "the environment":
        monkeypatch.setenv("MNIST_LAB_DATA", str(tmp_path / "after"))
    elif where == "the command line":
        more.append("data.root=after")
    elif where == "data/":
        (tmp_path / "after").rename(tmp_path / "data")
    if where == "nowhere":
        with pytest.raises(UserError, match="data=mnist: not found in"):
            lab(*more)
        assert [(moved.directory / name).read_text() for name in ("result.json", "config.yaml")] == record
    else:
        result = lab(*more).result
        assert (result.status, result.data, result.steps) == ("done", "mnist", 20 if use == "fit=false" else 30)
    assert not (tmp_path / "before").exists()


def test_a_run_that_goes_on_in_another_folder_finds_its_data(
    moved: Run, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "after").rename(tmp_path / "before")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert lab(f"resume={moved.directory}", "trainer.max_steps=30").result.data == "mnist"


def test_a_run_that_cannot_go_on_stays_as_it_was(done: Run, lab: Lab) -> None:
    run = Run(shutil.copytree(done.directory, "run"))
    config = OmegaConf.load(run.directory / "config.yaml")
    config.model = {"_target_": "mnist_lab.networks.MLP", "hidden": [5]}
    OmegaConf.save(config, run.directory / "config.yaml")
    record = [(run.directory / name).read_text() for name in ("result.json", "config.yaml")]
    with pytest.raises(UserError, match="the checkpoint is not of the network"):
        lab("resume=run", "trainer.max_steps=30")
    assert [(run.directory / name).read_text() for name in ("result.json", "config.yaml")] == record


@pytest.mark.parametrize("damage", ["missing", "", "{}", '{"status": null}', "[]", '{"status": "done", "steps"'])
def test_a_damaged_result_locks_nothing_away(
    damage: str, done: Run, lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    whole, run = done.result, Run(shutil.copytree(done.directory, "run"))
    (run.directory / "result.json").unlink()
    if damage != "missing":
        (run.directory / "result.json").write_text(damage)
    assert mnist_lab.load("run").network()
    with pytest.raises(UserError, match=r"result\.json: (missing|cannot be read|damaged)"):
        mnist_lab.load("run").result  # noqa: B018
    result = lab("resume=run").result
    assert "made anew from config.yaml" in caplog.text
    for name in ("status", "name", "seed", "settings", "steps", "best_val_accuracy", "test_loss"):
        assert getattr(result, name) == getattr(whole, name)
    assert lab("resume=run", "trainer.max_steps=30").result.steps == 30


@contextmanager
def training(folder: Path, *options: str) -> Iterator[int]:
    """A run of train.py that trains in folder/run meanwhile; its process id."""
    process = subprocess.Popen(
        command(*options, "hydra.run.dir=run"),
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not (folder / "run" / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield process.pid
    finally:
        process.kill()
        process.wait()


class Again(pl.Callback):
    """Starts the run again while it trains."""

    said: list[str] = []  # noqa: RUF012

    def on_train_end(self, *_: Any) -> None:
        for again in (["resume=run"], ["fit=false", "resume=run"], [*SMALL, "hydra.run.dir=run"]):
            with pytest.raises(UserError) as refused:
                mnist_lab.train(*again, "trust=[test_lifecycle]")
            self.said.append(str(refused.value))


def test_a_run_that_still_trains_is_not_started_again(lab: Lab) -> None:
    run = lab(*SMALL, "+callbacks.again._target_=test_lifecycle.Again")
    assert ["run: another process is at work on this run" in line for line in Again.said] == [True] * 3
    assert run.result.status == "done"
    assert lab("resume=run", "trust=[test_lifecycle]").result.status == "done"  # once it has ended


@pytest.mark.slow
def test_a_run_is_one_process_at_a_time_until_its_death(lab: Lab, train: Train, tmp_path: Path) -> None:
    options = [*SMALL, "trainer.max_steps=10000000", "callbacks.checkpoints.every_n_steps=50"]
    with training(tmp_path, *options) as pid:
        record = (tmp_path / "run" / "result.json").read_text()
        assert "another process is at work" in train("resume=run").message
        sweep = train("--multirun", *options, "hydra.sweep.dir=.", "hydra.sweep.subdir=run")  # as with sweep.resume=
        assert sweep.code == 1
        assert "another process is at work" in sweep.err + sweep.out
        assert (tmp_path / "run" / "result.json").read_text() == record
        os.kill(pid, signal.SIGKILL)
    step = Run(tmp_path / "run").checkpoint().step
    assert lab("resume=run", f"trainer.max_steps={step + 10}").result.status == "done"


class Forks(pl.Callback):
    """Leaves a child behind that outlives the run, and kills the run."""

    def on_train_batch_start(self, *_: Any) -> None:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        Path("child").write_text(str(child.pid))
        time.sleep(0.5)  # for the child to begin
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_forked_child_does_not_keep_the_lock_of_a_killed_run(lab: Lab, tmp_path: Path) -> None:
    code = f"import mnist_lab; mnist_lab.train(*{SMALL}, '+callbacks.f._target_=test_lifecycle.Forks',"
    code += " 'hydra.run.dir=run')"
    here = environment(PYTHONPATH=str(Path(__file__).parent) + os.pathsep + str(ROOT / "tests"))
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here).returncode == -signal.SIGKILL
    child = int((tmp_path / "child").read_text())
    os.kill(child, 0)  # is alive
    try:
        with filelock.FileLock(tmp_path / "run" / ".lock", timeout=0):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_run_that_has_ended_in_an_error_is_free(lab: Lab) -> None:
    with pytest.raises(UserError, match=r"optim\.lr"):
        lab(*SMALL, "optim.lr=0")
    assert lab(*SMALL).result.status == "done"


@pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(37, "No locks available")])
def test_where_there_are_no_locks_it_trains_with_a_warning(
    error: Exception, lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "_acquire", fails)
    assert lab(*SMALL).result.status == "done"
    assert "cannot be locked" in caplog.text


@pytest.mark.parametrize("steps", [20, 7])
def test_where_nothing_is_left_to_train_it_says_so_and_tests(
    steps: int, done: Run, lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(shutil.copytree(done.directory, "run"))
    before, config = asdict(run.result), (run.directory / "config.yaml").read_text()
    after = asdict(lab("resume=run", f"trainer.max_steps={steps}").result)
    assert f"trainer.max_steps={steps}: 20 steps are done already, so nothing is left to train" in caplog.text
    assert {**after, "test_seconds": before["test_seconds"]} == before
    assert (run.directory / "config.yaml").read_text() == config
    after = asdict(lab("fit=false", "resume=run").result)
    assert {**after, "test_seconds": before["test_seconds"]} == before


def test_the_best_and_the_last_weights_are_tested_by_name(lab: Lab) -> None:
    run = lab(*SMALL, "data.generated=[2000,2000]", "trainer.max_steps=40")
    best = run.directory / "checkpoints" / "best.ckpt"
    shutil.copy(best, best.with_name("kept.ckpt"))
    saved = torch.load(best, weights_only=True)
    saved["state_dict"] = {name: torch.zeros_like(value) for name, value in saved["state_dict"].items()}
    torch.save(saved, best)  # all the same: each digit is taken for a 0
    last = run.result.test_errors
    assert (lab("fit=false", "checkpoint=best", "resume=run").result.tested, run.result.test_errors) == ("best", 1800)
    assert (lab("fit=false", "resume=run").result.tested, run.result.test_errors) == ("last", last)
    other = lab("fit=false", f"resume={best.with_name('kept.ckpt')}").result
    assert other.tested == "kept"
    assert run.result.status == "done"


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_threads(lab: Lab) -> None:
    """Not bit for bit: each number of threads adds in an order of its own."""
    options = ["model=mlp_relu", "data=fake", "trainer=debug", "logger=none"]
    whole = lab(*options, "trainer.max_steps=40", to="whole")
    lab(*options)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run = lab("resume=run", "trainer.max_steps=40")
    finally:
        torch.set_num_threads(threads)
    assert run.result.provenance["threads"] == 2
    for ours, theirs in zip(run.network().parameters(), whole.network().parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    slow = ["+callbacks.slow={_target_: observers.Slow, seconds: 600}", "hydra.run.dir=run"]
    process = faults.start(*SMALL, *slow, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "slow").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # it would finish the step
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
