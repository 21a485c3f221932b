"""Where metrics go: a CSV file always, TensorBoard by choice."""

import csv
import functools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from mnist_lab.files import whole

_PARTS = ("train", "val", "test")
# Of the tab Custom scalars: what one wants to see first. A tag is a regular expression.
_LAYOUT = {
    "The run's story": {
        "loss": ["Multiline", [r"loss/(train|val|test)"]],
        "accuracy": ["Multiline", [r"accuracy/(train|val|test)"]],
    },
    "The training": {
        "learning rate": ["Multiline", [r"training/learning_rate"]],
        "norm of the gradient": ["Multiline", [r"training/gradient_norm"]],
        "images per second": ["Multiline", [r"training/images_per_second"]],
    },
}


class CsvLogger(Logger):
    """Writes ``metrics.csv``: a row a step, a column a metric; a metric seen for the first time adds its column.

    A run that goes on ``from_step`` keeps its rows up to there; later ones, of steps that will be done again, go. A run
    that starts has none to keep (-1).
    """

    def __init__(self, path: Path, from_step: int = -1):
        super().__init__()
        self.path = path
        self._columns = ["step"]
        self._row: dict[str, Any] = {}  # of the latest step
        self._pending = False  # whether it holds what the file does not
        self._in_file = False  # whether the file's last row is an earlier state of it
        if path.exists():
            rows = self._read()
            self._columns = list(rows[0]) if rows else self._columns
            rows = [row for row in rows if int(row["step"]) <= from_step]
            self._write(rows)
            if rows and int(rows[-1]["step"]) == from_step:  # more may come for this step
                self._row = {name: value for name, value in rows[-1].items() if value} | {"step": from_step}
                self._in_file = True

    name = version = None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run directory holds the config."""

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
        """Write what is pending."""
        if not self._pending:
            return
        new = [name for name in self._row if name not in self._columns]
        if new or self._in_file or not self.path.exists():
            rows = self._read() if self.path.exists() else []
            self._columns += new
            self._write([*(rows[:-1] if self._in_file else rows), self._row])
        else:
            try:
                with self.path.open("a", newline="") as file:
                    csv.DictWriter(file, self._columns).writerow(self._row)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._pending, self._in_file = False, True

    def _read(self) -> list[dict[str, Any]]:
        """The whole rows of the file, in order; a kill may have cut the last one short."""
        rows: list[dict[str, Any]] = []
        with self.path.open(newline="") as file:
            for row in csv.DictReader(file):
                whole_row = None not in row.values() and row["step"].isdigit()
                if whole_row and (not rows or int(row["step"]) > int(rows[-1]["step"])):
                    rows.append(row)
        return rows

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with whole(self.path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


class TensorBoard(TensorBoardLogger):
    """TensorBoard event files in the run directory itself, scalars grouped by what they measure, HPARAMS at the end.

    ``graph`` draws the network's graph, which takes a tenth of a second. ``layout`` puts loss and accuracy of all parts
    together in the tab Custom scalars, and ``config`` the ``config.yaml`` of the run directory in the tab Text.
    """

    def __init__(
        self, save_dir: str, from_step: int = -1, graph: bool = True, layout: bool = True, config: bool = True
    ):
        self._layout, self._config, self._graph, self._first_step = layout, config, graph, from_step + 1
        self._introduced = False
        super().__init__(
            save_dir, name="", version="", log_graph=True, default_hp_metric=False, purge_step=from_step + 1
        )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Tag ``val_loss`` as ``loss/val`` and so on, so that one kind of curve stands together."""
        super().log_metrics({_tag(name): value for name, value in metrics.items()}, step)

    @rank_zero_only
    def log_hyperparams(  # type: ignore[override]
        self, params: dict[str, Any], metrics: dict[str, float] | None = None, step: int | None = None
    ) -> None:
        """Enter the run into HPARAMS, its ``metrics`` as ``final/...`` so that no curve gets a point it has not."""
        super().log_hyperparams(params, {f"final/{name}": value for name, value in (metrics or {}).items()}, step)

    @rank_zero_only
    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        """Write what is known as training begins, when Lightning calls this: layout, config, graph. Once.

        The graph is found by tracing, which torch means to replace and says so at length. It is not traced a second
        time to compare: that takes the imports of what could be compared.
        """
        if self._introduced:  # Lightning calls it for the test again
            return
        self._introduced = True
        config = Path(self.save_dir) / "config.yaml"
        if self._layout:
            self.experiment.add_custom_scalars(_LAYOUT)
        if self._config and config.exists():
            lines = config.read_text().splitlines()
            self.experiment.add_text("config", "\n".join(f"    {line}" for line in lines), self._first_step)
        if not self._graph:
            return
        once = functools.partial(torch.jit.trace, check_trace=False)
        with warnings.catch_warnings(), mock.patch.object(torch.jit, "trace", once):
            warnings.simplefilter("ignore", FutureWarning)
            super().log_graph(model, input_array)  # type: ignore[arg-type]

    @rank_zero_only
    def save(self) -> None:
        """Flush; the run directory holds the config, so no hparams.yaml is written."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Flush, but leave the file open: the test after a fit belongs in the same one."""
        self.save()


def _tag(name: str) -> str:
    part, _, kind = name.partition("_")
    if part in _PARTS:
        return f"{kind}/{part}"
    return name if "/" in name else f"training/{name}"
