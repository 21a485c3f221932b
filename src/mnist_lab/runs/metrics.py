"""``metrics.csv``: the curves of a run, a row a step, a column a metric. This is its only reader."""

import contextlib
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas  # type: ignore[import-untyped]

    Array = np.ndarray[Any, np.dtype[Any]]

FILE = "metrics.csv"
_KNOWN = {f"{part}_{kind}" for part in ("train", "val", "test") for kind in ("loss", "accuracy", "errors")}
_KNOWN |= {"learning_rate", "gradient_norm", "images_per_second"}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the file in the order of their steps, as far as they are numbers; none where it is missing.

    A value is an int for ``step``, a float, or "" where nothing was measured. A kill may have cut the last row short,
    so one that does not end its line does not count.
    """
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, csv.Error):
        complete, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        for row in csv.DictReader(complete.splitlines()):
            numbers: dict[str, Any] = {name: float(text) if text else "" for name, text in row.items()} | {
                "step": int(row["step"])
            }
            if None not in row.values() and (rows[-1]["step"] if rows else -1) < numbers["step"] < 2**63:
                rows.append(numbers)
    return rows


class Metrics(Mapping[str, "Array"]):
    """The columns of ``metrics.csv``: ``metrics["val_accuracy"]`` are the values measured, as float64 (n,).

    ``steps(name)`` says at which steps they were, ``metrics["step"]`` are the steps of all rows, int64. A metric that
    this run did not measure, as the validation of one that holds nothing out, has no values: (0,).
    """

    def __init__(self, path: Path):
        import numpy as np  # here, because composing a config needs this package but not numpy

        rows = read_rows(path)
        self._curves: dict[str, tuple[Array, Array]] = {}
        for name in rows[0] if rows else ["step"]:
            measured = [(row["step"], row[name]) for row in rows if row[name] != ""]
            steps, values = np.array(measured).reshape(-1, 2).T
            self._curves[name] = steps.astype(np.int64), values.astype(np.int64 if name == "step" else np.float64)

    def steps(self, name: str) -> "Array":
        """The steps, int64 (n,), at which the metric ``name`` was measured."""
        return self._curve(name)[0]

    def frame(self) -> "pandas.DataFrame":
        """A row a step, its index; NaN where a metric was not measured. Needs pandas."""
        import pandas

        columns = {name: pandas.Series(values, self.steps(name)) for name, values in self.items() if name != "step"}
        return pandas.DataFrame(columns, index=pandas.Index(self["step"], name="step"))

    def __getitem__(self, name: str) -> "Array":
        return self._curve(name)[1]

    def _curve(self, name: str) -> tuple["Array", "Array"]:
        if name in self._curves or name not in _KNOWN:
            return self._curves[name]
        return self["step"][:0], self["step"][:0].astype(float)

    def __contains__(self, name: object) -> bool:
        return name in self._curves

    def __iter__(self) -> Iterator[str]:
        return iter(self._curves)

    def __len__(self) -> int:
        return len(self._curves)
