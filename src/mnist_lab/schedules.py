"""Learning rate as a function of the step.

A schedule is called as ``schedule(t, base_lr, total)``: ``t`` counts steps (or epochs, with ``interval="epoch"``) from
0, ``base_lr`` is the optimiser's own learning rate, ``total`` the number of steps (epochs) of the run. It returns the
learning rate at ``t``.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Constant, and the base of the others. ``interval`` is ``step`` or ``epoch``."""

    interval: str = "step"

    def __post_init__(self) -> None:
        if self.interval not in ("step", "epoch"):
            raise ValueError(f"interval={self.interval}: must be step or epoch")
        for name, value in vars(self).items():
            if name != "interval" and value < 0:
                raise ValueError(f"{name}={value}: must not be negative")
            if name in ("time_constant", "every") and value == 0:
                raise ValueError(f"{name}=0: must be above 0")
            if name == "pct_start" and not 0 < value < 1:
                raise ValueError(f"pct_start={value}: must be above 0 and below 1, the rising fraction of the run")

    def __call__(self, t: int, base_lr: float, total: int) -> float:
        """The learning rate at ``t``."""
        return base_lr


@dataclass(frozen=True)
class Exponential(Schedule):
    """floor + base_lr e^(-t / time_constant): the codelab's decay (002, "special care": 0.0001 + 0.003 e^(-t/2000))."""

    floor: float = 0.0001
    time_constant: float = 2000.0

    def __call__(self, t: int, base_lr: float, total: int) -> float:
        """The learning rate at ``t``."""
        return self.floor + base_lr * math.exp(-t / self.time_constant)


@dataclass(frozen=True)
class Cosine(Schedule):
    """A linear warm-up over ``warmup``, then half a cosine from base_lr down to ``floor`` at the end of the run."""

    floor: float = 0.0
    warmup: int = 0

    def __call__(self, t: int, base_lr: float, total: int) -> float:
        """The learning rate at ``t``."""
        if t < self.warmup:
            return base_lr * (t + 1) / self.warmup
        done = min((t - self.warmup) / max(total - self.warmup, 1), 1.0)
        return self.floor + (base_lr - self.floor) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class OneCycle(Schedule):
    """From base_lr * ``start`` up to base_lr in the fraction ``pct_start`` of the run, then down to base_lr * ``end``.

    Both by cosine: Smith and Topin 2017, "Super-Convergence", in the form that fastai made common.
    """

    pct_start: float = 0.3
    start: float = 0.04
    end: float = 0.0001

    def __call__(self, t: int, base_lr: float, total: int) -> float:
        """The learning rate at ``t``."""
        top, last = max(self.pct_start * total - 1, 1e-9), max(total - 1, 1)
        low, done = (self.start, t / top) if t < top else (self.end, 1 - (t - top) / max(last - top, 1e-9))
        return base_lr * (low + (1 - low) * (1 - math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2)


@dataclass(frozen=True)
class Step(Schedule):
    """The learning rate times ``factor`` after every ``every`` steps (epochs)."""

    every: int = 1000
    factor: float = 0.1

    def __call__(self, t: int, base_lr: float, total: int) -> float:
        """The learning rate at ``t``."""
        return base_lr * self.factor ** (t // self.every)
