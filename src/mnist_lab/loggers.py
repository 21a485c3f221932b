"""Where metrics go: a CSV file always, TensorBoard by choice."""

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

_PARTS = ("train", "val", "test")


class CsvLogger(Logger):
    """Appends to ``metrics.csv``: a row a step, a column a metric; a metric seen for the first time adds its column."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self._columns = ["step"]
        self._row: dict[str, Any] = {}

    name = version = None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run directory holds the config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Put ``metrics`` in the row of ``step``; the row before it is written."""
        if self._row.get("step") != step:
            self.save()
            self._row = {"step": step}
        self._row |= {name: value for name, value in metrics.items() if name != "epoch"}

    @rank_zero_only
    def save(self) -> None:
        """Write what is pending."""
        if not self._row:
            return
        new = [name for name in self._row if name not in self._columns]
        if new or not self.path.exists():
            self._columns += new
            self._rewrite()
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(self._row)
        self._row = {}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is pending."""
        self.save()

    def _rewrite(self) -> None:
        rows = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                rows = list(csv.DictReader(file))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


class TensorBoard(TensorBoardLogger):
    """TensorBoard event files in the run directory itself, scalars grouped by what they measure, HPARAMS at the end.

    ``graph`` draws the network's graph, which takes a tenth of a second.
    """

    def __init__(self, save_dir: str, graph: bool = True):
        super().__init__(save_dir, name="", version="", log_graph=graph, default_hp_metric=False)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Tag ``val_loss`` as ``loss/val`` and so on, so that one kind of curve stands together."""
        super().log_metrics({_tag(name): value for name, value in metrics.items()}, step)

    @rank_zero_only
    def log_graph(self, model: pl.LightningModule, input_array: Tensor | None = None) -> None:
        """Draw the graph; it is found by tracing, which torch means to replace and says so at length."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            super().log_graph(model, input_array)

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
    return f"{kind}/{part}" if part in _PARTS else name
