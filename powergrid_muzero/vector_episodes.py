"""Recorded episodes of vector environments, from which they are replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from powergrid_muzero.checks import is_integer

_TOLERANCE = 1e-4  # relative; a replay on another CPU may round differently


@dataclass
class Episode:
    """A reset and the actions since."""

    random_state: dict[str, Any] | None = None  # of the generator before the reset, None if seeded
    seed: int | None = None
    options: dict[str, Any] | None = None
    actions: list[int] = field(default_factory=list)
    started: bool = False

    def copy(self) -> Episode:
        """Return one that goes on by itself."""
        return replace(self, actions=list(self.actions))

    def to_plain(self, observation: Any) -> dict[str, Any]:
        """Return it as plain Python, with the observation that it led to."""
        return {
            "random_state": self.random_state,
            "seed": self.seed,
            "options": self.options,
            "actions": list(self.actions),
            "observation": observation,
        }


def as_plain(value: Any) -> Any:
    """Return ``value`` with lists for arrays and Python's numbers and strings for numpy's."""
    if isinstance(value, Mapping):
        return {key: as_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value


def same_observation(present: Any, saved: Any) -> bool:
    """Whether a replay led to the observation that was saved, both as ``as_plain`` returns them."""
    if isinstance(present, dict):
        return present.keys() == saved.keys() and all(
            same_observation(value, saved[key]) for key, value in present.items()
        )
    there, was = np.array(present), np.array(saved)
    return there.shape == was.shape and np.allclose(there, was, rtol=_TOLERANCE, atol=_TOLERANCE)


def saved_episodes(state: Mapping[str, Any], num_envs: int, autoreset: str) -> list[Any]:
    """Return the episodes in the ``state_dict`` of a vector environment, B of them.

    Raises:
        ValueError: it is no such state, or of another number of environments or another autoreset
            mode.
    """
    _check_parts("the saved state", state, ("autoreset", "simulator_calls", "episodes"))
    episodes = state["episodes"]
    if not isinstance(episodes, list):
        raise ValueError(f"the saved state's episodes are no list, but {type(episodes).__name__}")
    parts = tuple(one.name for one in fields(Episode) if one.name != "started")
    for number, episode in enumerate(episodes):
        name = f"episode {number} of the saved state"
        _check_parts(name, episode, (*parts, "observation"))
        if not isinstance(episode["random_state"], Mapping | None):
            raise ValueError(f"{name} has no state of a random generator as its random_state")
        if not all(map(is_integer, np.asarray(episode["actions"]).ravel())):
            raise ValueError(f"{name} has other actions than integers")
    if len(episodes) != num_envs:
        raise ValueError(
            f"the saved state is of {len(episodes)} environments; this has {num_envs}. "
            "Resume with the same num_envs."
        )
    if state["autoreset"] != autoreset:
        raise ValueError(
            f"the saved state is of autoreset {state['autoreset']}; this has {autoreset}."
        )
    if np.shape(state["simulator_calls"]) != (num_envs,):
        raise ValueError(f"the saved state's simulator_calls are not {num_envs} integers")
    return episodes


def _check_parts(name: str, saved: Any, parts: tuple[str, ...]) -> None:
    """Raise ValueError unless ``saved`` is a mapping that has ``parts``."""
    if not isinstance(saved, Mapping):
        raise ValueError(
            f"{name} is a {type(saved).__name__}; expected what state_dict() returned, a dict."
        )
    if missing := [part for part in parts if part not in saved]:
        raise ValueError(f"{name} lacks {', '.join(missing)}: state_dict() did not return it.")
