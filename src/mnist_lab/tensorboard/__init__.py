"""TensorBoard: the logger, and callbacks that add pictures, histograms, the graph and a report of the test."""

from mnist_lab.tensorboard.graph import Graph
from mnist_lab.tensorboard.histograms import Histograms
from mnist_lab.tensorboard.image_logger import ImageLogger
from mnist_lab.tensorboard.logger import TensorBoard
from mnist_lab.tensorboard.test_report import TestReport

__all__ = ["Graph", "Histograms", "ImageLogger", "TensorBoard", "TestReport"]
