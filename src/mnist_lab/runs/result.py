"""``result.json``: its schema, reading and writing it, and the table that ends a run."""

import dataclasses
import json
import re
import shlex
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_lab.errors import UserError, short_path
from mnist_lab.runs.atomic import atomic_write

FILE = "result.json"
JOBS = "jobs"  # in the folder of a sweep: how many runs it will have
_ALWAYS = ("val_accuracy", "best_val_accuracy", "best_step")  # written as null too, once a run has trained


@dataclass
class Result:
    """What ``result.json`` holds, from the first second of a run on. A value that is not there is left out."""

    status: str = "running"  # then done, failed, interrupted, or pruned by a search
    error: str | None = None  # of a run that failed or was pruned: one line
    name: str | None = None  # of the run: its name=, its experiment or its model
    model: str | None = None  # the option of the group model
    seed: int | None = None
    provenance: dict[str, Any] = field(default_factory=dict)  # code, command, versions, machine: runs/provenance.py
    settings: dict[str, Any] = field(default_factory=dict)  # the config, flat: what tells one run from another

    data: str | None = None  # the data set that was really used
    sizes: dict[str, int] = field(default_factory=dict)  # images in train, val and test
    precision: str | None = None  # of the arithmetic, as Lightning names it
    parameters: int | None = None  # that are trained
    multiply_adds: int | None = None  # to recognise an image, in convolutions and dense layers

    steps: int | None = None  # of the optimiser, since the run began
    fit_seconds: float | None = None  # in training, validation included, over all sittings
    images_per_second: float | None = None  # trained on, in the last sitting, validation left out
    val_accuracy: float | None = None  # 0 to 1, of the last weights; None without a validation set
    best_val_accuracy: float | None = None  # the highest measured during training
    best_step: int | None = None  # where that was
    peak_test_accuracy: float | None = None  # highest point of a test curve that was watched; nothing was chosen by it
    peak_test_step: int | None = None

    tested: str | None = None  # the weights that were tested: last, best, or the name of a checkpoint file
    test_accuracy: float | None = None  # 0 to 1
    test_loss: float | None = None  # mean cross-entropy of an image
    test_errors: int | None = None  # images not recognised
    test_seconds: float | None = None

    def write(self, run_dir: Path) -> None:
        """Write ``result.json`` as a whole. On a full disk the file there is overwritten, which takes no room.

        JSON has neither NaN nor infinity: they are the strings "NaN", "Infinity" and "-Infinity".
        """
        keep = _ALWAYS if self.images_per_second is not None else ()
        values = {name: v for name, v in vars(self).items() if v not in (None, {}) or name in keep}
        values = json.loads(json.dumps(values, default=str), parse_constant=str)
        path, text = run_dir / FILE, json.dumps(values, indent=2, allow_nan=False) + "\n"
        try:
            with atomic_write(path) as partial:
                partial.write_text(text, encoding="utf-8")
        except OSError:
            if not path.exists():
                raise
            with path.open("r+", encoding="utf-8") as file:
                file.write(text)
                file.truncate()

    @classmethod
    def read(cls, run_dir: Path) -> "Result":
        """Read ``result.json`` of ``run_dir``. Raises UserError where it is missing or not the result of a run."""
        path = run_dir / FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: missing; {run_dir} is not the directory of a run") from None
        except (ValueError, OSError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read ({error})") from error
        if not isinstance(values, dict) or not values.get("status"):
            raise UserError(f"{path}: damaged, not the result of a run")
        values |= {k: float(v) for k, v in values.items() if v in _NOT_FINITE and float in _KINDS.get(k, ())}
        if not all(isinstance(values.get(name), kinds) for name, kinds in _KINDS.items()):
            raise UserError(f"{path}: damaged, not the result of a run")
        return cls(**{name: values[name] for name in _KINDS if values.get(name) is not None})

    def cost(self) -> str:
        """The size of the network, as in ``7,850 parameters, 7,840 multiply-adds``."""
        count = self.multiply_adds or 0
        rounded = f"{count / 1e6:.3g}M" if count >= 1e6 else f"{count:,}"
        return f"{self.parameters:,} parameters, {rounded} multiply-adds"

    def table(self, run_dir: Path) -> str:
        """The end of a run for people: what was trained on what, what it reached, where it lies."""
        rows = [
            ("model", f"{self.model}, {self.cost()}, seed {self.seed}"),
            ("data", "{}: {train:,} train, {val:,} validation, {test:,} test images".format(self.data, **self.sizes)),
        ]
        if self.fit_seconds is not None:
            speed = f"{self.fit_seconds:.1f} s, {self.images_per_second or 0:,.0f} images/s"
            rows.append(("training", f"{self.steps:,} steps in {speed}"))
        if self.val_accuracy is not None:
            best = f"best {self.best_val_accuracy or 0:.2%} at step {self.best_step or 0:,}"
            rows.append(("validation", f"{self.val_accuracy:.2%} at the end, {best}"))
        if self.test_accuracy is not None:
            loss = f"{self.test_loss:.4f}".replace("nan", "NaN")
            said = f"{self.test_accuracy:.2%}, {self.test_errors:,} errors, loss {loss}, {self.test_seconds:.1f} s"
            rows.append((f"test ({self.tested})", said))
        rows.append(("files", short_path(run_dir)))
        width = max(len(name) for name, _ in rows)
        rule = "-" * (width + 2 + max(len(text) for _, text in rows))
        return "\n".join([rule, *(f"{name:<{width}}  {text}" for name, text in rows), rule])


def _kinds(hint: Any) -> tuple[type, ...]:
    """The types that the value of a field may have in JSON: null too, and an integer in place of a float."""
    kinds = {typing.get_origin(kind) or kind for kind in (typing.get_args(hint) if "|" in str(hint) else [hint])}
    return (*kinds, type(None), *((int,) if float in kinds else ()))


_KINDS = {f.name: _kinds(f.type) for f in dataclasses.fields(Result)}
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def command(run_dir: Path, options: str = "") -> str:
    """The command that goes on with the run, quoted for Hydra and for the shell."""
    path = short_path(run_dir)
    path = path if re.fullmatch(r"[\w./\\:@%+-]+", path) else '"{}"'.format(path.replace('"', '\\"'))
    return f"python train.py {options}{shlex.quote(f'resume={path}')}"


def next_commands(run_dir: Path) -> str:
    """What to try after a run."""
    dashboard = f"  tensorboard --logdir {shlex.quote(short_path(run_dir))}\n" if any(run_dir.glob("events.*")) else ""
    return (
        f"next:\n{dashboard}  {command(run_dir, 'fit=false ')}\n"
        "  python train.py --multirun model=softmax,mlp_relu seed=0,1,2"
    )
