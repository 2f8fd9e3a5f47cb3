"""An hour and a half of a scenario on 36 substations, in which doing nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from envs.scenarios import RecombinedSource, Scenario

NAME, ROW, STEPS = "test-l22.22.12-w12.12.22-s22.22.12", 212, 18  # doing nothing ends at step 221


@dataclass(frozen=True)
class Piece:
    """A source of that piece alone; all splits are the same."""

    grid: str

    def names(self, split: str) -> tuple[str, ...]:
        """Return its name."""
        del split
        return (NAME,)

    def draw(self, split: str, rng: np.random.Generator) -> str:
        """Return its name."""
        del split, rng
        return NAME

    def load(self, name: str) -> Scenario:
        """Return the piece."""
        whole = RecombinedSource(self.grid).load(name)
        rows = slice(ROW, ROW + STEPS + 1)
        series = {
            key: value[rows] for key, value in vars(whole).items() if isinstance(value, np.ndarray)
        }
        start = whole.start + np.timedelta64(ROW * whole.minutes_per_step, "m")
        return replace(whole, start=start, **series)
