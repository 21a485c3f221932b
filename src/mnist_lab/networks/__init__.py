"""Plain ``nn.Module`` networks from images (batch, 1, 28, 28) to logits (batch, 10)."""

from mnist_lab.networks.convnet import Convnet
from mnist_lab.networks.mlp import MLP
from mnist_lab.networks.small_resnet import SmallResNet
from mnist_lab.networks.softmax import Softmax

__all__ = ["MLP", "Convnet", "SmallResNet", "Softmax"]
