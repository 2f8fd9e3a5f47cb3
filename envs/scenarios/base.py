"""What a scenario is, and what a place that scenarios come from must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Protocol

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Scenario:
    """Loads and generation of one grid over time; row 0 is the state at reset.

    T rows make T - 1 steps. Forecast row t is what was foreseen at row t for row t + 1. Columns are
    in the grid's own order (``GridLayout.load_names``, ``GridLayout.generator_names``). Arrays are
    float32 and read-only: every environment of a process shares them.
    """

    name: str  # says exactly what the scenario is made of; the source rebuilds it from this alone
    load_p: np.ndarray  # [T, D] MW
    load_q: np.ndarray  # [T, D] MVAr
    prod_p: np.ndarray  # [T, G] MW
    prod_v: np.ndarray  # [T, G] kV
    load_p_forecast: np.ndarray  # [T, D] MW
    load_q_forecast: np.ndarray  # [T, D] MVAr
    prod_p_forecast: np.ndarray  # [T, G] MW
    prod_v_forecast: np.ndarray  # [T, G] kV
    start: np.datetime64  # wall clock of row 0, minutes
    minutes_per_step: int = 5
    maintenance: np.ndarray | None = None  # [T, L] bool, planned outages; None for none
    hazards: np.ndarray | None = None  # [T, L] bool, unplanned outages; None for none

    def __deepcopy__(self, memo: dict[int, Any]) -> Scenario:
        """Return itself: nothing in it can change, and grid2op deep-copies environments."""
        return self

    @property
    def num_steps(self) -> int:
        """Steps that can be played: one less than the rows."""
        return len(self.load_p) - 1


class ScenarioSource(Protocol):
    """Where scenarios come from. Implementations are cheap to make, picklable, and cache loads."""

    def names(self, split: str) -> tuple[str, ...]:
        """Return the fixed list that evaluation plays for ``split`` ("train", "val", "test")."""
        ...

    def draw(self, split: str, rng: np.random.Generator) -> str:
        """Return the name of a scenario of ``split``, drawn at random (training)."""
        ...

    def load(self, name: str) -> Scenario:
        """Return scenario ``name``; ValueError names the nearest one if there is none."""
        ...
