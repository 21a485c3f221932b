"""One HTML file that replays runs from disk, to keep or to mail."""

import base64
import contextlib
from pathlib import Path
from typing import Any

from mnist_lab import page
from mnist_lab.runs.atomic import atomic_write
from mnist_lab.view.pictures import choose
from mnist_lab.view.recording import Frames, digits_path
from mnist_lab.view.server import Runs

_FRAMES = 300  # of each run, at most


def write(runs: list[Path], path: Path) -> Path:
    """Write the page of ``runs`` to ``path``. Raises OSError where it cannot be written."""
    listed = Runs(runs[0].parent, runs)
    names = {place: name for name, place in listed.paths.items()}
    chosen = [names[run.absolute()] for run in runs]
    recorded = {name: _recorded(listed.paths[name]) for name in chosen}
    data = {"runs": {name: listed.about[name] for name in chosen}, "named": chosen, "recorded": recorded}
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
        found["curves"] = (run_dir / "metrics.csv").read_text(encoding="utf-8", errors="replace")
    with contextlib.suppress(OSError):
        found["digits"] = base64.b64encode(digits_path(run_dir).read_bytes()).decode()
    return found
