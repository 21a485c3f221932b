"""Fully connected networks ("TensorFlow and deep learning, without a PhD", the chapters before convolutions)."""

from itertools import pairwise

from torch import Tensor, nn

from mnist_lab.networks.layers import ACTIVATIONS, Init, dropout_layer, norm, one_of, positive


class MLP(nn.Module):
    """784 -> hidden... -> 10, each hidden layer: linear, batch norm if any, activation, dropout if any.

    Raises ValueError for an empty or non-positive ``hidden``, ``dropout`` outside [0, 1) and unknown choices.
    """

    def __init__(
        self,
        hidden: list[int],
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: str = "none",
        init: str = "truncated_normal",
        weight_std: float = 0.1,
        bias: float = 0.1,
        output_bias: float = 0.0,
    ):
        super().__init__()
        positive("hidden", *hidden)
        one_of("activation", activation, ACTIVATIONS)
        start = Init(init, weight_std, bias)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([28 * 28, *hidden]):
            layers += [start(nn.Linear(inputs, outputs, bias=batch_norm == "none")), *norm(batch_norm, outputs, start)]
            layers += [ACTIVATIONS[activation](), *dropout_layer(dropout)]
        self.layers = nn.Sequential(nn.Flatten(), *layers, start(nn.Linear(hidden[-1], 10), output_bias))

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        logits: Tensor = self.layers(images)
        return logits
