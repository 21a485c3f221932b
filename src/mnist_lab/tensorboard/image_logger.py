"""Pictures of the training: a batch and its mistakes, the first layer, the activations of one digit."""

from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mnist_lab.classifier import Batch, DigitClassifier
from mnist_lab.tensorboard import images
from mnist_lab.tensorboard.logger import TensorBoard
from mnist_lab.tensorboard.periodic import PeriodicLogger


class ImageLogger(PeriodicLogger):
    """Images in TensorBoard, ``times`` times in a run and at its end.

    ``digits``: this many of the current batch, before it is trained on, with the mistakes marked (0: none).
    ``first_layer``: the weights of the first layer, positive blue and negative red; at most 100, and of softmax
    regression one image for each digit. ``activations``: the output of each convolution, with its pooling and ReLU,
    for one digit, the first that a run with this seed trains on; at most 64 channels of each.
    """

    def __init__(
        self,
        times: int = 5,
        digits: int = 100,
        first_layer: bool = True,
        activations: bool = True,
        max_overhead: float = 0.005,
    ):
        super().__init__(times, max_overhead)
        if digits < 0:
            raise ValueError(f"digits={digits}: must not be negative")
        self.digits, self.first_layer, self.activations = digits, first_layer, activations

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_start(trainer)
        if self.activations:
            self._digit = next(iter(trainer.datamodule.train_dataloader()))[0][:1]  # type: ignore[attr-defined]

    def show(self, logger: TensorBoard, model: DigitClassifier, batch: Batch) -> None:
        """Draw what is asked for."""
        if self.digits:
            self._show_batch(logger, model, batch)
        if self.first_layer:
            self._show_first_layer(logger, model)
        if self.activations:
            self._show_activations(logger, model)

    def _show_batch(self, logger: TensorBoard, model: DigitClassifier, batch: Batch) -> None:
        inputs, labels = batch[0][: self.digits], batch[1][: self.digits].cpu()
        predicted = model.network(inputs).argmax(dim=1).cpu()
        data = model.trainer.datamodule  # type: ignore[attr-defined]
        pixels = inputs[:, 0].float().cpu() * data.std + data.mean
        title = f"step {model.global_step:,}: {int((labels != predicted).sum())} of {len(labels)} wrong"
        logger.add_picture("training/batch", images.digits(pixels, labels, predicted, title), model.global_step)

    def _show_first_layer(self, logger: TensorBoard, model: DigitClassifier) -> None:
        weights = first_layer(model.network)
        if weights is None or not weights.isfinite().all():
            return
        names = "0123456789" if weights.shape == (10, 28, 28) else ""
        shown = f"100 of {len(weights)}" if len(weights) > 100 else f"all {len(weights)}"
        largest = weights.abs().max().item()
        title = f"step {model.global_step:,}: {shown}, positive blue, negative red, full colour at {largest:.2g}"
        logger.add_picture("network/first_layer", images.weights(weights[:100], title, names), model.global_step)

    def _show_activations(self, logger: TensorBoard, model: DigitClassifier) -> None:
        digit = self._digit.to(next(model.network.parameters()).dtype)
        if blocks := activations_of(model.network, digit):
            layers = [(f"step {model.global_step:,}: the digit", digit[0]), *blocks]
            drawn = images.activations([(name, maps[:64].float().cpu()) for name, maps in layers])
            logger.add_picture("network/activations", drawn, model.global_step)


def first_layer(network: nn.Module) -> Tensor | None:
    """The weights (n, height, width) of the first layer, or None where they cannot be seen as images."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.weight[:, 0].detach().float().cpu()
        if isinstance(layer, nn.Linear):
            return layer.weight.detach().float().cpu().view(-1, 28, 28) if layer.in_features == 784 else None
    return None


@torch.no_grad()
def activations_of(network: nn.Module, image: Tensor) -> list[tuple[str, Tensor]]:
    """The output of each convolution for an image (1, 1, 28, 28): its name with the shape, its channels (n, h, w).

    Batch normalisation, pooling and activation up to the next convolution count as part of it.
    """
    names = {layer: name for name, layer in network.named_modules()}
    found: list[tuple[str, Tensor]] = []

    def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            found.append((names[layer], output[0]))
        elif found and output.dim() == 4:
            found[-1] = found[-1][0], output[0]

    with ExitStack() as hooks:
        for layer in names:
            hooks.enter_context(layer.register_forward_hook(note))
        network(image)
    return [(f"{name}: {len(maps)} channels of {maps.shape[1]}x{maps.shape[2]}", maps) for name, maps in found]
