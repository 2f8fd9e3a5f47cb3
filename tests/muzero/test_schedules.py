from __future__ import annotations

import math

import pytest

from agents.muzero.schedules import Exponential, Linear, Piecewise, Schedule

TEMPERATURE = Piecewise((0.5, 0.75), (1.0, 0.5, 0.25))


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        (Piecewise((), (0.3,)), 0.7, 0.3),
        (TEMPERATURE, 0.0, 1.0),
        (TEMPERATURE, 0.4999, 1.0),
        (TEMPERATURE, 0.5, 0.5),
        (TEMPERATURE, 0.75, 0.25),
        (TEMPERATURE, 1.0, 0.25),
        (Linear(1.0, 0.2), 0.25, 0.8),  # 1 - 0.8 / 4
        (Exponential(0.1, 0.001), 0.5, 0.01),  # the geometric mean
    ],
)
def test_values_by_hand(schedule: Schedule, progress: float, expected: float) -> None:
    assert schedule(progress) == pytest.approx(expected)


@pytest.mark.parametrize(
    "schedule", [Piecewise((), (1.0,)), TEMPERATURE, Linear(1.0, 0.0), Exponential(1.0, 0.1)]
)
def test_progress_outside_counts_as_the_nearer_end(schedule: Schedule) -> None:
    assert schedule(-0.1) == schedule(0.0)
    assert schedule(1.3) == schedule(1.0)
    with pytest.raises(ValueError, match="progress"):
        schedule(math.nan)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Piecewise((0.5,), (1.0,)), "2 values"),
        (lambda: Piecewise((0.5, 0.5), (1.0, 0.5, 0.25)), "increase"),
        (lambda: Piecewise((1000.0,), (1.0, 0.5)), "shares of training"),
        (lambda: Exponential(1.0, 0.0), "positive"),
    ],
)
def test_wrong_options_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
