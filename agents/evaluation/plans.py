"""The list of episodes that an evaluation plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_SEED = 20_190_106  # of the environments' resets; the same for all agents


@dataclass(frozen=True, kw_only=True)
class EpisodePlan:
    """An episode to play."""

    scenario: str  # "" where the environment has none
    seed: int


Group = tuple[EpisodePlan, ...]  # played side by side


def plan_episodes(
    scenario_names: Sequence[str] | None, *, episodes: int | None = None, seed: int = DEFAULT_SEED
) -> tuple[EpisodePlan, ...]:
    """Return what to play: each scenario once, or ``episodes`` episodes told apart by seed.

    Args:
        scenario_names: scenarios, or None for an environment without them.
        episodes: how many, of the first ``scenario_names`` where given; None for all of them.
        seed: of the first episode; the next ones follow by 1.

    Raises:
        ValueError: nothing to play, or more than there is.
    """
    if scenario_names is None:
        if episodes is None or episodes < 1:
            raise ValueError(f"episodes is {episodes}; at least 1 is needed without scenarios.")
        return tuple(EpisodePlan(scenario="", seed=seed + i) for i in range(episodes))
    if not scenario_names:
        raise ValueError("the list of scenarios is empty; at least 1 is needed.")
    count = len(scenario_names) if episodes is None else episodes
    if not 1 <= count <= len(scenario_names):
        raise ValueError(
            f"episodes is {episodes}; expected 1 to {len(scenario_names)}, the scenarios there are."
        )
    return tuple(
        EpisodePlan(scenario=name, seed=seed + i) for i, name in enumerate(scenario_names[:count])
    )
