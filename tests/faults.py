"""Faults done to real runs and files. The tests do a few of each, ``make faults`` many, for docs/RELIABILITY.md.

Each fault returns how it ended, or fails an assertion where anything is lost.
"""

import contextlib
import hashlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lightning_callbacks as shipped
import mirror
import pytest
import torch
from conftest import Process, command, environment
from omegaconf import OmegaConf

import mnist_lab
from mnist_lab.data.idx import read_idx
from mnist_lab.data.sources import FAMILIES, fetch
from mnist_lab.errors import UserError, short_path
from mnist_lab.runs.metrics import read_rows
from mnist_lab.runs.run import DamagedCheckpoint, find_checkpoint, verify_checkpoint
from mnist_lab.speed.lean_steps import LeanSteps
from mnist_lab.sweeps.report import collect, group, run_records, table

RUN = [
    "model=mlp_relu",
    "model.hidden=[32]",
    "model.dropout=0.25",
    "schedule=exponential",
    "data=fake",
    "data.batch_size=50",
]
RUN += ["trainer.log_every_n_steps=10", "trainer.val_check_interval=50", "callbacks.checkpoints.every_n_steps=25"]
FOREVER = "trainer.max_steps=10000000"


def start(*arguments: str, script: list[str] | None = None, cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*script, *arguments] if script else command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(PYTHONPATH=str(Path(__file__).parent)),  # observers.py
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as from a terminal
    )


def finished(*arguments: str) -> Process:
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return Process(0, out, err, Path())


def learning(directory: Path) -> list[str]:
    """The rows of the training curve, without the speed."""
    head, *rows = [line.split(",") for line in (directory / "metrics.csv").read_text().splitlines()]
    shown = [head.index(name) for name in ("step", "learning_rate", "train_loss", "train_accuracy")]
    return [",".join(row[i] for i in shown) for row in rows if row[shown[1]]]


def last(directory: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, dict[str, torch.Tensor]] = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    return loaded["state_dict"]


def kills(folder: Path, count: int, chance: random.Random) -> str:
    """One run stopped ``count`` times at random moments, by three signals in turn, each time going on.

    SIGTERM comes again and again until the run has ended.
    """
    directory, ends = folder / "killed", Counter[str]()
    for i in range(count):
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[i % 3]
        begun = (directory / "checkpoints" / "last.ckpt").exists()
        before = find_checkpoint(directory).step if begun else 0
        process = start(*([f"resume={directory}"] if begun else [*RUN, FOREVER, f"hydra.run.dir={directory}"]))
        deadline = time.monotonic() + 120
        metrics = directory / "metrics.csv"
        stamp = metrics.stat().st_mtime_ns if metrics.exists() else 0
        while not metrics.exists() or metrics.stat().st_mtime_ns == stamp:  # until it trains
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(number)
        while number == signal.SIGTERM and process.poll() is None:  # Slurm and others send several for one stop
            time.sleep(0.01)
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number], out + err
        assert "Traceback" not in out + err
        if number != signal.SIGKILL:
            assert f"python train.py resume={directory}" in out
        ends[number.name] += 1
        if (directory / "checkpoints" / "last.ckpt").exists():
            step = find_checkpoint(directory).step
            assert step >= before
            if number != signal.SIGKILL:
                assert json.loads((directory / "result.json").read_text())["status"] == "interrupted"
    end = find_checkpoint(directory).step + 30
    finished(f"resume={directory}", f"trainer.max_steps={end}")
    finished(*RUN, f"trainer.max_steps={end}", f"hydra.run.dir={folder / 'whole'}")
    whole, killed = last(folder / "whole"), last(directory)
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert learning(directory) == learning(folder / "whole")
    said = ", ".join(f"{times} {name}" for name, times in sorted(ends.items()))
    return f"stopped by {said}; after {end:,} steps weights and curve equal an unstopped run's, bit for bit"


def full_disks(folder: Path, count: int, chance: random.Random) -> str:
    """Runs in a file system that fills up at a random moment."""
    ends, full, kept_some = Counter[str](), "one line, status failed", 0
    while ends[full] < count:
        disk = folder / f"disk{ends.total()}"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={chance.randint(60, 2200)}k", "tmpfs", disk], check=True)
        try:
            process = start(*RUN, "trainer.max_steps=20000", f"hydra.run.dir={disk}")
            out, err = process.communicate(timeout=120)
            assert process.returncode in (0, 1), out + err
            assert "Traceback" not in out + err, out + err
            if process.returncode == 1:
                lines = [line for line in err.splitlines() if line.strip()]
                assert len(lines) == 1, err
                assert "the disk is full" in lines[0]
            kept = list(disk.glob("checkpoints/*.ckpt"))
            for path in kept:
                verify_checkpoint(path)
            kept_some += bool(kept)
            if (disk / "result.json").exists():
                status = json.loads((disk / "result.json").read_text())["status"]
                assert status == ("failed" if process.returncode else "done")
            ends[full if process.returncode else "more had room enough and were done"] += 1
        finally:
            subprocess.run(["umount", disk], check=True)
    assert kept_some, "no disk was large enough for a checkpoint: nothing was tried"
    return ", ".join(f"{times} {end}" for end, times in ends.items())


def mutated(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """``data`` with something wrong, and what."""
    how = chance.choice(["a flipped bit", "cut off", "zeros", "noise", "more"])
    at, changed = chance.randrange(len(data)), bytearray(data)
    if how == "a flipped bit":
        changed[at] ^= 1 << chance.randrange(8)
    elif how == "cut off":
        del changed[at:]
    elif how == "zeros":
        changed[at : at + 512] = bytes(len(changed[at : at + 512]))
    elif how == "noise":
        changed[at : at + 64] = chance.randbytes(len(changed[at : at + 64]))
    else:
        changed += chance.randbytes(64)
    return how, bytes(changed)


def damaged_checkpoints(folder: Path, count: int, chance: random.Random) -> str:
    """Checkpoints with random damage: found out, or read to the very same values."""
    finished(*RUN, "trainer.max_steps=60", f"hydra.run.dir={folder / 'good'}")
    good = folder / "good" / "checkpoints" / "last.ckpt"
    data, weights, ends = good.read_bytes(), last(folder / "good"), Counter[str]()
    for _ in range(count):
        _, changed = mutated(data, chance)
        good.write_bytes(changed)
        try:
            verify_checkpoint(good)
        except DamagedCheckpoint:
            assert find_checkpoint(folder / "good").path.name == "previous.ckpt"
            ends["found out, the one before taken"] += 1
        else:
            assert all(torch.equal(value, weights[name]) for name, value in last(folder / "good").items())
            ends["harmless, between the records"] += 1
    return ", ".join(f"{times} {end}" for end, times in ends.items())


def damaged_data(folder: Path, count: int, chance: random.Random) -> str:
    """IDX files with random damage: found out, by name."""
    path, data = folder / "images", mirror.contents()[2]
    ends = Counter[str]()
    for _ in range(count):
        how, changed = mutated(data, chance)
        path.write_bytes(changed)
        if changed == data:
            ends["unchanged by it"] += 1
            continue
        said = ""
        try:
            read_idx(path, (10_000, 28, 28), hashlib.sha256(data).hexdigest())
        except UserError as error:
            said = str(error)
        assert f"delete {path}" in said, how
        ends["found out"] += 1
    return ", ".join(f"{times} {end}" for end, times in ends.items())


def failed_downloads(folder: Path, count: int, chance: random.Random) -> str:
    """Downloads from servers that refuse, cut off, send something else, never end or send in circles."""
    mirror.pretend()
    ends = Counter[str]()
    with mirror.serving() as (address, _):
        for i in range(count):
            kind = ("refused", *mirror.FAULTS)[i % (len(mirror.FAULTS) + 1)]
            root = folder / f"data{i}"
            with contextlib.suppress(UserError):
                fetch("mnist", root, True, [mirror.NOWHERE if kind == "refused" else f"{address}{kind}/"], 5)
                raise AssertionError(f"{kind} was not found out")
            assert not list(root.rglob("*ubyte*"))
            fetch("mnist", root, True, [f"{address}good/"], 5)  # nothing is in the way of the next
            ends[kind] += 1
    kinds = ", ".join(f"{times} {end}" for end, times in ends.items())
    return f"one line each ({kinds}), the next download worked"


def concurrent_starts(folder: Path, count: int, chance: random.Random) -> str:
    """Runs started together on an empty data folder, where a killed one has left its lock."""
    raw = folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / ".download.lock").touch()
    script = [sys.executable, str(Path(mirror.__file__))]
    options = ["model=softmax", "data=mnist", "trainer=debug", "logger=none", f"data.root={folder / 'data'}"]
    with mirror.serving() as (address, served):
        options.append(f"data.mirrors=[{address}good/]")
        processes = [start(*options, script=script, cwd=folder) for _ in range(count)]
        for process in processes:
            out, err = process.communicate(timeout=600)
            assert process.returncode == 0, out + err
        assert sorted(served) == sorted(f"/good/{name}" for name in mirror.packed())
    results = [json.loads(path.read_text()) for path in (folder / "outputs" / "softmax").glob("*/result.json")]
    assert len(results) == count
    assert len({(result["status"], result["test_loss"], result["data"]) for result in results}) == 1
    return f"one download, {count} directories, {count} equal results"


SEVERAL = ["trainer=ddp", "trainer.accelerator=cpu", "logger=none"]


def nan_on_one_process(folder: Path, count: int, chance: random.Random) -> str:
    """NaN in the images of one of two or three processes at a random step."""
    for i in range(count):
        processes, step = 2 + i % 2, chance.randrange(60)
        where = {"_target_": "observers.Poison", "rank": chance.randrange(processes), "step": step}
        poison = [f"+callbacks.poison.{key}={value}" for key, value in where.items()]
        options = [*RUN, *SEVERAL, f"trainer.devices={processes}", *poison, "trainer.max_steps=60"]
        out, err, code = ended(start(*options, f"hydra.run.dir={folder / str(i)}"))
        assert code == 1, out + err
        lines = [line for line in err.splitlines() if line.strip()]
        assert len(lines) == 1, err
        assert f"the training loss is nan at step {step}" in lines[0]
        assert json.loads((folder / str(i) / "result.json").read_text())["status"] == "failed"
        assert verify_checkpoint(folder / str(i) / "checkpoints" / "before_nan.ckpt").step == step
    return "all processes ended, one line, status failed, the weights before it kept"


def stopped_processes(folder: Path, count: int, chance: random.Random) -> str:
    """One run on two processes; each time another of them gets a signal at a random moment, and it goes on."""
    directory, ends = folder / "several", Counter[str]()
    victims = [("a rank", signal.SIGKILL), ("the first", signal.SIGTERM), ("all", signal.SIGINT)]
    victims += [("a rank", signal.SIGTERM), ("the first", signal.SIGKILL), ("the first, starting", signal.SIGKILL)]
    for i in range(count):
        who, number = victims[i % len(victims)]
        begun = (directory / "checkpoints" / "last.ckpt").exists()
        new = [*RUN, *SEVERAL, "callbacks.checkpoints.every_n_steps=10", FOREVER, f"hydra.run.dir={directory}"]
        before = find_checkpoint(directory).step if begun else 0
        process = start(*([f"resume={directory}"] if begun else new))
        deadline = time.monotonic() + 500
        while not (ranks_of(process.pid) if "starting" in who else steps_done(directory) > before):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.5))
        others = ranks_of(process.pid)
        for pid in {"a rank": others, "all": [process.pid, *others]}.get(who, [process.pid]):
            os.kill(pid, number)
        out, err, code = ended(process)
        assert "Traceback" not in out + err, out + err
        status = json.loads((directory / "result.json").read_text())["status"]
        if (who, number) == ("a rank", signal.SIGKILL):
            assert (code, status) == (1, "failed"), out + err
            assert "error: one of the 2 processes has ended early" in err
        elif number == signal.SIGKILL:
            assert (code, status) == (-9, "running"), out + err
        else:
            assert (code, status) == ({signal.SIGINT: 130, signal.SIGTERM: 143}[number], "interrupted"), out + err
            assert out.count(f"python train.py resume={short_path(directory)}") == 1
        ends[f"{who} by {number.name}"] += 1
    end = find_checkpoint(directory).step + 30
    finished(f"resume={directory}", f"trainer.max_steps={end}")
    finished(*RUN, *SEVERAL, f"trainer.max_steps={end}", f"hydra.run.dir={folder / 'whole'}")
    assert all(torch.equal(weights, last(directory)[name]) for name, weights in last(folder / "whole").items())
    said = ", ".join(f"{times} {name}" for name, times in sorted(ends.items()))
    return f"{said}; no process was left; after {end:,} steps the weights equal an unstopped run's, bit for bit"


def ranks_of(pid: int) -> list[int]:
    """The processes that the first of a training has started, without others such as git's."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if "train_ddp_process" in Path(f"/proc/{child}/cmdline").read_text()]


def steps_done(directory: Path) -> float:
    """The last step in the curves."""
    rows = read_rows(directory / "metrics.csv")
    return rows[-1]["step"] if rows else 0


def ended(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """What a run said, and its exit code; its processes hold the pipes, so this waits for all of them."""
    out, err = process.communicate(timeout=200)
    return out, err, process.returncode


def two_resumes(folder: Path, count: int, chance: random.Random) -> str:
    """A run that is gone on with while another process trains it, which is then killed: that frees it."""
    directory = folder / "run"
    mnist_lab.train(*RUN, "logger=none", "trainer.max_steps=50", f"hydra.run.dir={directory}")
    for _ in range(count):
        stamp = (directory / "metrics.csv").stat().st_mtime_ns
        first = multiprocessing.get_context("fork").Process(
            target=mnist_lab.train, args=(f"resume={directory}", FOREVER)
        )
        first.start()
        try:
            while (directory / "metrics.csv").stat().st_mtime_ns == stamp:
                assert first.is_alive()
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 0.5))
            with pytest.raises(UserError, match="another process is at work on this run"):
                mnist_lab.train(f"resume={directory}", FOREVER)
            assert first.is_alive()
        finally:
            first.kill()
            first.join()
    step = find_checkpoint(directory).step
    assert mnist_lab.train(f"resume={directory}", f"trainer.max_steps={step + 30}").result.steps == step + 30
    return f"the second refused in one line, {count} times; the kill of the first freed the run each time"


def moved_data(folder: Path, count: int, chance: random.Random) -> str:
    """Finished runs whose data folder has moved, to where one of four places says, or to nowhere."""
    mirror.pretend()
    (folder / "then" / "MNIST" / "raw").mkdir(parents=True)
    for name, content in zip(FAMILIES["mnist"].files, mirror.contents(), strict=True):
        (folder / "then" / "MNIST" / "raw" / name).write_bytes(content)
    options = ["model=softmax", f"data.mirrors=[{mirror.NOWHERE}]", "data.timeout=1", "trainer=debug", "logger=none"]
    run = mnist_lab.train(*options, "data=mnist", f"data.root={folder / 'then'}", f"hydra.run.dir={folder / 'run'}")
    now, ends = folder / "then", Counter[str]()
    for i in range(count):
        where = ("MNIST_LAB_DATA", "data.root=", "nowhere")[i % 3]
        before, now = now, now.rename(folder / f"now{i}")
        config = OmegaConf.load(run.directory / "config.yaml")
        if where != "nowhere":
            config.data.root = str(before)
            OmegaConf.save(config, run.directory / "config.yaml")
        record = (run.directory / "result.json").read_bytes()
        words = [f"resume={run.directory}", f"trainer.max_steps={20 + i}" if i % 2 else "fit=false"]
        if where == "MNIST_LAB_DATA":
            os.environ["MNIST_LAB_DATA"] = str(now)
        words += [f"data.root={now}"] if where == "data.root=" else []
        missed = pytest.raises(UserError, match="data=mnist: not found in")
        with contextlib.chdir(folder), missed if where == "nowhere" else contextlib.nullcontext():
            mnist_lab.train(*words)
        os.environ.pop("MNIST_LAB_DATA", None)
        if where == "nowhere":
            assert (run.directory / "result.json").read_bytes() == record
        assert run.result.status == "done"
        assert not before.exists()
        ends[where] += 1
    told = ", ".join(f"{times} by {end}" for end, times in ends.items() if end != "nowhere")
    return f"found ({told}), or missed in one line, the run as it was ({ends['nowhere']})"


def damaged_results(folder: Path, count: int, chance: random.Random) -> str:
    """Runs that go on though their result.json is missing, empty or damaged at random."""
    good = mnist_lab.train(*RUN, "logger=none", "trainer.max_steps=30", f"hydra.run.dir={folder / 'good'}")
    text, ends = (good.directory / "result.json").read_bytes(), Counter[str]()
    for i in range(count):
        run = mnist_lab.Run(shutil.copytree(good.directory, folder / "run"))
        path = run.directory / "result.json"
        kind = ("missing", "empty", "{}", "damaged")[i % 4]
        path.unlink()
        if kind != "missing":
            path.write_bytes({"empty": b"", "{}": b"{}"}.get(kind) or mutated(text, chance)[1])
        again = mnist_lab.train(f"resume={run.directory}")
        assert (again.result.status, again.result.steps) == ("done", 30)
        assert again.result.test_loss == good.result.test_loss
        ends[kind] += 1
        shutil.rmtree(run.directory)
    return f"gone on with from checkpoint and config ({', '.join(f'{times} {end}' for end, times in ends.items())})"


def damaged_in_a_sweep(folder: Path, count: int, chance: random.Random) -> str:
    """Damage to one result.json of a sweep: the table has all others, and names that one unless it can be read."""
    finished("--multirun", *RUN, "trainer.max_steps=20", "seed=0,1,2", f"hydra.sweep.dir={folder}", "sweep.page=false")
    paths, ends = sorted(folder.glob("*/result.json")), Counter[str]()
    for _ in range(count):
        path = chance.choice(paths)
        data = path.read_bytes()
        path.write_bytes(mutated(data, chance)[1])
        runs = collect([folder])
        shown = {run_dir for row in group(runs)[1] for run_dir in row.runs}
        assert shown >= {other.parent for other in paths if other != path}
        ends["skipped, by name" if f"skipped: {path}: " in table(runs) else "still a result"] += 1
        assert len(json.loads(json.dumps(run_records(runs)))) == len(paths)
        path.write_bytes(data)
    return ", ".join(f"{times} {end}" for end, times in ends.items())


def dying_jobs(folder: Path, count: int, chance: random.Random) -> str:
    """A sweep in which every second job would never end, and is killed: the others are done, the table comes."""
    jobs = [f"seed=range({count})", "trainer.max_steps=10000000,20", f"hydra.sweep.dir={folder}", "sweep.page=false"]
    process, ends = start("--multirun", *RUN, *jobs), list[str]()
    for job in range(0, 2 * count, 2):
        deadline = time.monotonic() + 240
        while not (folder / f"{job}-mlp_relu" / "metrics.csv").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.5))
        number = chance.choice([signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT, signal.SIGBUS])
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(worker), number)
        ends.append(number.name)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, out + err
    for i, name in enumerate(ends):
        killed, other = (json.loads((folder / f"{2 * i + j}-mlp_relu" / "result.json").read_text()) for j in (0, 1))
        assert (killed["status"], killed["error"], other["status"]) == ("failed", f"killed by signal {name}", "done")
        assert f"failed: {short_path(folder / f'{2 * i}-mlp_relu')}: killed by signal {name}" in out
    said = ", ".join(f"{times} {name}" for name, times in sorted(Counter(ends).items()))
    return f"killed by {said}; each marked failed, the {count} other jobs done, the table printed"


def lightning_callbacks(folder: Path, count: int, chance: random.Random) -> str:
    """Runs with every callback that Lightning ships, with LeanSteps and without."""
    absent = {name: why for name in shipped.MADE if (why := shipped.missing(name))}
    for name in shipped.MADE.keys() - absent.keys():
        plain = shipped.fit(folder / name / "plain", shipped.MADE[name]())
        lean = shipped.fit(folder / name / "lean", shipped.MADE[name](), LeanSteps())
        assert not shipped.differences(plain, lean), name
    left_out = "".join(f"; not {name}: {why}" for name, why in absent.items())
    return f"the same weights, curves and calls of hooks, bit for bit{left_out}"


class Fault(NamedTuple):
    """What is done, how often by ``make faults``, and how often in the suite: 0 where that has a test of its own."""

    do: Callable[[Path, int, random.Random], str]
    times: int
    few: int
    slow: bool = False


FAULTS = {
    "a run stopped by a signal at a random moment": Fault(kills, 50, 2),
    "a disk that fills up": Fault(full_disks, 20, 0),
    "a damaged checkpoint": Fault(damaged_checkpoints, 200, 20),
    "a damaged data file": Fault(damaged_data, 200, 20),
    "a download that fails": Fault(failed_downloads, 21, 7),
    "runs started together": Fault(concurrent_starts, 20, 2),
    "a NaN on one of several processes": Fault(nan_on_one_process, 20, 2, slow=True),
    "a process of several stopped at a random moment": Fault(stopped_processes, 20, 6, slow=True),
    "two resumes at once": Fault(two_resumes, 20, 1, slow=True),
    "a moved data folder": Fault(moved_data, 30, 3),
    "result.json missing, empty or damaged on resume": Fault(damaged_results, 40, 4),
    "a damaged result.json in a sweep": Fault(damaged_in_a_sweep, 200, 20),
    "a job of a sweep that dies by a signal": Fault(dying_jobs, 10, 1),
    "every callback of Lightning's, with and without LeanSteps": Fault(
        lightning_callbacks, sum(not shipped.missing(name) for name in shipped.MADE), 0
    ),
}


def main() -> None:
    """Do them all, or those whose names contain a word of the command line, and write their rows of the table."""
    logging.disable(logging.WARNING)  # of each checkpoint that is stepped over
    path, words = Path(__file__).parents[1] / "docs" / "RELIABILITY.md", sys.argv[1:] or [""]
    begin, end = "<!-- faults: written by `make faults` -->\n", "<!-- end of faults -->"
    before, rest = path.read_text().split(begin)
    written, after = rest.split(end)
    rows = {row.split(" | ")[0][2:]: row for row in written.splitlines() if row.startswith("| ")}
    for fault, (do, count, *_) in FAULTS.items():
        if any(word in fault for word in words):
            with tempfile.TemporaryDirectory() as folder:
                print(f"{fault} ({count}) ...", flush=True)
                how = do(Path(folder), count, random.Random(0))
                done = f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}"
                rows[fault] = f"| {fault} | {count} | nothing | {how} | {done} |"
                print(rows[fault], flush=True)
    head = ["| fault | times | lost | how it ended | done on |", "|---|---|---|---|---|"]
    kept = [rows[fault] for fault in FAULTS if fault in rows]
    path.write_text(before + begin + "\n".join([*head, *kept]) + "\n" + end + after)


if __name__ == "__main__":
    main()
