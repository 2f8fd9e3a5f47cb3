"""The kinds of opponents and their parameters.

An opponent takes lines out for some steps. Each step pays ``budget_per_step`` into its budget; a
step in which it holds n lines out costs n, and an attack begins only if the budget covers all of
it. It strikes within the agent's step: after the action, before the power flow. A line that it
holds out cannot be closed, and stays open afterwards until someone closes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from powergrid_muzero.checks import check_count, is_number
from powergrid_muzero.names import choose

_LARGEST = 1e9  # of hours, line-steps and ratios; what is drawn by much larger ones overflows
_MONTH = 8064  # steps that a budget has, at least, to suffice for one attack
STEPS_PER_HOUR = 12


@dataclass(frozen=True, kw_only=True)
class RandomOpponent:
    """Strikes as soon as period and budget allow (``grid2op.Opponent.RandomLineOpponent``).

    One of the closed lines is drawn, each with the same chance.

    Raises:
        ValueError: a value that makes no sense, or a budget that never suffices for an attack.
    """

    kind: ClassVar[str] = "random"

    lines: tuple[str, ...]  # names of those that may be taken out
    duration: int  # steps that a line is held out
    period: int  # steps from one attack's beginning to the next one's, at least
    budget: float = 0.0  # line-steps at the episode's beginning
    budget_per_step: float = 0.0  # line-steps paid in at each step

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", _names(self.lines, "lines"))
        for name, least in (("duration", 1), ("period", 0 if self._back_to_back else 1)):
            object.__setattr__(
                self, name, check_count(f"opponent: {name}", getattr(self, name), least=least)
            )
        for name in ("budget", "budget_per_step"):
            object.__setattr__(self, name, _number(name, getattr(self, name), least=0))
        if self.period < self.duration and not self._back_to_back:
            raise ValueError(
                f"opponent: an attack lasts {self.duration} steps, but the next one may begin "
                f"{self.period} steps after it began; set period to at least {self.duration}"
            )
        needed = self._least_cost
        if self.budget + self.budget_per_step * _MONTH < needed:
            raise ValueError(
                f"opponent: its budget never suffices: an attack costs {needed} or more, but "
                f"budget is {self.budget} and budget_per_step {self.budget_per_step}, "
                f"{self.budget + self.budget_per_step * _MONTH:.6g} after {_MONTH} steps"
            )

    @property
    def _back_to_back(self) -> bool:
        """Whether attacks may follow each other without a pause."""
        return False

    @property
    def _least_cost(self) -> int:
        return self.duration

    @property
    def all_lines(self) -> tuple[str, ...]:
        """Names of the lines that may be taken out."""
        return self.lines

    @property
    def mean_duration(self) -> float:
        """Steps that an attack lasts, in the long run."""
        return self.duration

    @property
    def mean_interval(self) -> float:
        """Steps from one attack's beginning to the next one's, in the long run.

        The period, or longer where what is paid in does not suffice for that.
        """
        paid = self.budget_per_step
        return max(self.period, self.mean_duration / paid if paid > 0 else 0.0)

    def number_lines(self, line_names: Sequence[str]) -> np.ndarray:
        """Return the numbers of the lines that may be taken out, ``[*]`` int, in their order.

        Raises:
            ValueError: a line that the grid lacks; the message names the nearest one.
        """
        names = list(line_names)
        return np.array(
            [names.index(choose("line of the opponent", line, names)) for line in self.all_lines]
        )


@dataclass(frozen=True, kw_only=True)
class WeightedOpponent(RandomOpponent):
    """Strikes some time after period and budget allow (``WeightedRandomOpponent``).

    The chance of a closed line is its loading over ``usual_rho``.
    """

    kind: ClassVar[str] = "weighted"

    usual_rho: tuple[float, ...] = ()  # of each line; () for 1
    within: int = 288  # steps among which the next attack is drawn

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.usual_rho
        if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
            raise ValueError(f"opponent: usual_rho must be a list of numbers, but is {given!r}")
        usual = tuple(_number("usual_rho", rho, least=0) for rho in given)
        usual = usual or (1.0,) * len(self.lines)
        if len(usual) != len(self.lines) or min(usual) <= 0:
            raise ValueError(
                f"opponent: usual_rho must be a number above 0 for each of its {len(self.lines)} "
                f"lines, but is {self.usual_rho}"
            )
        object.__setattr__(self, "usual_rho", usual)
        object.__setattr__(self, "within", check_count("opponent: within", self.within))

    @property
    def mean_interval(self) -> float:
        """See ``RandomOpponent``; the wait begins with the end of an attack, not of the period."""
        waits = np.arange(self.within)
        return max(
            super().mean_interval, float(np.maximum(self.period, self.duration + waits).mean())
        )


@dataclass(frozen=True, kw_only=True)
class GeometricOpponent(RandomOpponent):
    """Strikes at random times, for random durations (``grid2op.Opponent.GeometricOpponent``).

    Times and durations are drawn when the episode begins. Of the closed lines, the more loaded are
    the likelier; while one of them is open, an attack is left out. ``duration`` is the longest.
    """

    kind: ClassVar[str] = "geometric"

    every_hours: float = 24.0  # from one attack to the next, in the mean
    mean_hours: float = 4.0  # of an attack
    least_hours: float = 2.0  # of an attack
    ratio: float = 4.0  # chance of the most loaded line over that of the least loaded one

    def __post_init__(self) -> None:
        for name in ("every_hours", "mean_hours", "least_hours", "ratio"):
            object.__setattr__(self, name, _number(name, getattr(self, name), least=0))
        if not self.least_hours < self.mean_hours < self.every_hours:
            raise ValueError(
                "opponent: least_hours must be less than mean_hours, and mean_hours less than "
                f"every_hours, but they are {self.least_hours}, {self.mean_hours} and "
                f"{self.every_hours}"
            )
        for name, hours in (
            ("mean_hours - least_hours", self.mean_hours - self.least_hours),
            ("every_hours - mean_hours", self.every_hours - self.mean_hours),
        ):
            if hours * STEPS_PER_HOUR < 1:
                raise ValueError(
                    f"opponent: {name} must be a step of the grid at least, 1 / {STEPS_PER_HOUR} "
                    f"hour, but is {hours:g}"
                )
        if self.ratio <= 0:
            raise ValueError(f"opponent: ratio must be above 0, but is {self.ratio}")
        super().__post_init__()
        if self.duration < self._least_cost:
            raise ValueError(
                f"opponent: the shortest attack lasts {self._least_cost} steps (least_hours and a "
                f"step), but the longest allowed is duration={self.duration}"
            )

    @property
    def least_steps(self) -> int:
        """Steps of the shortest attack, less one."""
        return int(self.least_hours * STEPS_PER_HOUR)

    @property
    def mean_duration(self) -> float:
        """See ``RandomOpponent``."""
        return min(self.mean_hours * STEPS_PER_HOUR, self.duration)

    @property
    def mean_interval(self) -> float:
        """See ``RandomOpponent``."""
        return max(super().mean_interval, self.every_hours * STEPS_PER_HOUR)

    @property
    def _back_to_back(self) -> bool:
        return True  # times and durations are drawn one after the other

    @property
    def _least_cost(self) -> int:
        return self.least_steps + 1


@dataclass(frozen=True, kw_only=True)
class AreaOpponent(GeometricOpponent):
    """A geometric opponent in each of several areas (``GeometricOpponentMultiArea``).

    ``lines`` are those of each area. As in grid2op, the lines taken out by all of them are one
    attack that is decided anew at each step, so no cooldown of a line tells that it is held out.
    """

    kind: ClassVar[str] = "areas"

    lines: tuple[tuple[str, ...], ...]  # type: ignore[assignment]

    def __post_init__(self) -> None:
        given = self.lines
        listed = isinstance(given, Sequence) and not isinstance(given, str)
        if not listed or any(isinstance(area, str) for area in given):
            raise ValueError(
                f"opponent: lines must be a list of lines for each area, but is {given!r}"
            )
        areas = tuple(_names(area, "lines of an area") for area in given)
        object.__setattr__(self, "lines", sum(areas, ()))
        super().__post_init__()
        object.__setattr__(self, "lines", areas)

    @property
    def _least_cost(self) -> int:
        return 1

    @property
    def all_lines(self) -> tuple[str, ...]:
        """Names of the lines that may be taken out."""
        return sum(self.lines, ())


Opponent = RandomOpponent  # every kind is one
KINDS: dict[str, type[RandomOpponent]] = {
    one.kind: one for one in (RandomOpponent, WeightedOpponent, GeometricOpponent, AreaOpponent)
}


def _names(given: Any, what: str) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise ValueError(f"opponent: {what} must be a list of line names, but is {given!r}")
    names = tuple(given)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        number = isinstance(wrong[0], int)
        hint = "; put names in quotes: YAML reads 3_4_6 as a number" if number else ""
        raise ValueError(f"opponent: {what} must be names, but hold {wrong[0]!r}{hint}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"opponent: {what} hold {twice[0]!r} twice")
    return names


def _number(name: str, value: Any, *, least: float) -> float:
    if not is_number(value) or not value >= least:
        raise ValueError(f"opponent: {name} must be a number of at least {least}, but is {value!r}")
    if value > _LARGEST:
        raise ValueError(f"opponent: {name} must be at most {_LARGEST:g}, but is {value:g}")
    return float(value)
