"""What an episode of the vector environment was made of, so that it can be played again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np


@dataclass
class Episode:
    """A reset and the actions since."""

    random_state: dict[str, Any] | None = None  # of the generator before the reset, None if seeded
    seed: int | None = None
    options: dict[str, Any] | None = None
    actions: list[int] = field(default_factory=list)
    started: bool = False

    def to_plain(self, observation: Any) -> dict[str, Any]:
        """Return it as plain Python, with the observation that it led to."""
        return {
            "random_state": self.random_state,
            "seed": self.seed,
            "options": self.options,
            "actions": list(self.actions),
            "observation": observation,
        }


def random_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the state of a generator as plain Python."""
    return _plain(generator.bit_generator.state)


def generator_from(state: Mapping[str, Any]) -> np.random.Generator:
    """Return a generator in ``state``."""
    bit_generator = getattr(np.random, state["bit_generator"])()
    bit_generator.state = state
    return np.random.Generator(bit_generator)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value
