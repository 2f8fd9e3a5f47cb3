"""What the reference environment needs to know where actions change powers.

Shape letters: G generators.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.grid.observations import FullEncoder, ObservationEncoder
from envs.grid.rewards import RedispatchCostReward, Reward


def redispatch_target(observation: Any) -> np.ndarray:
    """Return ``[G]`` float32, MW that grid2op adds the next redispatching of a generator to.

    That is what actions asked of it so far, or, where none has, what grid2op itself made it give to
    balance the others. Without forecasts an observation does not tell who was asked; then whoever
    is to give something was.

    Args:
        observation: grid2op's.
    """
    kept = observation._env_internal_params.get("_dispatch_state")
    target = observation.target_dispatch
    asked = target != 0 if kept is None else kept["already_modified_gen"]
    return np.where(asked, target, observation.actual_dispatch)


def refuse_without_powers(encoder: ObservationEncoder, reward: Reward | None) -> None:
    """Refuse an observation or a reward that holds where nobody changes powers only.

    Args:
        encoder: of observations.
        reward: None for one of grid2op's.

    Raises:
        ValueError: it is ``full``, or ``redispatch_cost``.
    """
    if isinstance(encoder, FullEncoder):
        raise ValueError(
            "observation 'full' shows a grid on which nobody redispatches or curtails, and the "
            "action set does; take 'features' or 'graph'"
        )
    if isinstance(reward, RedispatchCostReward):
        raise ValueError(
            "reward 'redispatch_cost' is for grids on which nobody redispatches, and the action "
            "set does; take grid2op's own 'RedispReward'"
        )
