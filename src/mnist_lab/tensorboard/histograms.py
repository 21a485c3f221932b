"""How weights and biases are distributed, layer by layer."""

from mnist_lab.classifier import Batch, DigitClassifier
from mnist_lab.tensorboard.logger import TensorBoard
from mnist_lab.tensorboard.periodic import PeriodicLogger

_PLURAL = {"weight": "weights", "bias": "biases"}


class Histograms(PeriodicLogger):
    """TensorBoard's histograms and distributions: ``weights/<layer>`` and ``biases/<layer>``, in ``bins`` equal bins.

    They are written ``times`` times in a run, and at its end. A tensor that contains NaN or Inf is left out.
    """

    def __init__(self, times: int = 10, bins: int = 64, max_overhead: float = 0.005):
        super().__init__(times, max_overhead)
        if bins < 1:
            raise ValueError(f"bins={bins}: must be at least 1")
        self.bins = bins

    def show(self, logger: TensorBoard, model: DigitClassifier, batch: Batch) -> None:
        """Write each parameter's histogram, counted by torch, which is faster than the writer's own counting."""
        for name, parameter in model.network.named_parameters():
            values = parameter.float()
            if not values.isfinite().all():
                continue
            low, high = (bound.item() for bound in values.aminmax())
            layer, _, kind = name.rpartition(".")
            width = (high - low) / self.bins
            counts = values.histc(self.bins, low, high).tolist() if high > low else [float(values.numel())]
            logger.experiment.add_histogram_raw(
                f"{_PLURAL.get(kind, kind)}/{layer or 'network'}",
                min=low,
                max=high,
                num=values.numel(),
                sum=values.sum().item(),
                sum_squares=values.norm().item() ** 2,
                bucket_limits=[low + width * i for i in range(1, len(counts))] + [high],
                bucket_counts=counts,
                global_step=model.global_step,
            )
