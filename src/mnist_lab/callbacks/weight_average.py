"""An exponential moving average of the weights, by Lightning's own callback."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage(WeightAveraging):
    """Averages weights and batch norm's statistics: after each step the average moves to them by 1 - ``decay``.

    The average is what is validated, tested and in a checkpoint's ``state_dict``; beside it checkpoints hold the
    weights that are trained, to go on from. It must come before the callback that saves, so that a checkpoint holds
    the average of its own step.
    """

    def __init__(self, decay: float):
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # the module itself comes there later
        super().setup(trainer, pl_module, stage)

    def on_train_end(self, *_: Any) -> None:
        """Leave the trained weights in their place: checkpoints are still saved."""

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._average_model is not None:
            super().on_train_end(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._average_model is not None:  # else a run is only tested, and what was loaded is the average
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
