"""Scenarios recombined of real periods: months on 14 substations, three days on 36.

What they are made of is in ``sandbox_months`` and ``real_days``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from envs.scenarios.base import Scenario, check_scenario_name
from envs.scenarios.compositions import Recipe
from envs.scenarios.grid2op_grids import grid_columns
from envs.scenarios.real_days import TRACK_1, WCCI_2020
from envs.scenarios.sandbox_months import SandboxMonths
from powergrid_muzero.checks import check_flag

SANDBOX = SandboxMonths()
RECIPES: tuple[Recipe, ...] = (SANDBOX, WCCI_2020, TRACK_1)
_TOO_LITTLE = {  # what ships with the other large grids
    "rte_case118_example": "one month, in which no line comes near its limit",
    "l2rpn_idf_2023": "twice two days",
    "l2rpn_wcci_2022_dev": "one day",
}


def recipe_of(scenarios: str, grid: str) -> Recipe:
    """Return how scenarios are made for ``grid``.

    Args:
        scenarios: the source's name, for the message.
        grid: the grid that they are to be played on.

    Raises:
        ValueError: its loads and generators are not those of real periods that ship.
    """
    for recipe in RECIPES:
        if grid in recipe.grids:
            return recipe
    grids = ", ".join(grid for recipe in RECIPES for grid in recipe.grids)
    if grid in _TOO_LITTLE:
        raise ValueError(
            f"scenarios {scenarios!r} need several real days, and with grid {grid!r} ships only "
            f"{_TOO_LITTLE[grid]}: use 'bundled' (that) or 'dataset' (grid2op's download, or your "
            f"own folder). Grids that fit: {grids}"
        )
    columns = grid_columns(grid)
    for recipe in RECIPES:
        if recipe.fits(columns.load_names, columns.generator_names):
            return recipe
    raise ValueError(
        f"scenarios {scenarios!r} are made for the sandbox's 14 substations and the 36 of "
        f"l2rpn_wcci_2020, and grid {grid!r} has other loads or generators: use 'bundled' (what "
        f"ships with the grid) or 'dataset' (grid2op's download, or your own folder). "
        f"Grids that fit: {grids}"
    )


@lru_cache(maxsize=64)  # 2 MB each
def build(recipe: Recipe, name: str) -> Scenario:
    """Build the scenario called ``name`` (8 ms; the latest 64 are kept and shared)."""
    return recipe.make(name, recipe.periods.parse(name), None)


@dataclass(frozen=True)
class RecombinedSource:
    """Scenarios of real weeks (14 substations, four each) or days (36 substations, three each).

    Splits: "train", "val", "test", which share no real week or day, and "all", made of all, for
    comparison with values published on the downloaded data set, or with the real days.

    Args:
        grid: the grid that they are played on.
        more: list other scenarios, and more of them, than the fixed lists do: for comparisons that
            those do not settle, or when they have been looked at too often.
    """

    grid: str = SANDBOX.grids[0]
    more: bool = False

    def __post_init__(self) -> None:
        """Refuse a grid that no real periods fit."""
        check_flag("more", self.more)
        recipe_of("recombined", self.grid)

    @property
    def recipe(self) -> Recipe:
        """How the scenarios are made."""
        return recipe_of("recombined", self.grid)

    def names(self, split: str) -> tuple[str, ...]:
        """Return the fixed list of ``split``.

        On 14 substations 64 of train, 32 of val, 64 of test, 40 of all; with ``more``, the four
        times as many others that follow those. On 36, 32, 16, 16 and 40, and three times as many.
        """
        return self.recipe.periods.names(split, more=self.more)

    def draw(self, split: str, rng: np.random.Generator) -> str:
        """Return a random scenario of ``split``, out of all that its weeks or days allow.

        Of train there are (8 x 7 x 6)^4 on 14 substations, about 1e10, and (4 x 3 x 2)^3 on 36,
        14 thousand.
        """
        return self.recipe.periods.draw(split, rng).name

    def load(self, name: str) -> Scenario:
        """Return the scenario called ``name``; ValueError says what a name must be."""
        return build(self.recipe, check_scenario_name(name))
