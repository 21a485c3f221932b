"""The classic MNIST tutorials as PyTorch Lightning experiments driven by Hydra configs.

From Python, as in a notebook::

    run = mnist_lab.train("experiment=relu_decay", "trainer.max_steps=500")
    run.result.test_accuracy, run.metrics["test_accuracy"], run.network()
    run = mnist_lab.load("outputs/relu_decay/<run>")

The core, in the order in which to read it. A config goes down this list and never back:

1. ``train.py`` at the top of the repository, with ``conf/``: every choice there is.
2. ``runs/lifecycle.py`` and ``runs/directory.py``: the directory of a run, its status, its signals, its record;
   ``config.py`` and ``errors.py``: what is checked before anything is loaded, and what a user is told.
3. ``experiment.py``: build, fit, test, result, in a straight line; ``build.py``: how objects are built.
4. ``data/``, ``networks/``, ``schedules.py``, ``classifier.py``: what is trained on what, and how.
5. ``callbacks/``: checkpoints, curves, progress, the guard against NaN, a stop between two steps.
6. ``runs/run.py``: what a run has left, as an object; ``result.py``, ``metrics.py`` beside it.

The rest are extras that the core never imports: ``tensorboard/``, ``view/``, ``sweeps/``, ``speed/``, ``explore/``.
"""

from mnist_lab.errors import UserError, as_user_error
from mnist_lab.runs.run import Run, load

__all__ = ["Run", "UserError", "load", "train"]


def train(*overrides: str) -> Run:
    """Train and test in this process, as ``python train.py *overrides`` does, and return the run.

    Signal handlers, logging, warnings and malloc stay as the caller has them. Raises UserError for a mistake of the
    user's, and KeyboardInterrupt where it is interrupted; the run directory says how far it came. Of several threads
    one trains at a time, the others wait: the random generators belong to the process.
    """
    from mnist_lab.runs import lifecycle  # here, so that ``import mnist_lab`` does not wait for torch

    with lifecycle.one_at_a_time, as_user_error():
        return lifecycle.run_in_process(*overrides)
