"""Make the pictures in docs/pictures from real runs: needs chromium on the path (Debian: apt-get install chromium)."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
RUNS = ROOT / "outputs" / "pictures"
LADDER = ("softmax", "mlp_sigmoid", "mlp_relu", "strided_convnet", "convnet")


def main() -> None:
    """Train the ladder where it is not trained yet, and photograph TensorBoard's view of it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("error: chromium is not installed")
    for model in LADDER:
        if not (RUNS / model / "result.json").exists():
            options = ["trainer.max_steps=1000", "trainer.val_check_interval=50", "trainer.log_every_n_steps=20"]
            command = [sys.executable, "train.py", f"model={model}", f"hydra.run.dir={RUNS / model}", *options]
            subprocess.run(command, cwd=ROOT, check=True)
    report(chromium)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tensorboard = Path(sys.executable).with_name("tensorboard")
    server = subprocess.Popen([tensorboard, "--logdir", RUNS.relative_to(ROOT), "--port", str(port)], cwd=ROOT)
    try:
        page = f"http://localhost:{port}/?darkMode=false#scalars&_smoothingWeight=0&tagFilter=(accuracy%7Closs)%2F(train%7Cval)"
        wait_for(f"http://localhost:{port}/data/runs", "convnet")
        photograph(chromium, page, HERE / "pictures" / "tensorboard.png")
    finally:
        server.terminate()


def report(chromium: str) -> None:
    """Photograph the report over a small sweep."""
    folder = ROOT / "outputs" / "report"
    if not (folder / "report.html").exists():
        settings = ["model=softmax,mlp_relu", "optim.lr=0.01,0.003,0.001", "data.batch_size=50,200", "seed=0,1,2"]
        options = ["trainer.max_steps=200", "trainer.val_check_interval=20", f"hydra.sweep.dir={folder}"]
        subprocess.run([sys.executable, "train.py", "--multirun", *settings, *options], cwd=ROOT, check=True)
    photograph(chromium, (folder / "report.html").as_uri(), HERE / "pictures" / "report.png", "1240,1900")


def wait_for(address: str, word: str) -> None:
    """Until the page at ``address`` holds ``word``."""
    for _ in range(240):
        try:
            if word in urllib.request.urlopen(address, timeout=5).read().decode():
                return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit(f"error: {address} never showed {word}")


def photograph(chromium: str, page: str, path: Path, size: str = "1440,720") -> None:
    """Write what ``page`` looks like in a browser to ``path``, as PNG."""
    path.parent.mkdir(exist_ok=True)
    options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}"]
    subprocess.run([chromium, *options, "--virtual-time-budget=30000", f"--screenshot={path}", page], check=True)


if __name__ == "__main__":
    main()
