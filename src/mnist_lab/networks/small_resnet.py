"""Small convolutional networks without a wide dense layer: 3x3 convolutions, plain or residual, and a global mean."""

from torch import Tensor, nn

from mnist_lab.networks.layers import Init, PaddedConv2d, dropout_layer, norm, one_of, positive


class SmallResNet(nn.Module):
    """Stages of 3x3 convolutions, each with batch norm if any and ReLU; the mean of each channel; 10 logits.

    Stage by stage, ``convs`` says how many convolutions there are and ``widths`` how many channels they have; between
    stages 2x2 pixels are pooled, by their ``max`` or ``mean``. Where ``residual``, the convolutions after the first of
    a stage come in pairs with a connection around each (He et al. 2015). ``stride`` is that of the very first
    convolution. ``dropout`` acts on the means.

    Raises ValueError where lengths differ, a value is not positive, nothing is left of the image, a residual stage has
    an even number of convolutions, for ``dropout`` outside [0, 1) and for unknown choices.
    """

    def __init__(
        self,
        widths: list[int],
        convs: list[int],
        residual: bool = True,
        stride: int = 1,
        pool: str = "max",
        batch_norm: str = "scale_and_shift",
        dropout: float = 0.0,
    ):
        super().__init__()
        for name, values in {"widths": widths, "convs": convs, "stride": [stride]}.items():
            positive(name, *values)
        if len(widths) != len(convs):
            raise ValueError(f"widths={widths}, convs={convs}: must be of one length")
        if residual and any(count % 2 == 0 for count in convs):
            raise ValueError(f"convs={convs}: must be odd where residual, one convolution and then pairs")
        one_of("pool", pool, ("max", "mean"))
        start = Init("he", 0.0, 0.0)
        size = 28

        def conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
            nonlocal size
            layer = start(PaddedConv2d(inputs, outputs, 3, stride, size, bias=batch_norm == "none"))
            size = layer.out_size
            return [layer, *norm(batch_norm, outputs, start, spatial=True)]

        layers: list[nn.Module] = []
        inputs = 1
        for stage, (width, count) in enumerate(zip(widths, convs, strict=True)):
            if stage:
                layers.append(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
                size //= 2
            if size < 1:
                raise ValueError(f"widths={widths}: too many stages, nothing is left of 28 pixels")
            layers += [*conv(inputs, width, 1 if stage else stride), nn.ReLU()]
            for _ in range(count // 2 if residual else 0):
                layers.append(ResidualPair(*conv(width, width), nn.ReLU(), *conv(width, width)))
            for _ in range(0 if residual else count - 1):
                layers += [*conv(width, width), nn.ReLU()]
            inputs = width
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), *dropout_layer(dropout), start(nn.Linear(inputs, 10))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 28, 28), intensities in [0, 1] -> logits (batch, 10)."""
        logits: Tensor = self.dense(self.convolutions(images))
        return logits


class ResidualPair(nn.Sequential):
    """Layers around which their input goes too: ReLU(input + layers(input))."""

    def forward(self, input: Tensor) -> Tensor:
        """Of any shape that the layers leave as it is."""
        output = input
        for layer in self:
            output = layer(output)
        return (input + output).relu()
