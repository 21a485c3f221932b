"""Measures what the live view costs, by the same runs with and without it, in turn: ``python benchmarks/view.py``.

Prints, for each network, the seconds of training with a view over those without: median, least and greatest ratio.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
STEPS = {"softmax": 20_000, "mlp_relu": 6000, "strided_convnet": 1500, "convnet": 600}  # some twenty seconds each


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--views", nargs="+", default=["file"])
    parser.add_argument("options", nargs="*", help="further overrides for train.py, such as trainer=cuda")
    args = parser.parse_args()
    print(f"{'model':<18}{'view':<8}seconds with / without, median of {args.rounds} (least to greatest)    frames")
    for model, steps in STEPS.items():
        for view in args.views:
            ratios, frames = [], 0
            for _ in range(args.rounds):
                options = [f"model={model}", f"trainer.max_steps={steps}", *args.options]
                without, _ = fit_seconds("view=off", *options)
                browser = ["view.browser=false"] if view == "web" else []
                seconds, frames = fit_seconds(f"view={view}", *browser, *options)
                ratios.append(seconds / without)
            print(
                f"{model:<18}{view:<8}{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})    {frames}",
                flush=True,
            )


def fit_seconds(*options: str) -> tuple[float, int]:
    """How long a run of train.py with ``options`` trained, and how many frames it recorded."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run_dir = Path(folder) / "run"
        command = [sys.executable, "train.py", f"hydra.run.dir={run_dir}", "data=mnist5k", "test=false", *options]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        frames = len(list((run_dir / "view").glob("[0-9]*.npz")))
        return json.loads((run_dir / "result.json").read_text())["fit_seconds"], frames


if __name__ == "__main__":
    main()
