"""The TensorBoard logger: scalars grouped by what they measure, the config as text, HPARAMS at the end."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from mnist_lab.mosaic import Array

# The charts of the tab Custom scalars. A tag is a regular expression.
_LAYOUT = {
    "The run's story": {kind: ["Multiline", [rf"{kind}/(train|val|test)"]] for kind in ("loss", "accuracy")},
    "The training": {
        "learning rate": ["Multiline", ["training/learning_rate"]],
        "norm of the gradient": ["Multiline", ["training/gradient_norm"]],
        "images per second": ["Multiline", ["training/images_per_second"]],
    },
}
# The columns of HPARAMS are sorted by name, and the browser does not show spaces.
_FIRST = {"model": "   model", "seed": "  seed", "optim.lr": " optim.lr"}


class TensorBoard(TensorBoardLogger):
    """Writes TensorBoard event files into the run directory ``save_dir``.

    A run that goes on ``from_step`` drops the points after that step, which it will write again (-1: a new run).
    ``layout`` puts the losses of all parts on one chart of the tab Custom scalars, and the accuracies on another;
    ``config`` puts the ``config.yaml`` of the run directory into the tab Text.
    """

    def __init__(self, save_dir: str, from_step: int = -1, layout: bool = True, config: bool = True):
        self._layout, self._config, self._first_step = layout, config, from_step + 1
        super().__init__(save_dir, name="", version="", default_hp_metric=False, purge_step=from_step + 1)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Tag ``val_loss`` as ``loss/val`` and so on. The first call, as training begins, adds layout and config."""
        if self._layout:
            self.experiment.add_custom_scalars(_LAYOUT)
        if self._layout or self._config:
            # What goes wrong in the thread that writes, on a full disk say, is raised by the next call: that will do.
            writer: Any = self.experiment._get_file_writer().event_writer
            writer._async_writer._worker._invoke_excepthook = lambda *_: None
        if self._config and (path := Path(self.save_dir) / "config.yaml").exists():
            code = textwrap.indent(path.read_text(encoding="utf-8").rstrip("\n"), "    ")  # code in Markdown
            self.experiment.add_text("config", code, self._first_step)
        self._layout = self._config = False
        super().log_metrics({_tag(name): value for name, value in metrics.items()}, step)

    def add_picture(self, tag: str, picture: Array, step: int) -> None:
        """Add a picture (height, width, 3) of uint8."""
        self.experiment.add_image(tag, picture, step, dataformats="HWC")

    @rank_zero_only
    def log_hyperparams(self, params: Any, metrics: dict[str, float] | None = None, step: int | None = None) -> None:
        """Enter the run into HPARAMS, its ``metrics`` as ``final/...``, apart from the curves; then close the file."""
        from torch.utils.tensorboard.summary import hparams  # here, because it takes a while

        self.log_metrics({f"final/{name}": value for name, value in (metrics or {}).items()}, step)
        # What Lightning would write first says which columns there are, and TensorBoard takes it from any one run. It
        # is left out, so TensorBoard looks at all runs: what differs comes first, then by name.
        settings = {_FIRST.get(name, name): value for name, value in dict(params).items()}
        _, *summaries = hparams(settings, {})  # type: ignore[no-untyped-call]
        for summary in summaries:
            self.experiment._get_file_writer().add_summary(summary, step)
        self.experiment.close()

    @rank_zero_only
    def save(self) -> None:
        """Flush. The run directory holds the config, so no hparams.yaml is written."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Flush; close, with its thread, where the run has failed. The test after training belongs in the same file."""
        self.save()
        if status == "failed":
            self.experiment.close()


def find_logger(trainer: pl.Trainer) -> TensorBoard | None:
    """The run's TensorBoard logger, if it has one; None except in the process of rank zero, the only one to use it."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return next((logger for logger in loggers if isinstance(logger, TensorBoard)), None)


def _tag(name: str) -> str:
    part, _, kind = name.partition("_")
    if part in ("train", "val", "test"):
        return f"{kind}/{part}"
    return name if "/" in name else f"training/{name}"
