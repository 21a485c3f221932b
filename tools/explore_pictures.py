"""Make the pictures of docs/explore.md in docs/pictures, from runs that are trained where they are missing.

Needs chromium (Debian: apt-get install chromium). ``--redraw NAME`` makes one of them alone.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES, RUNS = ROOT / "docs" / "pictures", ROOT / "outputs" / "explore"
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser  # noqa: E402

SHORT = ["trainer.max_steps=500", "trainer.val_check_interval=250", "data.watch_test=false"]
TRAINED = {
    "softmax": ["experiment=softmax"],
    "shifted": ["experiment=softmax", "augment=shift", "augment.pixels=6"],
    "no_dropout": ["experiment=strided_bigger", *SHORT, "callbacks.checkpoints.keep=[10,100]"],
    "dropout": ["experiment=strided_dropout", *SHORT],
}
Point = tuple[float, float]
SEVEN: list[list[Point]] = [[(0.35, 0.2), (0.72, 0.2), (0.36, 0.85)]]
BARRED = [*SEVEN, [(0.25, 0.6), (0.75, 0.58)]]
THREE: list[list[Point]] = [
    [(0.32, 0.24), (0.45, 0.17), (0.6, 0.2), (0.65, 0.32), (0.57, 0.43), (0.45, 0.47)],
    [(0.45, 0.47), (0.62, 0.52), (0.68, 0.66), (0.6, 0.8), (0.45, 0.83), (0.3, 0.76)],
]
# name: (runs, strokes, width and height, what is clicked after the strokes)
SHOWN = {
    "explore": (["no_dropout"], THREE, (1440, 900), ["unit 1"]),
    "explore_barred_seven": (["softmax"], BARRED, (1280, 760), ["class 7"]),
    "explore_filters": (["no_dropout"], SEVEN, (1280, 1160), ["filters 1", "unit 1", "top"]),
    "explore_dropout": (["no_dropout", "dropout"], THREE, (1440, 1640), []),
    "explore_shifted": (["softmax", "shifted"], SEVEN, (1440, 1150), ["weights 1"]),
    "explore_phone": (["dropout"], THREE, (375, 800), []),
}


def main() -> None:
    """Train what is missing, and take all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redraw", action="append", choices=SHOWN, metavar="NAME")
    wanted = parser.parse_args().redraw or SHOWN
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("error: chromium is not installed")
    for name, words in TRAINED.items():
        if not (RUNS / name / "result.json").exists():
            subprocess.run([sys.executable, "train.py", *words, f"hydra.run.dir={RUNS / name}"], cwd=ROOT, check=True)
    for name in wanted:
        runs, strokes, size, clicks = SHOWN[name]
        with page([RUNS / run for run in runs]) as address:
            browser = Browser(chromium, address, *size)
            browser.until("document.querySelector('.x-run')?.dataset.settled")
            for stroke in strokes:
                draw(browser, stroke)
            for words in clicks:
                click(browser, *words.split())
            browser.until("[...document.querySelectorAll('.x-run')].every((r) => r.dataset.settled == 'occlusion')")
            time.sleep(2)  # the unit's numbers come last
            browser.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            browser.picture().quantize(256).save(PICTURES / f"{name}.png", optimize=True)
            browser.close()


@contextmanager
def page(runs: list[Path]) -> Iterator[str]:
    """Serve the page of ``runs``: its address."""
    command = [sys.executable, "-m", "mnist_lab.explore", *map(str, runs), "--no-browser"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        yield server.stdout.readline().split()[1].rstrip(";")
    finally:
        server.kill()


def draw(browser: Browser, corners: list[Point]) -> None:
    """Draw lines between ``corners``, in parts of the drawing area, with the mouse."""
    left, top, width, height = browser.evaluate(
        "(() => { const r = document.querySelector('.x-pad').getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height] })()"
    )
    points = [corners[0]]
    for (a, b), (c, d) in pairwise(corners):
        points += [(a + (c - a) * i / 8, b + (d - b) * i / 8) for i in range(1, 9)]
    kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
    for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
        place = {"x": left + x * width, "y": top + y * height}
        browser.send("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **place)


def click(browser: Browser, what: str, which: str = "1") -> None:
    """Click a class, the button for the weights of a layer, or the most active unit of a layer."""
    layers = f"document.querySelectorAll('.x-run:first-child .x-layer')[{which} - 1]"
    if what == "top":
        script = "scrollTo(0, 0)"
    elif what == "class":
        script = f"document.querySelectorAll('.x-run:first-child .x-class')[{which}].click()"
    elif what in ("filters", "weights"):
        script = (
            "for (const run of document.querySelectorAll('.x-run')) [...run.querySelectorAll('.x-layer')"
            f"[{which} - 1].querySelectorAll('.x-step')].find((b) => b.textContent === {json.dumps(what)}).click()"
        )
    else:  # the unit with the strongest colour: the least red of what is drawn
        script = (
            f"(() => {{ const c = {layers}.querySelector('.x-sheet'), r = c.getBoundingClientRect();"
            " const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height); let at = 0;"
            " for (let i = 0; i < data.length; i += 4) if (data[i + 3] && data[i] < data[4 * at]) at = i / 4;"
            " const part = r.width / c.width, x = at % c.width + 0.5, y = Math.floor(at / c.width) + 0.5;"
            " c.dispatchEvent(new MouseEvent('click', { clientX: r.left + x * part, clientY: r.top + y * part })) })()"
        )
    browser.evaluate(script)
    time.sleep(1)


if __name__ == "__main__":
    main()
