"""Make the pictures in docs/pictures from real runs.

Needs chromium (Debian: apt-get install chromium).
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser  # noqa: E402

RUNS = ROOT / "outputs" / "pictures"
# For each run, by the name of the picture: the tab, the seconds it needs to load, and the height of the page.
TABS = {
    "strided": {
        "story": ("custom_scalars", 8, 700),
        "images": ("images", 8, 1400),
        "distributions": ("distributions", 8, 800),
        "histograms": ("histograms", 8, 800),
        "pr_curves": ("pr_curves", 8, 800),
        "projector": ("projector", 25, 800),
    },
    "softmax": {"softmax": ("images", 8, 1000)},
    "": {"hparams": ("hparams", 8, 500)},
}
LADDER = ("softmax", "mlp_sigmoid", "mlp_relu", "strided_convnet", "convnet")


def main() -> None:
    """Train the models that have no run yet, and take all pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("error: chromium is not installed")
    for model in LADDER:
        if not (RUNS / model / "result.json").exists():
            options = ["trainer.max_steps=1000", "trainer.val_check_interval=50", "trainer.log_every_n_steps=20"]
            command = [sys.executable, "train.py", f"model={model}", f"hydra.run.dir={RUNS / model}", *options]
            subprocess.run(command, cwd=ROOT, check=True)
    report(chromium)
    view(chromium)
    with tensorboard(RUNS) as page:
        scalars = f"{page}/?darkMode=false#scalars&_smoothingWeight=0&tagFilter=(accuracy%7Closs)%2F(train%7Cval)"
        photograph(chromium, scalars, PICTURES / "tensorboard.png")
    tabs(chromium)


@contextlib.contextmanager
def tensorboard(logdir: Path) -> Iterator[str]:
    """Run TensorBoard over the runs in ``logdir`` and yield its address, once it has read them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("tensorboard"), "--logdir", logdir.relative_to(ROOT), "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for(
            f"http://localhost:{port}/data/runs",
            "." if (logdir / "result.json").exists() else min(path.name for path in logdir.iterdir()),
        )
        yield f"http://localhost:{port}"
    finally:
        server.terminate()


def tabs(chromium: str) -> None:
    """Take a picture of each tab of TensorBoard in TABS."""
    runs = {"softmax": "experiment=softmax", "strided": "experiment=strided_dropout"}
    common = ["data.watch_test=false", "data.validation_size=5000", "trainer.log_every_n_steps=20"]
    logdir = RUNS.with_name("tabs")
    for name, experiment in runs.items():
        if not (logdir / name / "result.json").exists():
            options = [*common, "trainer.max_steps=1500", "trainer.val_check_interval=50"]
            command = [sys.executable, "train.py", experiment, f"hydra.run.dir={logdir / name}", *options]
            subprocess.run(command, cwd=ROOT, check=True)
    for run, shown in TABS.items():
        with tensorboard(logdir / run) as page:
            for name, (tab, seconds, height) in shown.items():
                browser = Browser(chromium, f"{page}/?darkMode=false#{tab}", 1280, height)
                time.sleep(seconds)  # TensorBoard does not say when it is ready
                browser.picture().save(PICTURES / f"tensorboard_{name}.png")
                browser.close()


def report(chromium: str) -> None:
    """Take a picture of the report of a small sweep."""
    folder = ROOT / "outputs" / "report"
    if not folder.exists():
        settings = ["model=softmax,mlp_relu", "optim.lr=0.01,0.003,0.001", "data.batch_size=50,200", "seed=0,1,2"]
        options = ["trainer.max_steps=200", "trainer.val_check_interval=20", f"hydra.sweep.dir={folder}"]
        subprocess.run([sys.executable, "train.py", "--multirun", *settings, *options], cwd=ROOT, check=True)
    page = folder / "report.html"
    subprocess.run([sys.executable, "-m", "mnist_lab.report", folder, "--html", page], cwd=ROOT, check=True)
    photograph(chromium, page.as_uri(), PICTURES / "report.png", "1440,2680")


def view(chromium: str) -> None:
    """Take pictures of the view: its page with all six panels, two panels, on a phone, runs of two recipes."""
    folder = RUNS.with_name("view")
    runs = {folder / f"{name}{seed}": (name, seed) for name in ("relu", "relu_decay") for seed in range(3)}
    strided = folder / "strided"
    for run, (experiment, seed) in {strided: ("strided_dropout", 0), **runs}.items():
        if not (run / "view" / "frames").exists():
            options = ["trainer.max_steps=2000", "trainer.log_every_n_steps=10", "trainer.val_check_interval=50"]
            options += ["view=file", "view.pictures=2", "view.every_n_seconds=0.1", "view.max_overhead=0.5"]
            command = [sys.executable, "train.py", f"experiment={experiment}", f"seed={seed}", f"hydra.run.dir={run}"]
            subprocess.run([*command, *options], cwd=ROOT, check=True)
    early = ["Home", "PageDown", *["ArrowRight"] * 5]  # when there are still mistakes to show
    shots: list[tuple[list[Path], str, tuple[int, int, float], list[str]]] = [
        ([strided], "view", (1440, 900, 1), ["l", "Home", *["PageDown"] * 7]),
        ([strided], "view_digits", (1440, 760, 1), [*early, "9"]),
        ([strided], "view_phone", (375, 800, 2), early),
        (list(runs), "view_two_runs", (1440, 760, 1), ["7"]),
    ]
    for shown, name, (width, height, ratio), keys in shots:
        command = [sys.executable, "-m", "mnist_lab.view", *map(str, shown), "--no-browser"]
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert server.stdout
        address = server.stdout.readline().split()[1]
        browser = Browser(chromium, address, width, height, ratio)
        time.sleep(3)
        for key in keys:
            browser.press(key, key)
            time.sleep(0.3)
        time.sleep(1)
        browser.picture().save(PICTURES / f"{name}.png")
        browser.close()
        server.terminate()


def wait_for(address: str, word: str) -> None:
    """Wait until the page at ``address`` contains ``word``; exit with an error after two minutes."""
    for _ in range(240):
        try:
            if word in urllib.request.urlopen(address, timeout=5).read().decode():
                return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit(f"error: {address} never showed {word}")


def photograph(chromium: str, page: str, path: Path, size: str = "1440,720") -> None:
    """Write a screenshot of ``page`` to ``path``, as PNG."""
    path.parent.mkdir(exist_ok=True)
    options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}"]
    subprocess.run([chromium, *options, "--virtual-time-budget=30000", f"--screenshot={path}", page], check=True)


if __name__ == "__main__":
    main()
