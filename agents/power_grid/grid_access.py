"""Access to the power grids under a vector environment, whichever simulator plays them.

Here nothing of ``envs`` is imported: evaluations of other environments do without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from agents.environments import VectorEnvironment
from agents.resumable import ResumableVectorEnv, name_of

if TYPE_CHECKING:
    from envs import GridState, PowerGridEnv, PowerGridVectorEnv


def fast_grids(env: VectorEnvironment) -> PowerGridVectorEnv | None:
    """Return ``env`` if the fast simulator plays its grids, None otherwise."""
    grid = first_grid(env)
    return cast("PowerGridVectorEnv", env) if grid is env else None


def require_fast_grids(env: VectorEnvironment, part: str, *, instead: str) -> PowerGridVectorEnv:
    """Return ``env``, whose grids the fast simulator plays.

    Args:
        env: the environment.
        part: what plans in it, for the message: "agent/model=simulator".
        instead: what to take where another simulator plays.

    Raises:
        ValueError: another one does, or these are no power grids.
    """
    grids = fast_grids(env)
    if grids is None:
        raise ValueError(
            f"{part} plans in the fast simulator of PowerGrid-v0 only, but this is "
            f"{played_name(env)}, played one by one: set env.simulator=lightsim2grid, or take "
            f"{instead}"
        )
    return grids


def first_grid(env: VectorEnvironment) -> PowerGridVectorEnv | PowerGridEnv | None:
    """Return what knows the grid's layout and catalogue; None if these are no power grids."""
    # all single environments are of one recipe
    first = env.envs[0].unwrapped if isinstance(env, ResumableVectorEnv) else env
    return cast("PowerGridEnv", first) if hasattr(first, "catalogue") else None


def grid_states(env: VectorEnvironment) -> GridState:
    """Return the present state of all B grids.

    Raises:
        ValueError: these are no power grids.
    """
    grid = first_grid(env)
    if grid is None:
        raise ValueError(f"{played_name(env)} is no power grid: it has no grid state")
    if not isinstance(env, ResumableVectorEnv):
        return grid.state
    states = [cast("PowerGridEnv", one.unwrapped).state for one in env.envs]
    return type(states[0])(*(np.concatenate(rows) for rows in zip(*states, strict=True)))


def played_name(env: VectorEnvironment) -> str:
    """Return the id of the environments that are played."""
    return name_of(env.envs[0]) if isinstance(env, ResumableVectorEnv) else type(env).__name__
