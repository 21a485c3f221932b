"""What TensorBoard's extras cost: ``python benchmarks/tensorboard_cost.py model=softmax data=mnist ...``.

The same run in turn with all of them and with none, whole processes; then one with all of them under a clock for each.
The arguments are train.py's.
"""

import functools
import json
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAIN = Path(__file__).parents[1] / "train.py"
OFF = [f"callbacks.{name}=null" for name in ("graph", "histograms", "images", "test_report")]
OFF += ["callbacks.train_metrics.gradient_norm=false", "logger.layout=false", "logger.config=false"]
TIMES = 4


def train(folder: Path, *arguments: str, script: Path = TRAIN) -> tuple[float, float]:
    """Seconds of the whole process, and of training and testing in it."""
    began = time.perf_counter()
    subprocess.run([sys.executable, script, *arguments, f"hydra.run.dir={folder}"], check=True, capture_output=True)
    seconds = time.perf_counter() - began
    result = json.loads((folder / "result.json").read_text())
    return seconds, result["fit_seconds"] + result["test_seconds"]


def compare(folder: Path, arguments: list[str]) -> None:
    on, off = [], []
    for i in range(TIMES):
        off.append(train(folder / f"off{i}", *arguments, *OFF))
        on.append(train(folder / f"on{i}", *arguments))
    for name, which in (("whole process", 0), ("fit and test", 1)):
        a, b = (statistics.median(run[which] for run in runs) for runs in (on, off))
        print(f"{name}: {a:.2f} s with all, {b:.2f} s with none, medians of {TIMES}: {a - b:+.2f} s, ratio {a / b:.3f}")
    for name, path in (("with all", folder / "on0"), ("with none", folder / "off0")):
        events = sum(file.stat().st_size for file in path.glob("events*"))
        projector = sum(file.stat().st_size for file in path.glob("projector/*"))
        print(f"{name}: event file {events / 1e6:.2f} MB, projector {projector / 1e6:.2f} MB")


def clocked() -> None:
    """Be train.py, with a clock on each item; the seconds go to clocks.json in the run directory."""
    from mnist_lab.callbacks import TrainMetrics
    from mnist_lab.tensorboard import Graph, Histograms, ImageLogger, TensorBoard, TestReport, test_report

    spent: dict[str, float] = defaultdict(float)

    def clock(owner: Any, name: str, item: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent[item] += time.perf_counter() - began

        setattr(owner, name, timed)

    clock(TensorBoard, "log_metrics", "scalars, layout, config")
    clock(Graph, "on_train_start", "graph")
    clock(TrainMetrics, "on_before_optimizer_step", "norm of the gradient")
    clock(Histograms, "show", "histograms")
    clock(ImageLogger, "_show_batch", "batch with its mistakes")
    clock(ImageLogger, "_show_first_layer", "first layer")
    clock(ImageLogger, "_show_activations", "activations")
    clock(TestReport, "on_test_end", "all of the test")
    clock(test_report, "worst_digits", "worst digits")
    clock(test_report.images, "confusion", "confusion matrix")
    clock(test_report, "add_pr_curves", "precision and recall")
    clock(test_report, "write_projector", "projector")
    sys.argv[0] = str(TRAIN)
    try:
        runpy.run_path(str(TRAIN), run_name="__main__")
    finally:
        folder = next(a.partition("=")[2] for a in sys.argv if a.startswith("hydra.run.dir="))
        Path(folder, "clocks.json").write_text(json.dumps(spent))


def each_cost(folder: Path, arguments: list[str]) -> None:
    _, seconds = train(folder / "clocked", "--clocked", *arguments, script=Path(__file__))
    spent = json.loads((folder / "clocked" / "clocks.json").read_text())
    for item, each in spent.items():
        print(f"{item:48} {each:8.4f} s {each / seconds:8.2%}")
    print(f"{'of fit and test':48} {seconds:8.2f} s")


def main() -> None:
    if "--clocked" in sys.argv:
        sys.argv.remove("--clocked")
        clocked()
        return
    arguments = sys.argv[1:] or ["model=softmax", "optim=sgd", "data=mnist"]
    with tempfile.TemporaryDirectory() as folder:
        each_cost(Path(folder), arguments)
        compare(Path(folder), arguments)


if __name__ == "__main__":
    main()
