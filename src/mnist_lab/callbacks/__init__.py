"""What watches a run."""

from mnist_lab.callbacks.checkpoints import Checkpoints
from mnist_lab.callbacks.curves import Curves
from mnist_lab.callbacks.feed import Feed
from mnist_lab.callbacks.histograms import Histograms
from mnist_lab.callbacks.interruption import Interruption
from mnist_lab.callbacks.lean import LeanSteps
from mnist_lab.callbacks.moments import Moments
from mnist_lab.callbacks.nan_guard import NanGuard
from mnist_lab.callbacks.outcome import Outcome
from mnist_lab.callbacks.pictures import Pictures
from mnist_lab.callbacks.progress import Progress
from mnist_lab.callbacks.pruning import Pruning

__all__ = [
    "Checkpoints",
    "Curves",
    "Feed",
    "Histograms",
    "Interruption",
    "LeanSteps",
    "Moments",
    "NanGuard",
    "Outcome",
    "Pictures",
    "Progress",
    "Pruning",
]
