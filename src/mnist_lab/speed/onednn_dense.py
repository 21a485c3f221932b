"""Large dense layers train by oneDNN's matrix products instead of MKL's, which has no kernels for AMD with AVX-512.

Figure: a step of the pooled convnet takes 15.0 ms instead of 18.6 ms. Risk: sums are taken in another order, so results
differ in the last bits, and the kernel is called by a private name of torch. It stands aside on other processors, in
evaluation, on a GPU, under autocast, for layers of fewer than 2^17 weights and inputs of any shape but
(batch, features).
"""

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mnist_lab.speed import stand_aside

LARGE = 2**17  # weights, from which on the gain is above the cost of a call


class OneDnnDense(pl.Callback):
    """Makes the large dense layers of the network :class:`OneDnnLinear` while it trains."""

    _layers: Sequence[nn.Linear] = ()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        helps = pl_module.device.type == "cpu" and mkl_is_slow()
        dense = [m for m in pl_module.modules() if helps and type(m) is nn.Linear and m.bias is not None]
        self._layers = [layer for layer in dense if layer.weight.numel() >= LARGE]
        if not self._layers:
            why = f"the network has no dense layer of {LARGE:,} weights with a bias"
            stand_aside("onednn_dense", why if helps else "it is for AMD processors with AVX-512")
        for layer in self._layers:
            layer.__class__ = OneDnnLinear

    def on_fit_end(self, *_: Any) -> None:
        for layer in self._layers:
            if type(layer) is OneDnnLinear:  # else something made it another kind since: a parametrisation, say
                layer.__class__ = nn.Linear  # type: ignore[assignment]

    def on_exception(self, *_: Any) -> None:
        self.on_fit_end()


class OneDnnLinear(nn.Linear):
    """``nn.Linear`` whose products in training are oneDNN's."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        plain = input.dtype == torch.float32 and input.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        by_onednn = self.training and plain and input.ndim == 2 and len(input) > 0
        output: Tensor = _OneDnnLinear.apply(input, self.weight, self.bias) if by_onednn else super().forward(input)
        return output


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        inputs, weight = ctx.saved_tensors
        of_inputs = _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        return of_inputs, _product(gradient.t(), inputs.t()), gradient.sum(0)


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.t() + bias``."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return result


@functools.cache
def mkl_is_slow() -> bool:
    """Whether this is an AMD processor with AVX-512, for which MKL has no kernels of its own."""
    with contextlib.suppress(OSError):
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8") and hasattr(
            torch.ops.mkldnn, "_linear_pointwise"
        )
        return amd and torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return False
