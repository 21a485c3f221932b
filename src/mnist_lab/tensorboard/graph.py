"""The network's graph."""

import copy
import logging
import warnings
from typing import Any

import pytorch_lightning as pl
import torch

from mnist_lab.tensorboard.logger import find_logger

log = logging.getLogger(__name__)


class Graph(pl.Callback):
    """Draws the network's graph in TensorBoard, once, when a new run begins. It takes a tenth of a second.

    The graph is the trace of an image through a copy of the network, with dropout off. A network that cannot be
    traced, such as a compiled one, gets a warning in the log and no graph.
    """

    in_sweeps = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        logger = find_logger(trainer)
        if logger is None or trainer.global_step > 0:  # a run that goes on has its graph
            return
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
            warnings.simplefilter("ignore")  # torch means to replace its tracer, and says so at length
            try:
                network, image = copy.deepcopy(pl_module.network).cpu().float().eval(), pl_module.example_input_array
                # Without check_trace, which traces again to compare and imports half of torch for it. The writer draws
                # a network that is traced already as it is.
                traced = torch.jit.trace(network, image, check_trace=False)  # type: ignore[no-untyped-call]
                logger.experiment.add_graph(traced, image)
            except Exception as error:
                log.warning(f"TensorBoard has no graph of the network, which cannot be traced: {error!r:.200}")
