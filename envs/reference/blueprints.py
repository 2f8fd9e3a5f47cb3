"""Layout and action catalogue of a grid, without an environment."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from grid2op.Reward import ConstantReward

from envs.grid.actions import ActionCatalogue
from envs.grid.state import GridLayout
from envs.reference.grid2op_state import grid_layout
from envs.reference.prototypes import new_grid2op


class Blueprint(NamedTuple):
    """A grid at rest."""

    layout: GridLayout
    catalogue: ActionCatalogue


@lru_cache(maxsize=8)
def grid_blueprint(grid: str) -> Blueprint:
    """Return the blueprint of ``grid``, made once per process (1 s).

    Args:
        grid: grid2op name or folder.

    Raises:
        ValueError: no such grid; the message names the nearest one.
    """
    env = new_grid2op(grid, parameters={}, reward_class=ConstantReward)
    try:
        layout = grid_layout(env, name=grid)
        return Blueprint(layout, ActionCatalogue(env.action_space, layout))
    finally:
        env.close()
