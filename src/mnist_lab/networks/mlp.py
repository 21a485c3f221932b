"""Fully connected networks ("TensorFlow and deep learning, without a PhD", the chapters before convolutions)."""

from torch import Tensor, nn

from mnist_lab.networks.layers import ACTIVATIONS, Init, dropout, linear, norm, one_of, positive


class MLP(nn.Module):
    """784 -> hidden... -> 10, each hidden layer: linear, batch norm if any, activation, dropout if keep < 1.

    Raises ValueError for an empty or non-positive ``hidden``, ``keep`` outside (0, 1] and unknown choices.
    """

    def __init__(
        self,
        hidden: list[int],
        activation: str = "relu",
        keep: float = 1.0,
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
        inputs = 28 * 28
        for outputs in hidden:
            layers.append(linear(inputs, outputs, start, bias=batch_norm == "none"))
            layers += norm(batch_norm, outputs, start)
            layers.append(ACTIVATIONS[activation]())
            layers += dropout(keep)
            inputs = outputs
        self.layers = nn.Sequential(nn.Flatten(), *layers, linear(inputs, 10, start, bias_value=output_bias))

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        logits: Tensor = self.layers(images)
        return logits
