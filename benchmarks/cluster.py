"""What sweeps lose on a real Slurm, and what they take: ``python benchmarks/cluster.py``, or a word of a row's name.

Each row starts sweeps on a cluster of its own on this machine (tests/slurm.py; needs root), writes what it found to
docs/results/slurm.json, and the table of docs/scaling.md is written from there.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import slurm  # noqa: E402
from slurm import hurry, said, wait_for  # noqa: E402

from mnist_lab.runs.run import find_checkpoint  # noqa: E402

RESULTS = ROOT / "docs" / "results" / "slurm.json"
RUN = ["data=fake", "model=softmax", "optim=sgd", "trainer=debug", "logger=none", "sweep.page=false"]
SLOW = [
    "+callbacks.slow={_target_: observers.Slow}",
    "trust=[observers]",
    "trainer.log_every_n_steps=10",
    "trainer.val_check_interval=500",
]


class Sweep:
    """A sweep of ``jobs`` jobs of ``steps`` steps; ``lines`` has what it says, with the time of each line."""

    def __init__(self, env: dict[str, str], folder: Path, jobs: int, steps: int, *more: str):
        self.env, self.folder, self.jobs, self.steps = env, folder, jobs, steps
        words = ["--multirun", *RUN, f"seed=range({jobs})", f"trainer.max_steps={steps}", "hydra/launcher=slurm"]
        words += ["hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1", "hydra.sweep.dir=sweep", *more]
        self.words, self.lines = words, list[tuple[float, str]]()
        self.start()

    def start(self, *more: str) -> None:
        words = [sys.executable, str(ROOT / "train.py"), *self.words, *more]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(words, cwd=self.folder, env=self.env, process_group=0, **pipes)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append((time.time(), line))

    def end(self) -> "Sweep":
        self.process.wait(3600)
        self.reader.join()
        return self

    def found(self, times: int, lost_steps: int, note: str = "") -> dict[str, Any]:
        """What a row is written from."""
        delays = self.delays()
        return {"times": times, "lost_steps": lost_steps, "lost_jobs": self.lost_jobs(), "delays": delays, "note": note}

    def hurry(self, *jobs: int) -> None:
        for job in jobs:
            hurry(self.env, f"{self.array()}_{job}")

    def run_dir(self, job: int) -> Path:
        return self.folder / "sweep" / f"{job}-softmax"

    def result(self, job: int) -> dict[str, Any]:
        path = self.run_dir(job) / "result.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def array(self) -> str:
        (path,) = (self.folder / "sweep" / "slurm").glob("*.id")
        return path.read_text().strip()

    def trains(self, *jobs: int) -> None:
        """Wait until these have begun to train, or have gone on."""
        before = {job: self.size(job) for job in jobs}
        wait_for(lambda: all(self.size(job) > before[job] for job in jobs), "training", 600)

    def size(self, job: int) -> int:
        path = self.run_dir(job) / "metrics.csv"
        return len(path.read_bytes()) if path.exists() and self.result(job)["status"] == "running" else 0

    def lost_steps(self, *jobs: int) -> int:
        """Steps between those where these were stopped, and those that were saved."""
        wait_for(lambda: all(self.result(job)["status"] != "running" for job in jobs), "the stop", 300)
        return sum(self.result(job)["steps"] - find_checkpoint(self.run_dir(job)).step for job in jobs)

    def lost_jobs(self) -> int:
        done = [job for job in range(self.jobs) if self.result(job).get("status") == "done"]
        whole = [job for job in done if self.result(job)["steps"] == self.steps and self.curve_is_whole(job)]
        return self.jobs - len(whole)

    def curve_is_whole(self, job: int) -> bool:
        """No step twice, which two processes in one directory would leave."""
        rows = [line.split(",")[0] for line in (self.run_dir(job) / "metrics.csv").read_text().splitlines()[1:]]
        return len(rows) == len(set(rows))

    def times(self, job: int) -> tuple[float, float]:
        """When the job began and ended, as Slurm has it, to the second."""
        shown = said(self.env, "scontrol", "show", "job", f"{self.array()}_{job}")
        words = dict(word.split("=", 1) for word in shown.split() if "=" in word)
        begin, end = (datetime.fromisoformat(words[name]).timestamp() for name in ("StartTime", "EndTime"))
        return begin, end

    def delays(self) -> list[float]:
        """Seconds from the end of each job to its line."""
        found = []
        for at, line in self.lines:
            if line.startswith("job "):
                with contextlib.suppress(KeyError, ValueError, subprocess.SubprocessError):  # it never began
                    found.append(at - self.times(int(line.split("sweep/")[1].split("-")[0]))[1])
        return found


def short_jobs(env: dict[str, str], folder: Path, count: int = 200) -> dict[str, Any]:
    """Jobs of 5 steps, two at once; and how long each of the two places stood empty between them."""
    sweep = Sweep(env, folder, count, 5, "hydra.launcher.array_parallelism=2").end()
    times = [sweep.times(job) for job in range(count)]
    whole = max(end for _, end in times) - min(begin for begin, _ in times)
    empty = 2 * whole - sum(end - begin for begin, end in times)
    note = f"{whole / count:.1f} s a job, two at once; between two jobs {empty / count:.1f} s, which are Slurm's"
    return sweep.found(count, 0, note)


def fewer_short_jobs(env: dict[str, str], folder: Path) -> dict[str, Any]:
    return short_jobs(env, folder, 50)


def preemptions(env: dict[str, str], folder: Path) -> dict[str, Any]:
    sweep, lost = Sweep(env, folder, 4, 4000, *SLOW), 0
    for _ in range(5):
        sweep.trains(*range(4))
        said(env, "sbatch", "--partition=high", "--exclusive", "--nodes=2", "--wrap=true", "--output=/dev/null")
        lost += sweep.lost_steps(*range(4))
        sweep.hurry(*range(4))
    return sweep.end().found(20, lost)


def cancellations(env: dict[str, str], folder: Path) -> dict[str, Any]:
    """Four that run, and six that wait; then the rest of the sweep, and again what was cancelled."""
    sweep = Sweep(env, folder, 12, 1500, *SLOW)
    sweep.trains(*range(4))
    said(env, "scancel", *(f"{sweep.array()}_{job}" for job in (*range(4), *range(6, 12))))
    lost = sweep.lost_steps(*range(4))
    sweep.end()
    found = sweep.found(10, lost)
    assert all(sweep.result(job)["status"] == "failed" for job in range(6, 12))  # in the table, though never begun
    sweep.start("sweep.resume=sweep")
    return found | {"lost_jobs": sweep.end().lost_jobs()}


def node_failures(env: dict[str, str], folder: Path) -> dict[str, Any]:
    sweep, lost = Sweep(env, folder, 1, 4000, *SLOW), 0
    for _ in range(5):
        sweep.trains(0)
        node = said(env, "squeue", "-h", "-j", f"{sweep.array()}_0", "-o", "%N")
        said(env, "scontrol", "update", f"node={node}", "state=down", "reason=test")
        lost += sweep.lost_steps(0)
        sweep.hurry(0)  # on the other node
        wait_for(lambda: sweep.result(0)["status"] == "running", "the next start", 600)
        said(env, "scontrol", "update", f"node={node}", "state=resume")
    return sweep.end().found(5, lost)


def time_limits(env: dict[str, str], folder: Path) -> dict[str, Any]:
    """Jobs that need several times their limit of a minute."""
    sweep, lost, times = Sweep(env, folder, 2, 9000, *SLOW, "hydra.launcher.timeout_min=1"), 0, 0
    while sweep.process.poll() is None:
        for job in range(2):
            if sweep.result(job).get("status") == "interrupted":
                lost, times = lost + sweep.lost_steps(job), times + 1
                sweep.hurry(job)
                wait_for(lambda job=job: sweep.result(job)["status"] != "interrupted", "the next start", 600)
        time.sleep(1)
    return sweep.end().found(times, lost)


def killed_submitters(env: dict[str, str], folder: Path) -> dict[str, Any]:
    sweep = Sweep(env, folder, 4, 3000, *SLOW, "hydra.launcher.array_parallelism=2")
    for _ in range(3):
        wait_for(lambda: any(sweep.size(job) for job in range(4)), "training", 600)
        os.killpg(sweep.process.pid, signal.SIGKILL)
        sweep.end().start("sweep.resume=sweep")
        wait_for(lambda: any("in Slurm already" in line for _, line in sweep.lines), "the rejoining", 120)
    return sweep.end().found(3, 0)


ROWS: dict[str, Callable[[dict[str, str], Path], dict[str, Any]]] = {
    "200 short jobs in an array": short_jobs,
    "50 short jobs": fewer_short_jobs,
    "preempted": preemptions,
    "cancelled, then the sweep again": cancellations,
    "node down": node_failures,
    "time limit of the job": time_limits,
    "the submitting command killed": killed_submitters,
}


def table(rows: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        "| | times | lost steps | lost jobs | seconds from a job's end to its line: median | |",
        "|---|---|---|---|---|---|",
    ]
    for name in ROWS:
        if row := rows.get(name):
            delays = row["delays"]
            late = f"{statistics.median(delays):.0f}, at most {max(delays):.0f} (n = {len(delays)})" if delays else "-"
            done = f"{row['note']}{'; ' if row['note'] else ''}load {row['load']}, {row['date']}"
            lines.append(f"| {name} | {row['times']} | {row['lost_steps']} | {row['lost_jobs']} | {late} | {done} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the rows whose names have a word of the command line in them, or all; write them down."""
    words = sys.argv[1:] or [""]
    for name, measure in ROWS.items():
        if not any(word in name for word in words):
            continue
        temporary = tempfile.TemporaryDirectory
        with temporary(prefix="slurm") as daemons, temporary() as folder, slurm.cluster(Path(daemons)) as env:
            row = measure(env | {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'src'}"}, Path(folder))
        rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        rows[name] = row | {"load": f"{os.getloadavg()[2]:.1f}", "date": time.strftime("%Y-%m-%d")}
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
        print(name, {**rows[name], "delays": len(row["delays"])}, flush=True)
    path = ROOT / "docs" / "scaling.md"
    begin, end = "<!-- slurm: written by `python benchmarks/cluster.py` -->\n", "<!-- end of slurm -->"
    before, _, rest = path.read_text().partition(begin)
    path.write_text(before + begin + table(json.loads(RESULTS.read_text())) + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
