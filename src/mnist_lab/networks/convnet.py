"""Convolutional networks: the codelab's shrinks the image by strides, that of "Deep MNIST for Experts" by pooling."""

from torch import Tensor, nn

from mnist_lab.networks.layers import (
    ACTIVATIONS,
    Init,
    PaddedConv2d,
    WhiteningConv2d,
    dropout_layer,
    norm,
    one_of,
    positive,
)


class Convnet(nn.Module):
    """Convolutions, each with batch norm if any and an activation; one dense layer with dropout; 10 logits.

    ``channels``, ``kernels`` and ``strides`` (None: 1 each) name one convolution each by position. ``padding`` is
    ``same``, which leaves the size to the strides, or ``valid``, which takes no pixel from outside the image. ``pool``
    adds 2x2 max pooling before each activation. The tutorial pools after the ReLU; pooling first gives the same values
    and gradients for any rising activation, on a quarter of the elements. ``whiten`` puts a
    :class:`WhiteningConv2d`, which is not trained, in the place of the first convolution and its batch norm.

    Raises ValueError where lengths differ, a value is not positive, nothing is left of the image, for ``dropout``
    outside [0, 1) and for unknown choices.
    """

    def __init__(
        self,
        channels: list[int],
        kernels: list[int],
        strides: list[int] | None = None,
        pool: bool = False,
        padding: str = "same",
        hidden: int = 200,
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: str = "none",
        init: str = "truncated_normal",
        weight_std: float = 0.1,
        bias: float = 0.1,
        output_bias: float = 0.1,
        whiten: bool = False,
    ):
        super().__init__()
        strides = strides or [1] * len(channels)
        for name, values in {"channels": channels, "kernels": kernels, "strides": strides, "hidden": [hidden]}.items():
            positive(name, *values)
        if not len(channels) == len(kernels) == len(strides):
            raise ValueError(f"channels={channels}, kernels={kernels}, strides={strides}: must be of one length")
        one_of("padding", padding, ("same", "valid"))
        one_of("activation", activation, ACTIVATIONS)
        start, has_bias = Init(init, weight_std, bias), batch_norm == "none"
        layers: list[nn.Module] = []
        inputs, size = 1, 28
        for outputs, kernel, stride in zip(channels, kernels, strides, strict=True):
            if whiten and not layers:
                layer: PaddedConv2d = WhiteningConv2d(outputs, kernel, stride, size, padding)
                layers.append(layer)
            else:
                layer = start(PaddedConv2d(inputs, outputs, kernel, stride, size, has_bias, padding))
                layers += [layer, *norm(batch_norm, outputs, start, spatial=True)]
            layers += [*([nn.MaxPool2d(2)] if pool else []), ACTIVATIONS[activation]()]
            inputs, size = outputs, layer.out_size // 2 if pool else layer.out_size
            if size < 1:
                raise ValueError(f"channels={channels}: too many, nothing is left of 28 pixels")
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(),
            start(nn.Linear(inputs * size * size, hidden, bias=has_bias)),
            *norm(batch_norm, hidden, start),
            ACTIVATIONS[activation](),
            *dropout_layer(dropout),
            start(nn.Linear(hidden, 10), output_bias),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        logits: Tensor = self.dense(self.convolutions(images))
        return logits
