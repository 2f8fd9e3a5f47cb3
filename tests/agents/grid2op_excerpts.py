"""Short pieces of real scenarios: ten in which lines overload, and one that stays calm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from envs.scenarios import RecombinedSource, Scenario
from powergrid_muzero.names import choose

STEPS = 60
# scenario of the test split, row where the piece begins; doing nothing fails soon in all but one
PIECES = (
    ("test-l21.03.30.30-w30.30.21.12-s03.21.03.21", 494),
    ("test-l21.12.21.21-w30.03.03.30-s12.30.30.03", 490),
    ("test-l03.30.30.12-w30.03.12.30-s12.12.03.21", 498),
    ("test-l21.12.12.30-w12.30.21.12-s30.21.30.03", 780),
    ("test-l03.30.03.03-w12.03.12.30-s30.12.30.12", 785),
    ("test-l03.03.12.12-w12.30.21.03-s21.21.03.21", 764),
    ("test-l30.12.12.12-w21.21.30.21-s12.03.21.03", 1075),
    ("test-l30.21.03.21-w21.12.30.03-s03.03.21.12", 1070),
    ("test-l12.21.21.21-w03.12.03.03-s21.30.12.30", 1510),
    ("test-l12.03.21.03-w03.21.03.21-s21.30.12.30", 1515),
    ("test-l21.03.30.30-w30.30.21.12-s03.21.03.21", 100),
)
NAMES = tuple(f"{index:02}-from-{row}" for index, (_, row) in enumerate(PIECES))
STRESSED, CALM = NAMES[:-1], NAMES[-1]


@dataclass(frozen=True)
class Excerpts:
    """A source of the pieces; all splits are the same."""

    def names(self, split: str) -> tuple[str, ...]:
        del split
        return NAMES

    def draw(self, split: str, rng: np.random.Generator) -> str:
        return str(rng.choice(self.names(split)))

    def load(self, name: str) -> Scenario:
        return _load(choose("excerpt", name, NAMES))


@lru_cache
def _load(name: str) -> Scenario:
    whole, row = PIECES[NAMES.index(name)]
    scenario = RecombinedSource().load(whole)
    rows = slice(row, row + STEPS + 1)
    series = {
        key: value[rows] for key, value in vars(scenario).items() if isinstance(value, np.ndarray)
    }
    start = scenario.start + np.timedelta64(row * scenario.minutes_per_step, "m")
    return replace(scenario, name=name, start=start, **series)
