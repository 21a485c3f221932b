"""What a sweep costs besides training: ``python benchmarks/sweeps.py``.

A sweep of many short jobs in one process (softmax regression, 100 steps, data=mnist5k) against the same job in a
process of its own, in turn; the report over many results; and its page, opened in chromium.
"""

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import Browser

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


def page(count: int, seeds: int, points: int = 200) -> None:
    """A page over ``count`` runs with curves: how long it takes to write and to open, and its size."""
    with tempfile.TemporaryDirectory() as folder:
        dice = random.Random(0)
        for i in range(count):
            run, row = Path(folder, f"{i}-mlp_relu"), i // seeds
            run.mkdir()
            chosen = {"model": "MLP", "optim.lr": 10 ** -(1 + row % 7 / 2), "data.batch_size": 50 * (1 + row // 7 % 5)}
            chosen |= {"model.dropout": row // 35 / 100, "seed": i % seeds}
            top = 0.9 + 0.08 * dice.random()
            curve = [top * (1 - math.exp(-(k + 1) / 9)) + 0.01 * dice.random() for k in range(points)]
            lines = [f"{50 * (k + 1)},{value},{2.5 * (1.01 - value)}\n" for k, value in enumerate(curve)]
            (run / "metrics.csv").write_text("".join(["step,val_accuracy,val_loss\n", *lines]))
            numbers = {"val_accuracy": curve[-1], "test_accuracy": top, "test_errors": round(1e4 * (1 - top))}
            numbers |= {"fit_seconds": 60 * dice.random(), "parameters": dice.randint(1000, 10**7)}
            result = {"status": "done", "name": "mlp_relu", "model": "mlp_relu", "settings": chosen, **numbers}
            (run / "result.json").write_text(json.dumps(result))
        file = Path(folder, "report.html")
        written = seconds("-m", "mnist_lab.report", folder, "--html", str(file), cwd=folder)
        opened = sorted(_opened(file) for _ in range(5))
        print(
            f"page over {count:,} runs in {count // seeds:,} rows: written in {written:.1f} s, "
            f"{file.stat().st_size / 1e6:.1f} MB, opened in {opened[2]:.2f} s ({opened[0]:.2f} to {opened[-1]:.2f})"
        )


def _opened(file: Path) -> float:
    """Seconds until all of the page is drawn, in a browser that has started."""
    browser = Browser(shutil.which("chromium") or sys.exit("error: chromium is not installed"), "about:blank")
    browser.send("Page.enable")
    browser.send(
        "Page.addScriptToEvaluateOnNewDocument",
        source="""const wait = () => document.querySelector(".report .chart svg path, .report table tr")
            ? requestAnimationFrame(() => requestAnimationFrame(() => { window.took = performance.now(); }))
            : requestAnimationFrame(wait); wait();""",
    )
    browser.send("Page.navigate", url=file.as_uri())
    while not (took := browser.evaluate("window.took")):
        time.sleep(0.05)
    browser.close()
    return took / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--pages", action="store_true", help="measure the page only")
    arguments = parser.parse_args()
    for seeds in (1, 5):
        page(1000, seeds)
    if arguments.pages:
        return
    report(arguments.results)
    for logger in ("none", "tensorboard"):
        sweep(arguments.jobs, logger)


if __name__ == "__main__":
    main()
