"""The power grids under a vector environment, whichever simulator plays them."""

from __future__ import annotations

import numpy as np

from agents.environments import VectorEnvironment
from envs.power_grid import PowerGridEnv
from envs.state import GridState
from envs.vector import PowerGridVectorEnv


def first_grid(env: VectorEnvironment) -> PowerGridVectorEnv | PowerGridEnv | None:
    """Return what knows the grid's layout and catalogue; None if these are no power grids."""
    if isinstance(env, PowerGridVectorEnv):
        return env
    first = env.envs[0].unwrapped  # all are of one recipe
    return first if isinstance(first, PowerGridEnv) else None


def grid_states(env: VectorEnvironment) -> GridState:
    """Return the present state of all B grids.

    Raises:
        ValueError: these are no power grids.
    """
    if isinstance(env, PowerGridVectorEnv):
        return env.state
    states = []
    for one in env.envs:
        grid = one.unwrapped
        if not isinstance(grid, PowerGridEnv):
            raise ValueError(f"{type(grid).__name__} is no power grid: it has no grid state")
        states.append(grid.state)
    return GridState(*(np.concatenate(rows) for rows in zip(*states, strict=True)))
