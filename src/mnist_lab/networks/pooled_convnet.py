"""The convolutional network of "Deep MNIST for Experts": two convolutions with max pooling, a wide dense layer."""

from torch import Tensor, nn

from mnist_lab.networks.layers import ACTIVATIONS, Init, conv, norm, one_of, positive, readout


class PooledConvnet(nn.Module):
    """Blocks of convolution (SAME padding, stride 1), 2x2 max pooling, activation; a dense layer, dropout, 10 logits.

    The tutorial pools after the ReLU. Pooling first gives the same values and gradients for any rising activation, on
    a quarter of the elements. Raises ValueError as :class:`StridedConvnet` does, and for more than four blocks.
    """

    def __init__(
        self,
        channels: list[int],
        kernel: int = 5,
        hidden: int = 1024,
        activation: str = "relu",
        keep: float = 0.5,
        batch_norm: str = "none",
        init: str = "truncated_normal",
        weight_std: float = 0.1,
        bias: float = 0.1,
        output_bias: float = 0.1,
    ):
        super().__init__()
        for name, values in {"channels": channels, "kernel": [kernel], "hidden": [hidden]}.items():
            positive(name, *values)
        if len(channels) > 4:
            raise ValueError(f"channels={channels}: 28 pixels can be halved four times at most")
        one_of("activation", activation, ACTIVATIONS)
        start = Init(init, weight_std, bias)
        layers: list[nn.Module] = []
        inputs, size = 1, 28
        for outputs in channels:
            layers.append(conv(inputs, outputs, kernel, 1, size, start, bias=batch_norm == "none"))
            layers += norm(batch_norm, outputs, start, spatial=True)
            layers += [nn.MaxPool2d(2), ACTIVATIONS[activation]()]
            inputs, size = outputs, size // 2
        self.convolutions = nn.Sequential(*layers)
        self.dense = readout(inputs * size * size, hidden, activation, keep, batch_norm, start, output_bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        logits: Tensor = self.dense(self.convolutions(images))
        return logits
