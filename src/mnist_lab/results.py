"""What a run leaves behind: result.json, and the table that ends it."""

import json
import os
from pathlib import Path
from typing import Any

from mnist_lab.errors import UserError
from mnist_lab.files import whole

FILE = "result.json"
NUMBERS = ("val_accuracy", "best_val_accuracy", "test_accuracy", "test_loss", "fit_seconds", "parameters")


def write(run_dir: Path, result: dict[str, Any]) -> None:
    """Write ``result.json`` as a whole. On a full disk the file there is overwritten, which takes no room."""
    path, text = run_dir / FILE, json.dumps(result, indent=2, allow_nan=False) + "\n"
    try:
        with whole(path) as partial:
            partial.write_text(text)
    except OSError:
        if not path.exists():
            raise
        with path.open("r+") as file:
            file.write(text)
            file.truncate()


def read(run_dir: Path) -> dict[str, Any]:
    """What ``result.json`` of ``run_dir`` holds. Raises UserError where it is missing or no result of a run."""
    path = run_dir / FILE
    try:
        result = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {run_dir} is not the directory of a run") from None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    number, text = (int, float, type(None)), (str, type(None))
    kinds = dict.fromkeys(("steps", "fit_seconds", *NUMBERS), number) | dict.fromkeys(("status", "name", "model"), text)
    if not isinstance(result, dict) or not all(isinstance(result.get(key), kind) for key, kind in kinds.items()):
        raise UserError(f"{path}: damaged, not the result of a run")
    return result


def table(result: dict[str, Any], run_dir: Path) -> str:
    """The end of a run for people: what was trained on what, what it reached, where it lies."""
    percent, count = "{:.2%}".format, "{:,}".format
    sizes = result["sizes"]
    rows = [
        ("model", f"{result['model']}, {count(result['parameters'])} parameters, seed {result['seed']}"),
        (
            "data",
            f"{result['data']}: {sizes['train']:,} train, {sizes['val']:,} validation, {sizes['test']:,} test images",
        ),
    ]
    if result.get("fit_seconds") is not None:
        speed = f"{result['fit_seconds']:.1f} s, {result['images_per_second']:,.0f} images/s"
        rows.append(("training", f"{count(result['steps'])} steps in {speed}"))
    if result.get("val_accuracy") is not None:
        best = result["best_val_accuracy"]
        at = f", best {percent(best)} at step {result['best_step']:,}" if best is not None else ""
        rows.append(("validation", f"{percent(result['val_accuracy'])} at the end{at}"))
    if result.get("test_accuracy") is not None:
        rows.append((
            f"test ({result['tested']})",
            f"{percent(result['test_accuracy'])}, {result['test_errors']:,} errors, "
            f"loss {result['test_loss']:.4f}, {result['test_seconds']:.1f} s",
        ))  # fmt: skip
    rows.append(("files", os.path.relpath(run_dir)))
    width = max(len(name) for name, _ in rows)
    rule = "-" * (width + 2 + max(len(text) for _, text in rows))
    return "\n".join([rule, *(f"{name:<{width}}  {text}" for name, text in rows), rule])


def suggestions(run_dir: Path) -> str:
    """The next commands to try after a run."""
    where = os.path.relpath(run_dir)
    return "\n".join(
        [
            "next:",
            f"  tensorboard --logdir {where}",
            f"  python train.py fit=false resume={where}",
            "  python train.py --multirun model=softmax,mlp_relu seed=0,1,2",
        ]
    )
