"""Softmax regression: one linear layer from pixels to logits ("MNIST For ML Beginners")."""

from torch import Tensor, nn

from mnist_lab.networks.layers import Init


class Softmax(nn.Module):
    """784 -> 10. The softmax itself belongs to the loss, which works on logits."""

    def __init__(self, init: str = "zeros", weight_std: float = 0.1, bias: float = 0.0):
        super().__init__()
        self.linear = Init(init, weight_std, bias)(nn.Linear(28 * 28, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        logits: Tensor = self.linear(images.flatten(1))
        return logits
