"""Plain ``nn.Module`` networks from images (batch, 1, 28, 28) to logits (batch, 10)."""

from mnist_lab.networks.mlp import MLP
from mnist_lab.networks.pooled_convnet import PooledConvnet
from mnist_lab.networks.softmax import Softmax
from mnist_lab.networks.strided_convnet import StridedConvnet

__all__ = ["MLP", "PooledConvnet", "Softmax", "StridedConvnet"]
