"""Pictures of the training: a batch and its mistakes, the first layer, the activations of one digit."""

from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mnist_lab import drawing
from mnist_lab.callbacks.moments import Moments, add_picture
from mnist_lab.classifier import Batch, DigitClassifier

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Pictures(Moments):
    """Images in TensorBoard, ``times`` in a run and at its end.

    ``digits``: so many of the current batch, before it is trained on, with their mistakes (0: none).
    ``first_layer``: its weights as images, blue for and red against; of softmax regression, one a digit. At most 100.
    ``activations``: what each convolution of a network, with its pooling and ReLU, makes of one digit of the training
    set. At most 64 channels of each.
    """

    def __init__(
        self,
        times: int = 5,
        digits: int = 100,
        first_layer: bool = True,
        activations: bool = True,
        share: float = 0.005,
    ):
        super().__init__(times, share)
        if digits < 0:
            raise ValueError(f"digits={digits}: must not be negative")
        self.digits, self.first_layer, self.activations = digits, first_layer, activations
        self._digit: Tensor | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the digit: the first that a run with this seed trains on."""
        super().on_train_start(trainer, pl_module)
        if self.activations and self._digit is None:
            self._digit = next(iter(trainer.datamodule.train_dataloader()))[0][:1]  # type: ignore[attr-defined]

    def show(self, writer: "SummaryWriter", model: DigitClassifier, batch: Batch) -> None:
        """Draw what is asked for."""
        if self.digits:
            self._show_batch(writer, model, batch)
        if self.first_layer:
            self._show_first_layer(writer, model)
        if self.activations:
            self._show_activations(writer, model)

    def _show_batch(self, writer: "SummaryWriter", model: DigitClassifier, batch: Batch) -> None:
        data = model.trainer.datamodule  # type: ignore[attr-defined]
        images, labels = batch[0][: self.digits], batch[1][: self.digits].cpu()
        computed = model.network(images).argmax(dim=1).cpu()
        pixels = images[:, 0].float().cpu() * data.std + data.mean
        title = f"step {model.global_step:,}: {int((labels != computed).sum())} of {len(labels)} wrong"
        add_picture(writer, "training/batch", drawing.digits(pixels, labels, computed, title), model.global_step)

    def _show_first_layer(self, writer: "SummaryWriter", model: DigitClassifier) -> None:
        weights = first_layer(model.network)
        if weights is None or not weights.isfinite().all():
            return
        names = [str(digit) for digit in range(10)] if len(weights) == 10 else []
        shown = f"100 of {len(weights)}" if len(weights) > 100 else f"all {len(weights)}"
        most = weights.abs().max().item()
        title = f"step {model.global_step:,}: {shown}, blue for, red against, full colour at {most:.2g}"
        add_picture(writer, "network/first_layer", drawing.weights(weights[:100], title, names), model.global_step)

    def _show_activations(self, writer: "SummaryWriter", model: DigitClassifier) -> None:
        assert self._digit is not None
        digit = self._digit.to(next(model.network.parameters()).dtype)
        if blocks := activations_of(model.network, digit):
            layers = [(f"step {model.global_step:,}: the digit", digit[0]), *blocks]
            drawn = drawing.activations([(name, maps[:64].float().cpu()) for name, maps in layers])
            add_picture(writer, "network/activations", drawn, model.global_step)


def first_layer(network: nn.Module) -> Tensor | None:
    """The weights of the first layer (n, height, width), where they can be seen as images of the digits' kind."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.weight[:, 0].detach().float().cpu()
        if isinstance(layer, nn.Linear):
            return layer.weight.detach().float().cpu().view(-1, 28, 28) if layer.in_features == 784 else None
    return None


@torch.no_grad()
def activations_of(network: nn.Module, image: Tensor) -> list[tuple[str, Tensor]]:
    """What each convolution makes of an image (1, 1, 28, 28): its name, with the shape, and its channels (n, h, w).

    Batch normalisation, pooling and activation up to the next convolution count as part of it.
    """
    found: list[tuple[str, Tensor]] = []

    def note(name: str, layer: nn.Module, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            found.append((name, output[0]))
        elif found and output.dim() == 4:
            found[-1] = found[-1][0], output[0]

    leaves = [(name, layer) for name, layer in network.named_modules() if not next(layer.children(), None)]
    hooks = [
        layer.register_forward_hook(lambda layer, _, output, name=name: note(name, layer, output))
        for name, layer in leaves
    ]
    try:
        network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [(f"{name}: {len(maps)} channels of {maps.shape[1]}x{maps.shape[2]}", maps) for name, maps in found]
