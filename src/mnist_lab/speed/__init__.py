"""Tricks that make a run faster, each with a file, a figure, a risk, and a switch in ``conf/speed/on.yaml``."""

import logging
from typing import Any

from hydra.experimental.callback import Callback
from hydra.utils import instantiate

log = logging.getLogger("mnist_lab.speed")


def stand_aside(trick: str, why: str) -> None:
    """Say in the run's ``train.log`` that ``trick`` has no effect on this run, and why."""
    log.info(f"speed.{trick} stands aside: {why}")


class BeforeJob(Callback):
    """Calls the function that ``trick`` names before a job of train.py, where ``enabled``."""

    def __init__(self, trick: str, enabled: bool = True):
        self.trick, self.enabled = trick, enabled

    def on_job_start(self, *_: Any, **__: Any) -> None:
        if self.enabled:
            instantiate({"_target_": self.trick})
