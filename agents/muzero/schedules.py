"""Schedules: a number as a function of training progress.

Each is a small frozen dataclass, called as ``schedule(progress)`` with progress from 0 to 1.
Progress outside that range counts as its nearer end: the last batch of environment steps may
overshoot the total. They serve the temperature of the visit counts (MuZero appendix D: 1.0, 0.5,
0.25 over training) and the learning rate alike.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Anything that maps progress in [0, 1] to a number."""

    def __call__(self, progress: float) -> float:
        """Return the number at ``progress``."""
        ...


def _clip(progress: float) -> float:
    if math.isnan(progress):
        raise ValueError("progress is not a number; it must be the share of training done, 0 to 1")
    return min(max(progress, 0.0), 1.0)


def check_schedule(name: str, schedule: Schedule) -> None:
    """Refuse what is not finite, or below 0, at the beginning or the end of a training.

    Raises:
        ValueError: see above; the message begins with ``name``.
    """
    for progress in (0.0, 1.0):
        number = schedule(progress)
        if not 0.0 <= number < math.inf:
            raise ValueError(f"{name} must be finite and not negative, is {number} at {progress}")


@dataclass(frozen=True)
class Piecewise:
    """``values[i]`` from ``boundaries[i - 1]`` up to, not including, ``boundaries[i]``.

    ``Piecewise((0.5, 0.75), (1.0, 0.5, 0.25))`` is MuZero's visit temperature, and
    ``Piecewise((), (1.0,))`` always 1.

    Raises:
        ValueError: boundaries do not increase within (0, 1), or there is not one value more.
    """

    boundaries: Sequence[float]
    values: Sequence[float]

    def __post_init__(self) -> None:
        # Tuples of floats, whatever sequence a configuration gave.
        object.__setattr__(self, "boundaries", tuple(map(float, self.boundaries)))
        object.__setattr__(self, "values", tuple(map(float, self.values)))
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"{len(self.boundaries)} boundaries need {len(self.boundaries) + 1} values, "
                f"but {len(self.values)} were given"
            )
        edges = (0.0, *self.boundaries, 1.0)
        if any(left >= right for left, right in zip(edges, edges[1:], strict=False)):
            raise ValueError(
                f"boundaries must increase, between 0 and 1: {list(self.boundaries)}; "
                "they are shares of training"
            )

    def __call__(self, progress: float) -> float:
        """Return the value of the piece that ``progress`` lies in."""
        return self.values[bisect.bisect_right(self.boundaries, _clip(progress))]


@dataclass(frozen=True)
class Linear:
    """From ``start`` to ``end`` in a straight line."""

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return ``start + (end - start) progress``."""
        return self.start + (self.end - self.start) * _clip(progress)


@dataclass(frozen=True)
class Exponential:
    """From ``start`` to ``end`` by a constant factor per unit of progress.

    Raises:
        ValueError: ``start`` or ``end`` is not positive.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        if self.start <= 0.0 or self.end <= 0.0:
            raise ValueError(
                f"an exponential decay needs a positive start and end: {self.start}, {self.end}"
            )

    def __call__(self, progress: float) -> float:
        """Return ``start (end / start)^progress``."""
        return self.start * (self.end / self.start) ** _clip(progress)
