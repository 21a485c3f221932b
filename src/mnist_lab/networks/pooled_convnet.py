"""The convolutional network of "Deep MNIST for Experts": two convolutions with max pooling, a wide dense layer."""

from torch import Tensor, nn

from mnist_lab.networks.layers import ACTIVATIONS, Init, conv, norm, one_of, positive, readout


class PooledConvnet(nn.Module):
    """Blocks of convolution (stride 1), 2x2 max pooling, activation; a dense layer, dropout, 10 logits.

    The tutorial pools after the ReLU. Pooling first gives the same values and gradients for any rising activation, on
    a quarter of the elements. ``kernels`` names one size a convolution, in place of ``kernel`` for all. ``padding`` is
    ``same``, which keeps the size, or ``valid``, which takes no pixel from outside the image. Raises ValueError as
    :class:`StridedConvnet` does, and for more blocks than leave something of the image.
    """

    def __init__(
        self,
        channels: list[int],
        kernel: int = 5,
        kernels: list[int] | None = None,
        padding: str = "same",
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
        kernels = kernels or [kernel] * len(channels)
        for name, values in {"channels": channels, "kernel": kernels, "hidden": [hidden]}.items():
            positive(name, *values)
        if len(kernels) != len(channels):
            raise ValueError(f"channels={channels}, kernels={kernels}: must be of one length")
        one_of("padding", padding, ("same", "valid"))
        one_of("activation", activation, ACTIVATIONS)
        start = Init(init, weight_std, bias)
        layers: list[nn.Module] = []
        inputs, size = 1, 28
        for outputs, width in zip(channels, kernels, strict=True):
            layer = conv(inputs, outputs, width, 1, size, start, bias=batch_norm == "none", padding=padding)
            if layer.out_size < 2:
                raise ValueError(f"channels={channels}: too many, nothing is left of 28 pixels")
            layers += [
                layer,
                *norm(batch_norm, outputs, start, spatial=True),
                nn.MaxPool2d(2),
                ACTIVATIONS[activation](),
            ]
            inputs, size = outputs, layer.out_size // 2
        self.convolutions = nn.Sequential(*layers)
        self.dense = readout(inputs * size * size, hidden, activation, keep, batch_norm, start, output_bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        logits: Tensor = self.dense(self.convolutions(images))
        return logits
