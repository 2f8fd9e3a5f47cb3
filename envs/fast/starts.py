"""Starts episodes of the vector environment, drawing as ``PowerGridEnv.reset`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from envs.reference.starts import draw_start
from envs.scenarios import Scenario, ScenarioSource
from powergrid_muzero.checks import check_attack_seed
from powergrid_muzero.vector_episodes import as_plain


class Starts:
    """A random generator for each of B grids, and what is drawn from it.

    Args:
        scenarios: where scenarios come from.
        split: that they are drawn from.
        start: "beginning" or "random".
        num_grids: B.
    """

    def __init__(self, scenarios: ScenarioSource, *, split: str, start: str, num_grids: int):
        self._scenarios = scenarios
        self._split = split
        self._start = start
        self._generators: list[np.random.Generator | None] = [None] * num_grids

    def _generator(self, grid: int) -> np.random.Generator:
        found = self._generators[grid]
        if found is None:
            found = self._generators[grid] = seeding.np_random()[0]
        return found

    def seed(self, grid: int, seed: int) -> None:
        """Start the generator of ``grid`` anew."""
        self._generators[grid] = seeding.np_random(seed)[0]

    def random_state(self, grid: int) -> dict[str, Any]:
        """Return the state of the generator of ``grid`` as plain Python."""
        return as_plain(self._generator(grid).bit_generator.state)

    def set_random_state(self, grid: int, state: Mapping[str, Any]) -> None:
        """Put the generator of ``grid`` into ``state``."""
        bit_generator = getattr(np.random, state["bit_generator"])()
        bit_generator.state = state
        self._generators[grid] = np.random.Generator(bit_generator)

    def draw(self, grid: int, options: Mapping[str, Any] | None) -> tuple[Scenario, int]:
        """Return the scenario that ``grid`` plays next and the row of it to start at.

        Args:
            grid: which.
            options: of the reset: "scenario" and "first_step"; what is left out is drawn.

        Raises:
            ValueError: an unknown option or scenario, or a row that is no count.
        """
        generator = self._generator(grid)
        return draw_start(
            self._scenarios, options or {}, generator, split=self._split, start=self._start
        )

    def draw_attack_seed(self, grid: int, options: Mapping[str, Any] | None) -> int:
        """Return what the attacks of the episode follow from; the reference seeds grid2op with it.

        Raises:
            ValueError: the option of that name is no seed.
        """
        drawn = int(self._generator(grid).integers(2**31 - 1))
        return check_attack_seed((options or {}).get("attack_seed", drawn))
