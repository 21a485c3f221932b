"""What a sweep costs besides training: ``python benchmarks/sweeps.py``.

A sweep of many short jobs in one process (softmax regression, 100 steps, data=mnist5k) against the same job in a
process of its own, in turn; and the report over many results.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = str(Path(__file__).parents[1] / "train.py")
JOB = ["model=softmax", "optim=sgd", "data=mnist5k", "trainer.max_steps=100"]


def seconds(*command: str, cwd: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - began


def sweep(jobs: int, logger: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        single, together = [], []
        job = [*JOB, f"logger={logger}", "sweep.page=false"]
        for i in range(3):
            single.append(seconds(TRAIN, *job, f"seed={i}", cwd=folder))
            if i < 2:
                together.append(seconds(TRAIN, "--multirun", *job, f"seed=range(0,{jobs})", cwd=folder))
        one, trained = min(single), []
        for path in Path(folder).glob("outputs/sweeps/*/*/result.json"):
            result = json.loads(path.read_text())
            trained.append(result["fit_seconds"] + result["test_seconds"])
        each = (min(together) - one) / (jobs - 1)
        print(
            f"logger={logger}: a process for one job {one:.2f} s ({', '.join(f'{s:.2f}' for s in single)}); "
            f"{jobs} jobs in one process {min(together):.1f} s ({', '.join(f'{s:.1f}' for s in together)}): "
            f"{each:.3f} s a job, of which {sum(trained) / len(trained):.3f} s fit and test; ratio {each / one:.3f}"
        )


def report(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dice = random.Random(0)
        settings = {f"group.key{i}": i for i in range(40)}
        for i in range(count):
            run = Path(folder, f"{i}-softmax")
            run.mkdir()
            chosen = {"model": "Softmax", "optim.lr": 10 ** -(i % 4), "data.batch_size": 50 * (i % 5), "seed": i // 20}
            numbers = {"val_accuracy": dice.random(), "test_accuracy": dice.random(), "test_errors": 800}
            numbers |= {"fit_seconds": 1.0, "parameters": 7850, "best_val_accuracy": dice.random()}
            result = {"status": "done", "name": "softmax", "model": "softmax", "settings": settings | chosen, **numbers}
            (run / "result.json").write_text(json.dumps(result, indent=2))
        best = min(seconds("-m", "mnist_lab.report", folder, cwd=folder) for _ in range(3))
        print(f"report over {count:,} results: {best:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--results", type=int, default=10_000)
    arguments = parser.parse_args()
    report(arguments.results)
    for logger in ("none", "tensorboard"):
        sweep(arguments.jobs, logger)


if __name__ == "__main__":
    main()
