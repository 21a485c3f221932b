"""Faults done to real runs and files. The tests do a few of each, ``make faults`` many, for docs/RELIABILITY.md.

Each fault returns how it ended, or fails an assertion where anything is lost.
"""

import contextlib
import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mirror
import torch
from conftest import Process, command, environment

from mnist_lab.data.idx import read_idx
from mnist_lab.data.sources import fetch
from mnist_lab.errors import UserError
from mnist_lab.runs.run import DamagedCheckpoint, find_checkpoint, verify_checkpoint
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
        env=environment(),
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
    """One run stopped ``count`` times at random moments, by three signals in turn, each time going on."""
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
        out, err = process.communicate(timeout=60)
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number], out + err
        assert "Traceback" not in out + err
        if number != signal.SIGKILL:
            assert f"python train.py resume={os.path.relpath(directory)}" in out
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


def damaged_results(folder: Path, count: int, chance: random.Random) -> str:
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
        assert f"failed: {os.path.relpath(folder / f'{2 * i}-mlp_relu')}: killed by signal {name}" in out
    said = ", ".join(f"{times} {name}" for name, times in sorted(Counter(ends).items()))
    return f"killed by {said}; each marked failed, the {count} other jobs done, the table printed"


FAULTS: dict[str, tuple[Callable[[Path, int, random.Random], str], int]] = {
    "a run stopped by a signal at a random moment": (kills, 50),
    "a disk that fills up": (full_disks, 20),
    "a damaged checkpoint": (damaged_checkpoints, 200),
    "a damaged data file": (damaged_data, 200),
    "a download that fails": (failed_downloads, 21),
    "runs started together": (concurrent_starts, 20),
    "damaged result files in a sweep": (damaged_results, 200),
    "a job of the plain sweep that dies by a signal": (dying_jobs, 10),
}


def main() -> None:
    """Do them all, and write the table."""
    logging.disable(logging.WARNING)  # of each checkpoint that is stepped over
    rows, began = [], time.strftime("%Y-%m-%d")
    for fault, (do, count) in FAULTS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{fault} ({count}) ...", flush=True)
            rows.append(f"| {fault} | {count} | nothing | {do(Path(folder), count, random.Random(0))} |")
            print(rows[-1], flush=True)
    path = Path(__file__).parents[1] / "docs" / "RELIABILITY.md"
    begin, end = "<!-- faults: written by `make faults` -->\n", "<!-- end of faults -->"
    before, rest = path.read_text().split(begin)
    table = [
        f"Done on {began}, torch {torch.__version__}:\n",
        "| fault | times | lost | how it ended |",
        "|---|---|---|---|",
        *rows,
    ]
    path.write_text(before + begin + "\n".join(table) + "\n" + end + rest.split(end)[1])


if __name__ == "__main__":
    main()
