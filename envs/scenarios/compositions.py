"""What recombined scenarios are made of: real periods, weeks or days, for loads, wind and sun."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from envs.scenarios.base import Scenario
from powergrid_muzero.names import choose

Period = tuple[int, int]  # (series, number of the week or day in it)


class Composition(NamedTuple):
    """What a scenario is made of: P real periods for each of loads, wind and sun."""

    split: str
    load: tuple[Period, ...]  # [P]
    wind: tuple[Period, ...]  # [P]
    sun: tuple[Period, ...]  # [P]

    @property
    def name(self) -> str:
        """Such as ``test-l03.12.21.30-w12.21.30.03-s21.30.03.12``: two digits for each period."""
        load, wind, sun = (
            ".".join(f"{series}{number}" for series, number in periods)
            for periods in (self.load, self.wind, self.sun)
        )
        return f"{self.split}-l{load}-w{wind}-s{sun}"


@dataclass(frozen=True, eq=False)
class Periods:
    """The real periods of a grid, and how scenarios are composed of them.

    Args:
        noun: what a period is, "week" or "day".
        splits: split -> its periods; no period is in two of "train", "val" and "test".
        places: P, periods in a scenario.
        lengths: split -> how many scenarios its fixed list has.
        more: how many times as many the list of more scenarios has.
        stream: what the fixed lists are drawn from, beside the name of the split.
        expected: in words, what a name must hold.
    """

    noun: str
    splits: Mapping[str, tuple[Period, ...]]
    places: int
    lengths: Mapping[str, int]
    more: int
    stream: str
    expected: str

    @property
    def all(self) -> tuple[Period, ...]:
        """Every period, in order."""
        return self.splits["all"]

    def parse(self, name: str) -> Composition:
        """Return what the scenario called ``name`` is made of.

        Raises:
            ValueError: not a name of this scheme, or periods that are not of the split.
        """
        match = _pattern(self.places).fullmatch(name)
        parts = {} if match is None else {p: _periods(match[p]) for p in ("load", "wind", "sun")}
        known = set(self.all)
        if match is None or any(not known.issuperset(periods) for periods in parts.values()):
            raise ValueError(
                f"unknown recombined scenario {name!r}: expected {self.expected}, such as "
                f"{self.names('train')[0]!r}"
            )
        split = choose("split", match["split"], self.splits)
        for part, periods in parts.items():
            foreign = [f"{s}{n}" for s, n in periods if (s, n) not in self.splits[split]]
            if foreign:
                allowed = ", ".join(f"{s}{n}" for s, n in self.splits[split])
                raise ValueError(
                    f"scenario {name!r}: {self.noun} {foreign[0]} of its {part} is not in split "
                    f"{split!r}, whose {self.noun}s are {allowed}"
                )
        return Composition(split, parts["load"], parts["wind"], parts["sun"])

    def names(self, split: str, *, more: bool = False) -> tuple[str, ...]:
        """Return the fixed list of ``split``, or the ``more`` times as many that follow it."""
        length = self.lengths[choose("split", split, self.splits)]
        if more:
            return _list(self, split, length + self.more * length)[length:]
        return _list(self, split, length)

    def draw(self, split: str, random: np.random.Generator) -> Composition:
        """Draw for each place the periods of loads, wind and sun: three different ones.

        Of two periods, the wind is not of that of the loads, and the sun of either.
        """
        periods = self.splits[choose("split", split, self.splits)]
        places = [_different(len(periods), random) for _ in range(self.places)]
        load, wind, sun = (tuple(periods[place[part]] for place in places) for part in range(3))
        return Composition(split, load, wind, sun)


def _different(count: int, random: np.random.Generator) -> list[int]:
    order = random.permutation(count)[:3].tolist()
    return order if count > 2 else [*order, int(random.integers(count))]


@lru_cache(maxsize=4)
def _pattern(places: int) -> re.Pattern[str]:
    codes = rf"[0-9]{{2}}(?:\.[0-9]{{2}}){{{places - 1}}}"
    return re.compile(rf"(?P<split>[a-z]+)-l(?P<load>{codes})-w(?P<wind>{codes})-s(?P<sun>{codes})")


def _periods(codes: str) -> tuple[Period, ...]:
    return tuple((int(code[0]), int(code[1])) for code in codes.split("."))


def digest(text: str) -> int:
    """Return a number of 32 bits that depends on ``text`` alone, to seed with."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


@lru_cache(maxsize=32)
def _list(periods: Periods, split: str, length: int) -> tuple[str, ...]:
    """Draw ``length`` scenarios of ``split`` so that all its periods count alike.

    In each round, of as many scenarios as there are periods, each period is at each of the places
    once the loads, once the wind and once the sun, and never two of them together (of two periods,
    never loads and wind). A longer list begins with a shorter one.
    """
    # RandomState's streams are frozen by numpy, Generator's are not: lists must never change
    random = np.random.RandomState(digest(f"{periods.stream}{split}"))
    members = periods.splits[split]
    names: dict[str, None] = {}
    while len(names) < length:
        places = [_three_apart(len(members), random) for _ in range(periods.places)]
        for member in range(len(members)):
            load, wind, sun = (
                tuple(members[place[part][member]] for place in places) for part in range(3)
            )
            names[Composition(split, load, wind, sun).name] = None
    return tuple(names)[:length]


def _three_apart(count: int, random: np.random.RandomState) -> tuple[np.ndarray, ...]:
    """Return three permutations of ``range(count)`` that agree nowhere; of two, the first two."""
    chosen: list[np.ndarray] = []
    while len(chosen) < 3:
        candidate = random.permutation(count)
        if len(chosen) == count or not any(np.any(candidate == other) for other in chosen):
            chosen.append(candidate)
    return tuple(chosen)


def foresee(
    series: np.ndarray, random: np.random.RandomState, error: float | np.ndarray
) -> np.ndarray:
    """Return the forecasts: row t is row t + 1 with an error; the last row foresees itself.

    Args:
        series: ``[T, N]``.
        random: where errors come from.
        error: standard deviation, per unit, of all columns or of each ``[N]``.
    """
    following = np.concatenate([series[1:], series[-1:]])
    return following * (1 + error * random.standard_normal(series.shape))


def read_only(**series: np.ndarray) -> dict[str, Any]:
    """Return the series as float32 that cannot be written to."""
    arrays: dict[str, Any] = {}
    for kind, values in series.items():
        arrays[kind] = values.astype(np.float32)
        arrays[kind].flags.writeable = False
    return arrays


@dataclass(frozen=True, eq=False)
class Variation:
    """How loads, wind and sun of a scenario are scaled."""

    load: np.ndarray  # [D] factors
    wind: float  # factor
    sun: float  # factor
    random: np.random.RandomState  # of how the dispatched generators share the rest


class Recipe(Protocol):
    """How the scenarios of some grids are made of real periods."""

    @property
    def periods(self) -> Periods:
        """What they are made of."""
        ...

    @property
    def grids(self) -> tuple[str, ...]:
        """Of those in the wheel, the ones that they are played on."""
        ...

    @property
    def num_loads(self) -> int:
        """D."""
        ...

    def fits(self, load_names: tuple[str, ...], generator_names: tuple[str, ...]) -> bool:
        """Return whether a grid of these loads and generators can play them."""
        ...

    def make(self, name: str, composition: Composition, variation: Variation | None) -> Scenario:
        """Return the scenario called ``name``; forecast errors are drawn from its name alone."""
        ...
