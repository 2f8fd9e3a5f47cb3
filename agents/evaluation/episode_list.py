"""The list of episodes that an evaluation plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_SEED = 20_190_106  # of the environments' resets; the same for all agents


@dataclass(frozen=True, kw_only=True)
class EpisodeSpec:
    """An episode to play."""

    scenario: str  # "" where the environment has none
    seed: int


Group = tuple[EpisodeSpec, ...]  # played side by side


def list_episodes(
    scenario_names: Sequence[str] | None,
    *,
    first: int = 0,
    episodes: int | None = None,
    seed: int = DEFAULT_SEED,
) -> tuple[EpisodeSpec, ...]:
    """Return what to play: each scenario once, or ``episodes`` episodes told apart by seed.

    An episode's seed follows from its number in the whole list, so a part of the list has the
    episodes that it has in the whole.

    Args:
        scenario_names: scenarios, or None for an environment without them.
        first: number of the first episode to play, from 0 on.
        episodes: how many from there on; None for the rest of ``scenario_names``.
        seed: of episode 0; the next ones follow by 1.

    Raises:
        ValueError: nothing to play, or more than there is.
    """
    if scenario_names is None:
        if episodes is None or episodes < 1:
            raise ValueError(f"episodes is {episodes}; at least 1 is needed without scenarios.")
        return tuple(
            EpisodeSpec(scenario="", seed=seed + i) for i in range(first, first + episodes)
        )
    if not scenario_names:
        raise ValueError("the list of scenarios is empty; at least 1 is needed.")
    if not 0 <= first < len(scenario_names):
        raise ValueError(
            f"first is {first}; expected 0 to {len(scenario_names) - 1}, the numbers of the "
            "scenarios there are."
        )
    most = len(scenario_names) - first
    count = most if episodes is None else episodes
    if not 1 <= count <= most:
        there = "the scenarios there are" if not first else f"the scenarios from number {first} on"
        raise ValueError(f"episodes is {episodes}; expected 1 to {most}, {there}.")
    return tuple(
        EpisodeSpec(scenario=scenario_names[i], seed=seed + i) for i in range(first, first + count)
    )
