"""The codelab's convolutional network, which shrinks the image by strides instead of pooling."""

from torch import Tensor, nn

from mnist_lab.networks.layers import ACTIVATIONS, Init, conv, halved, norm, one_of, positive, readout


class StridedConvnet(nn.Module):
    """Convolutions (SAME padding) with strides, then one dense layer, then 10 logits; dropout on the dense layer only.

    ``channels``, ``kernels`` and ``strides`` name one convolution each by position. Raises ValueError where their
    lengths differ or a value is not positive, for ``keep`` outside (0, 1] and for unknown choices.
    """

    def __init__(
        self,
        channels: list[int],
        kernels: list[int],
        strides: list[int],
        hidden: int = 200,
        activation: str = "relu",
        keep: float = 1.0,
        batch_norm: str = "none",
        init: str = "truncated_normal",
        weight_std: float = 0.1,
        bias: float = 0.1,
        output_bias: float = 0.1,
    ):
        super().__init__()
        for name, values in {"channels": channels, "kernels": kernels, "strides": strides, "hidden": [hidden]}.items():
            positive(name, *values)
        if not len(channels) == len(kernels) == len(strides):
            raise ValueError(f"channels={channels}, kernels={kernels}, strides={strides}: must be of one length")
        one_of("activation", activation, ACTIVATIONS)
        start = Init(init, weight_std, bias)
        layers: list[nn.Module] = []
        inputs, size = 1, 28
        for outputs, kernel, stride in zip(channels, kernels, strides, strict=True):
            layer = conv(inputs, outputs, kernel, stride, size, start, bias=batch_norm == "none")
            layers += [layer, *norm(batch_norm, outputs, start, spatial=True), ACTIVATIONS[activation]()]
            inputs, size = outputs, layer.out_size
        self.convolutions = nn.Sequential(*layers)
        # Few channels leave a processor's vectors half empty; four times as many fill them (docs/BENCHMARKS.md).
        self._halves = strides[:2] == [1, 2] and batch_norm == "none" and channels[0] <= 24
        self.dense = readout(inputs * size * size, hidden, activation, keep, batch_norm, start, output_bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        if self.training and self._halves:
            features = self.convolutions[3:](halved(self.convolutions[:3], images))
        else:
            features = self.convolutions(images)
        logits: Tensor = self.dense(features)
        return logits
