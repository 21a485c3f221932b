"""Learning rate as a function of the step.

A schedule is called as ``schedule(t, peak, total)``: ``t`` counts steps (or epochs, with ``interval="epoch"``) from 0,
``peak`` is the optimiser's own learning rate, ``total`` the number of steps (epochs) of the run. It returns the rate.
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
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{name}={value}: must not be negative")
        for name in ("time_constant", "every"):
            if vars(self).get(name) == 0:
                raise ValueError(f"{name}=0: must be above 0")

    def __call__(self, t: int, peak: float, total: int) -> float:
        """The learning rate at ``t``."""
        return peak


@dataclass(frozen=True)
class Exponential(Schedule):
    """floor + peak e^(-t / time_constant): the codelab's decay (002, "special care": 0.0001 + 0.003 e^(-t/2000))."""

    floor: float = 0.0001
    time_constant: float = 2000.0

    def __call__(self, t: int, peak: float, total: int) -> float:
        """The learning rate at ``t``; at 0 it is floor + peak."""
        return self.floor + peak * math.exp(-t / self.time_constant)


@dataclass(frozen=True)
class Cosine(Schedule):
    """A linear warm-up over ``warmup``, then half a cosine from the peak down to ``floor`` at the end of the run."""

    floor: float = 0.0
    warmup: int = 0

    def __call__(self, t: int, peak: float, total: int) -> float:
        """The learning rate at ``t``."""
        if t < self.warmup:
            return peak * (t + 1) / self.warmup
        done = min((t - self.warmup) / max(total - self.warmup, 1), 1.0)
        return self.floor + (peak - self.floor) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from peak * ``start`` to the peak over the first ``rise`` of the run, down to peak * ``end``, both by cosine.

    After Smith and Topin 2017, "Super-Convergence", in the cosine form that fastai made common.
    """

    rise: float = 0.3
    start: float = 0.04
    end: float = 0.0001

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rise < 1:
            raise ValueError(f"rise={self.rise}: the rising share of the run must be above 0 and below 1")

    def __call__(self, t: int, peak: float, total: int) -> float:
        """The learning rate at ``t``."""
        top, last = max(self.rise * total - 1, 1e-9), max(total - 1, 1)
        low, done = (self.start, t / top) if t < top else (self.end, 1 - (t - top) / max(last - top, 1e-9))
        return peak * (low + (1 - low) * (1 - math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2)


@dataclass(frozen=True)
class Step(Schedule):
    """The rate times ``factor`` after every ``every`` steps (epochs)."""

    every: int = 1000
    factor: float = 0.1

    def __call__(self, t: int, peak: float, total: int) -> float:
        """The learning rate at ``t``."""
        return peak * self.factor ** (t // self.every)
