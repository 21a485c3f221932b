"""Measure the page Explore in a browser: how long a stroke takes to be answered, and what a file with a network says.

    python benchmarks/explore.py outputs/softmax/<run> outputs/pooled/<run> ... [--files]

For each run: draws digits, and takes the time from the pen's lifting until all panels are painted, occlusion apart; by
the server and by the file of ``export --format html``. ``--files`` also gives the file all test images and compares its
answers with torch's. The figures are kept in docs/results/benchmarks/explore.json; the table in docs/explore.md is
written from there, with ``--table`` alone.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mnist_lab
from mnist_lab.explore.export import export
from mnist_lab.explore.familiar import digits_of

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]
from browser import Browser  # noqa: E402
from speed import KEPT, ROOT, machine  # noqa: E402

FIGURES, PAGE = KEPT / "explore.json", ROOT / "docs" / "explore.md"
BEGIN, END = "<!-- table: written by benchmarks/explore.py -->", "<!-- end of table -->"
STROKES = 25
# Draws a 7 in five moves and lifts the pen; the time until the gradient, the layers and integrated gradients are there.
TIMED = """
(async () => {
  const pad = document.querySelector(".x-pad"), run = document.querySelector(".x-run"), found = [];
  pad.setPointerCapture = () => {}; // there is no such pointer
  const settled = (what) => new Promise((resolve) => run.addEventListener("settled", function on({ detail }) {
    if (detail !== what) return;
    run.removeEventListener("settled", on);
    resolve();
  }));
  for (let i = 0; i < %d; i++) {
    const box = pad.getBoundingClientRect(), shift = (i %% 5) * 0.01;
    const send = (kind, [x, y]) => pad.dispatchEvent(new PointerEvent(kind, {
      pointerId: 1, button: 0, clientX: box.left + (x + shift) * box.width, clientY: box.top + y * box.height }));
    [...document.querySelectorAll("button")].find((button) => button.textContent === "Clear").click();
    await settled("nothing");
    const points = [[0.3, 0.25], [0.5, 0.25], [0.7, 0.25], [0.6, 0.5], [0.45, 0.8]];
    send("pointerdown", points[0]);
    for (const point of points.slice(1)) {
      const moved = settled("gradient");
      send("pointermove", point);
      await moved;
    }
    const done = settled("integrated"), last = settled("occlusion");
    const began = performance.now();
    send("pointerup", points.at(-1));
    await done;
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))); // painted
    found.push(performance.now() - began);
    await last;
  }
  return found;
})()
"""
# The answers of a file to images, as many as fit one message.
ANSWERS = """
(async () => {
  const { open } = await import("network");
  const engine = open(JSON.parse(document.getElementById("data").textContent).network);
  const all = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0)), answers = [];
  for (let i = 0; i < all.length; i += 784) {
    const { logits } = await engine.look(all.subarray(i, i + 784));
    answers.push(logits.indexOf(Math.max(...logits)));
  }
  return answers;
})()
"""


def promised(browser: Browser, script: str) -> Any:
    answer = browser.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
    if "exceptionDetails" in answer:
        sys.exit(f"error: {answer['exceptionDetails']}")
    return answer["result"]["value"]


def opened(address: str) -> Browser:
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("error: chromium is not installed")
    browser = Browser(chromium, address, 1440, 900)
    for _ in range(600):
        if browser.evaluate("!!document.querySelector('.x-run')?.dataset.settled"):
            return browser
        time.sleep(0.1)
    sys.exit(f"error: {address} does not come up")


def timed(address: str) -> list[float]:
    browser = opened(address)
    times = promised(browser, TIMED % STROKES)[3:]  # the first ones are compiled
    browser.close()
    return [round(t, 1) for t in times]


def by_server(run: Path) -> list[float]:
    command = [sys.executable, "-m", "mnist_lab.explore", str(run), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    times = timed(server.stdout.readline().split()[1].rstrip(";"))
    server.kill()
    return times


def same_answers(file: Path, run: mnist_lab.Run) -> list[int]:
    """How many of the test images get torch's answer, and how many there are."""
    import base64

    images, network = digits_of(run).test_images, run.network()
    browser, same = opened(file.as_uri()), 0
    for part in images.split(500):
        with torch.inference_mode():
            expected = network(part[:, None] / 255).argmax(1).tolist()
        found = promised(browser, ANSWERS % base64.b64encode(part.numpy().tobytes()).decode())
        same += int(np.equal(found, expected).sum())
    browser.close()
    return [same, len(images)]


def row(directory: Path, folder: Path, answers: bool, before: dict[str, Any]) -> dict[str, Any]:
    run = mnist_lab.load(directory)
    file = folder / "network.html"
    export(run, file, "html")
    found = {"name": f"{run.result.model}, `{run.result.name}`", "server": by_server(directory)}
    found |= {"file": timed(file.as_uri()), "bytes": file.stat().st_size}
    return found | {"same": same_answers(file, run) if answers else before.get("same")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--files", action="store_true", help="also compare the answers of the files with torch's")
    parser.add_argument("--table", action="store_true", help="write the table only")
    arguments = parser.parse_args()
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"rows": {}}
    if not arguments.table:
        for directory in arguments.runs:
            with tempfile.TemporaryDirectory() as folder:
                name = mnist_lab.load(directory).result.name
                before = kept["rows"].get(name, {})
                kept["rows"][name] = row(directory, Path(folder), arguments.files, before)
            kept |= {"machine": machine(), "load": f"{os.getloadavg()[1]:.0f} on {os.cpu_count()} cores"}
            FIGURES.write_text(json.dumps(kept, indent=1) + "\n")
            print(name, {key: value for key, value in kept["rows"][name].items() if key != "name"}, flush=True)
    head = "| network | ms from pen up to all panels, by the server | by the file | the file's kB | torch's answers |"
    lines = [head, "|---|" + "---:|" * 4]
    for found in kept["rows"].values():
        times = [spread(found[side]) for side in ("server", "file")]
        same = "" if not found["same"] else f"{found['same'][0]:,} of {found['same'][1]:,}"
        lines.append(f"| {found['name']} | {times[0]} | {times[1]} | {found['bytes'] / 1000:,.0f} | {same} |")
    how = f"Median (fastest to slowest) of {STROKES - 3} digits; load {kept['load']}"
    lines += ["", f"*{how}; {kept['machine']}; headless Chromium on the same cores.*"]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}")


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):.0f} ({min(times):.0f}-{max(times):.0f})"


if __name__ == "__main__":
    main()
