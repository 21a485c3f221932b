import math
from collections.abc import Callable

import pytest

from mnist_lab.schedules import Cosine, Exponential, OneCycle, Schedule, Step


def test_constant() -> None:
    assert [Schedule()(t, 0.5, 100) for t in (0, 50, 99)] == [0.5] * 3


def test_exponential_is_the_codelabs() -> None:
    decay = Exponential()
    assert decay(0, 0.003, 10_000) == pytest.approx(0.0031)
    assert decay(2000, 0.003, 10_000) == pytest.approx(0.0001 + 0.003 / math.e)
    assert decay(10_000, 0.003, 10_000) == pytest.approx(0.00012021, abs=1e-8)


def test_cosine_warms_up_and_ends_on_its_floor() -> None:
    cosine = Cosine(floor=0.01, warmup=4)
    assert [cosine(t, 0.1, 104) for t in (0, 1, 3, 4)] == pytest.approx([0.025, 0.05, 0.1, 0.1])
    assert cosine(54, 0.1, 104) == pytest.approx(0.055)
    assert cosine(104, 0.1, 104) == pytest.approx(0.01)


def test_one_cycle_rises_to_the_base_rate_and_falls() -> None:
    rates = [OneCycle(pct_start=0.3, start=0.04, end=0.001)(t, 0.1, 100) for t in range(100)]
    assert rates[0] == pytest.approx(0.004)
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 29
    assert rates[-1] == pytest.approx(0.0001)
    assert rates[:30] == sorted(rates[:30])
    assert rates[29:] == sorted(rates[29:], reverse=True)


def test_step() -> None:
    assert [Step(every=10, factor=0.5)(t, 0.8, 100) for t in (0, 9, 10, 29, 30)] == [0.8, 0.8, 0.4, 0.2, 0.1]


@pytest.mark.parametrize(
    "schedule", [Schedule(), Exponential(), Cosine(floor=0.0002), Step(every=30)], ids=lambda s: type(s).__name__
)
def test_rates_never_rise_without_a_warm_up(schedule: Schedule) -> None:
    rates = [schedule(t, 0.003, 100) for t in range(101)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0
    assert (rates[0] > rates[-1]) == (type(schedule) is not Schedule)


def test_cosine_stays_on_its_floor_beyond_the_end() -> None:
    assert [Cosine(floor=0.02)(t, 0.1, 50) for t in (50, 51, 500)] == pytest.approx([0.02] * 3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Schedule(interval="epochs"), "interval=epochs: must be step or epoch"),
        (lambda: Exponential(time_constant=0.0), "time_constant=0: must be above 0"),
        (lambda: Exponential(floor=-1.0), "floor=-1.0: must not be negative"),
        (lambda: Step(every=0), "every=0: must be above 0"),
        (lambda: Step(factor=-0.1), "factor=-0.1: must not be negative"),
        (lambda: OneCycle(pct_start=0.0), "pct_start=0.0: must be above 0 and below 1, the rising fraction of the run"),
        (lambda: OneCycle(pct_start=1.0), "pct_start=1.0: must be above 0 and below 1, the rising fraction of the run"),
        (lambda: Cosine(warmup=-1), "warmup=-1: must not be negative"),
    ],
)
def test_what_is_said_of_impossible_options(make: Callable[[], Schedule], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        make()
