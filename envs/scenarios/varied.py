"""Recombined scenarios with loads, wind and sun scaled at random.

The train split has eight real weeks, and an agent that has seen only those knows few of the flows
that other weeks bring. So training draws months that are scaled: every load by a factor of its own
around a common one, wind and sun by theirs, and the dispatched generators share the rest unevenly.
The real weeks are those of the split, so nothing of another one is used; evaluation plays the plain
months (``recombined``) unless it is told otherwise. The fixed lists, each plain month varied once,
are a harder test than the plain ones.

What a name means never changes: factors and shares are drawn from it alone, within the ranges
below. Wind stops at its plant's maximum. The three dispatched generators keep their shares whatever
is asked of them, as the equal thirds of the plain months do: so load grows into the lines the way
it does there, which is what an agent has to learn.

Measured on 812 drawn months of the four splits, and on their plain ones in brackets: loads sum to
185 to 335 MW (204 to 301), one load is 0.81 to 1.25 times the plain one, wind and sun leave 116 to
336 MW (143 to 303), and no dispatched generator makes less than 31 MW. In 44 % of the months one of
them is at times asked for more than its nominal maximum, by 50 % at most: a stress test of the
lines, not a dispatch plan. A plain month asks for 0.1 % more than it at most. Wider ranges teach
less: most decisions are then about months beyond saving.

On the list of val, greedy look-ahead under an idle gate of 0.95 survives 95.9 % of the steps and
completes 93.8 % of the months (plain: 100 % of both). Doing nothing survives 21.3 % and completes
6.2 % (plain: 17.6 % and none).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from envs.scenarios.base import Scenario, check_scenario_name
from envs.scenarios.compositions import Recipe, Variation, digest
from envs.scenarios.recombined import SANDBOX, RecombinedSource, recipe_of
from envs.scenarios.recombined import build as build_plain
from powergrid_muzero.checks import check_flag

PLAIN_SHARE = 0.2  # of the scenarios drawn, left as they are
LOAD_RANGE = (0.92, 1.08)  # of the common factor of all loads
LOAD_SPREAD = 0.05  # of the logarithm of each load's own factor
WIND_RANGE = (0.6, 1.2)  # of the factor of the wind
SUN_RANGE = (0.6, 1.2)  # of the factor of the sun; the plants' maxima are far
NUMBERS = 2**31  # variations of each scenario

_NAME = re.compile(r"(?P<plain>.+)-x(?P<number>0|[1-9][0-9]*)")


@lru_cache(maxsize=64)  # 2 MB each
def build(recipe: Recipe, name: str) -> Scenario:
    """Build the varied scenario called ``name``: that of a recombined one, "-x" and a number.

    Raises:
        ValueError: not such a name.
    """
    composition = recipe.periods.parse(_plain_name(recipe, name))
    # apart from the stream of the forecast errors, and frozen by numpy as that is
    random = np.random.RandomState(digest(f"factors of {name}"))
    own = np.exp(LOAD_SPREAD * random.standard_normal(recipe.num_loads))
    variation = Variation(
        load=own * random.uniform(*LOAD_RANGE),
        wind=random.uniform(*WIND_RANGE),
        sun=random.uniform(*SUN_RANGE),
        random=random,
    )
    return recipe.make(name, composition, variation)


def _plain_name(recipe: Recipe, name: str) -> str:
    """Return the recombined scenario that ``name`` varies."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"unknown varied scenario {name!r}: expected the name of a recombined scenario, '-x' "
            f"and a number, such as {recipe.periods.names('train')[0] + '-x7'!r}"
        )
    if int(match["number"]) >= NUMBERS:
        raise ValueError(f"scenario {name!r}: the number after '-x' must be at most {NUMBERS - 1}")
    return match["plain"]


@dataclass(frozen=True)
class VariedSource:
    """Recombined scenarios scaled at random: months on 14 substations, three days on 36.

    Splits are those of ``RecombinedSource``: "train", "val", "test" and "all".

    Args:
        grid: the grid that they are played on.
        more: vary those of the longer lists, see ``RecombinedSource``.
    """

    grid: str = SANDBOX.grids[0]
    more: bool = False

    def __post_init__(self) -> None:
        """Refuse a grid that no real periods fit."""
        check_flag("more", self.more)
        recipe_of("varied", self.grid)

    def names(self, split: str) -> tuple[str, ...]:
        """Return the fixed list of ``split``: each recombined one of its list, varied once."""
        plain = RecombinedSource(self.grid, self.more).names(split)
        return tuple(f"{name}-x{number}" for number, name in enumerate(plain))

    def draw(self, split: str, rng: np.random.Generator) -> str:
        """Return a random scenario of ``split``; four of five are varied."""
        plain = RecombinedSource(self.grid).draw(split, rng)
        if rng.random() < PLAIN_SHARE:
            return plain
        return f"{plain}-x{rng.integers(NUMBERS)}"

    def load(self, name: str) -> Scenario:
        """Return the scenario called ``name``, plain or varied; ValueError says what it must be."""
        check_scenario_name(name)
        recipe = recipe_of("varied", self.grid)
        return build(recipe, name) if "-x" in name else build_plain(recipe, name)
