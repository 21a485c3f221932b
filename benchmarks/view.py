"""Measures what a person who watches gets, and what it costs: ``python benchmarks/view.py``, on an idle machine.

Each network is trained without a view and with its page open in headless Chromium, in turn. What came when is what the
page itself noted; sizes and ages are those of the frames. Writes the table in docs/view.md.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
DOC, BEGIN, END = ROOT / "docs/view.md", "<!-- measured: written by `python benchmarks/view.py` -->\n", "<!-- end -->"
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tools"))

from browser import Browser  # noqa: E402

from mnist_lab.runs.provenance import provenance  # noqa: E402
from mnist_lab.view.recording import Frames  # noqa: E402

NETWORKS = {  # the steps take some twenty seconds on two cores; softmax's first thousand take less than one
    "softmax, 1,000 steps": ["experiment=softmax", "trainer.max_steps=1000"],
    "softmax": ["experiment=softmax", "trainer.max_steps=40000"],
    "ReLU network": ["experiment=relu_decay", "trainer.max_steps=10000"],
    "strided convolutional network": ["experiment=strided_dropout", "trainer.max_steps=2000"],
    "pooled convolutional network": ["experiment=pooled", "trainer.max_steps=800"],
}
# When the page showed which step, by its own clock.
WATCH = """window.seen = [];
new MutationObserver(() => {
  const text = document.querySelector(".live-values")?.textContent.split(" ")[1];
  if (text && seen.at(-1)?.[1] !== text) seen.push([performance.timeOrigin + performance.now(), text]);
}).observe(document, { subtree: true, childList: true, characterData: true });"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--write", action="store_true", help="the table in docs/view.md")
    parser.add_argument("options", nargs="*", help="further overrides for train.py, such as trainer=cuda")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("error: chromium is not installed")
    rows = []
    for name in args.networks:
        ratios, looks = [], []
        for _ in range(args.rounds):
            options = [*NETWORKS[name], *args.options]
            without = fit_seconds("view=off", *options)
            look = watch(chromium, options)
            ratios.append(look["fit_seconds"] / without)
            looks.append(look)
        best = {key: median(look[key] for look in looks) for key in looks[0]}
        rows.append(
            f"| {name} | {best['page']:.1f} s | {best['first']:.1f} s | {best['delay']:.2f} s | {best['early']:.0f} "
            f"| {best['rate']:.1f} | {best['age']:.1f} s | {best['largest'] / 1000:.1f} kB "
            f"| {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) |"
        )
        print(rows[-1], flush=True)
    if args.write:
        text = DOC.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        head = (
            f"{time.strftime('%Y-%m-%d')}, {provenance()['cpu']}, {os.cpu_count()} cores, both in use; "
            f"{f'medians of {args.rounds} rounds' if args.rounds > 1 else 'one round'}.\n\n"
            "| network | page after | step 0 after | shown | frames of 1,000 steps | a second | oldest digit "
            "| largest frame | training, with / without |\n|---|---|---|---|---|---|---|---|---|\n"
        )
        DOC.write_text(before + BEGIN + head + "\n".join(rows) + "\n" + END + rest.split(END)[1], encoding="utf-8")


def words(folder: str, *options: str) -> list[str]:
    """The command line of a run in ``folder``."""
    return [sys.executable, "train.py", f"hydra.run.dir={folder}/run", "test=false", "logger=none", *options]


def fit_seconds(*options: str) -> float:
    """How long a run of train.py with ``options`` trained."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        subprocess.run(words(folder, *options), cwd=ROOT, check=True, capture_output=True)
        return float(json.loads(Path(folder, "run", "result.json").read_text())["fit_seconds"])


def watch(chromium: str, options: list[str]) -> dict[str, float]:
    """Train with the page open; what it showed when."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run_dir, browser = Path(folder) / "run", Browser(chromium, "about:blank", 1280, 800)
        browser.send("Page.enable")
        browser.send("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        began = time.time()
        view = ["view=web", "view.browser=false", "view.stay=3"]
        run = subprocess.Popen(words(folder, *view, *options), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert run.stdout
        address = next(found[0] for line in run.stdout if (found := re.search(r"http://localhost:\d+", line)))
        browser.send("Page.navigate", url=address)
        page = time.time()
        frames_file = run_dir / "view" / "frames"
        while not frames_file.stat().st_size and run.poll() is None:
            time.sleep(0.02)
        first_frame = time.time()
        run.communicate()
        time.sleep(1)
        seen: list[Any] = browser.evaluate("seen")
        browser.close()
        frames = Frames(run_dir)
        frames.look()
        headers = [record.header for record in frames.records]
        shown = [at / 1000 for at, _ in seen]
        times = [header["seconds"] for header in headers]
        late = [at for at in shown if at > shown[0] + 2] or shown
        return {
            "fit_seconds": float(json.loads((run_dir / "result.json").read_text())["fit_seconds"]),
            "page": page - began,
            "first": shown[0] - began,
            "delay": shown[0] - first_frame,
            "early": sum(header["step"] <= 1000 for header in headers),
            "rate": (len(late) - 1) / max(late[-1] - late[0], 1e-3)
            if len(late) > 1
            else len(times) / max(times[-1], 0.1),
            "age": oldest(headers),
            "largest": max(record.end - record.start for record in frames.records),
        }


def oldest(headers: list[dict[str, Any]]) -> float:
    """How many seconds of training ago a prediction of a watched digit was made, at most, from frame to frame."""
    made: dict[int, float] = {}
    age = 0.0
    for header in headers:
        start, predictions = header["watched"]
        if len(made) == 1000 or (made and max(made) + 1 == len(made) and header is headers[-1]):
            age = max(age, header["seconds"] - min(made.values()))
        made |= dict.fromkeys(range(start, start + len(predictions)), header["seconds"])
    return age


if __name__ == "__main__":
    main()
