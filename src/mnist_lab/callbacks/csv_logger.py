"""The writer of ``metrics.csv``, as a logger of Lightning's."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from mnist_lab.runs.atomic import atomic_write
from mnist_lab.runs.metrics import FILE, read_rows


class CsvLogger(Logger):
    """Writes a row a step, a column a metric; a metric seen for the first time adds its column.

    A run that goes on ``from_step`` keeps its rows up to there; later ones, of steps that will be done again, go. A run
    that starts has none to keep (-1).
    """

    name = version = None

    def __init__(self, run_dir: Path, from_step: int = -1):
        super().__init__()
        self.path = run_dir / FILE
        rows = read_rows(self.path)
        self._columns = list(rows[0]) if rows else ["step"]
        rows = [row for row in rows if row["step"] <= from_step]
        self._row: dict[str, Any] = rows[-1] if rows else {}  # of the latest step, for which more may come
        self._pending = False  # whether it holds what the file does not
        self._in_file = bool(rows)  # whether the file's last row is an earlier state of it
        if self.path.exists():
            self._write(rows)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: the run directory holds the config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Put ``metrics`` in the row of ``step``; the row before it is written."""
        if self._row.get("step") != step:
            self.save()
            self._row, self._in_file = {"step": step}, False
        self._row |= metrics
        self._pending = True

    @rank_zero_only
    def save(self) -> None:
        """Write what is pending. Raises OSError, naming the file."""
        if not self._pending:
            return
        new = [name for name in self._row if name not in self._columns]
        if new or self._in_file or not self.path.exists():
            rows = read_rows(self.path)
            self._columns += new
            self._write([*(rows[:-1] if self._in_file else rows), self._row])
        else:
            try:
                with self.path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, self._columns, lineterminator="\n").writerow(self._row)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._pending, self._in_file = False, True

    @rank_zero_only
    def _write(self, rows: list[dict[str, Any]]) -> None:
        with atomic_write(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
