"""One HTML file that replays runs from disk, to keep or to mail."""

import base64
import contextlib
from pathlib import Path
from typing import Any

from mnist_lab import page
from mnist_lab.runs.atomic import atomic_write
from mnist_lab.runs.metrics import FILE as CURVES
from mnist_lab.view.pictures import choose
from mnist_lab.view.recording import Frames, about_run, digits_path

_FRAMES = 300  # of each run, at most


def write(runs: list[Path], path: Path) -> Path:
    """Write the page of ``runs`` to ``path``. Raises OSError where it cannot be written."""
    chosen = {str(number): run.absolute() for number, run in enumerate(runs)}
    data = {
        "runs": {key: about_run(run) for key, run in chosen.items()},
        "named": list(chosen),
        "recorded": {key: _recorded(run) for key, run in chosen.items()},
    }
    with atomic_write(path) as partial:
        partial.write_text(page.document("mnist_lab: replay", "live", data, whole=True), encoding="utf-8")
    return path


def _recorded(run_dir: Path) -> dict[str, Any]:
    """All that the page shows of a run; bytes as base64."""
    frames = Frames(run_dir)
    frames.look()
    steps = set(choose([record.header["step"] for record in frames.records], _FRAMES))
    kept = [record for record in frames.records if record.header["step"] in steps]
    found: dict[str, Any] = {"frames": [record.header for record in kept], "curves": "", "digits": ""}
    found["bodies"] = {record.header["step"]: base64.b64encode(frames.body(record)).decode() for record in kept}
    with contextlib.suppress(OSError):
        found["curves"] = (run_dir / CURVES).read_text(encoding="utf-8", errors="replace")
    with contextlib.suppress(OSError):
        found["digits"] = base64.b64encode(digits_path(run_dir).read_bytes()).decode()
    return found
