"""What belongs to every run."""

from mnist_lab.callbacks.checkpoints import Checkpoints
from mnist_lab.callbacks.csv_logger import CsvLogger
from mnist_lab.callbacks.graceful_stop import GracefulStop
from mnist_lab.callbacks.nan_guard import NanGuard
from mnist_lab.callbacks.progress import Progress
from mnist_lab.callbacks.train_metrics import TrainMetrics
from mnist_lab.callbacks.weight_average import WeightAverage

__all__ = ["Checkpoints", "CsvLogger", "GracefulStop", "NanGuard", "Progress", "TrainMetrics", "WeightAverage"]
