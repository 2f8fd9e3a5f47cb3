"""Plays actions on grid2op's forecast, with and without losses of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.grid.state import Lookahead
from envs.opponents import losing

if TYPE_CHECKING:
    from grid2op.Action import BaseAction


def look_ahead(
    observation: Any, env: Any, actions: Sequence[BaseAction], losses: Sequence[int | None]
) -> Lookahead:
    """Return what the forecast says of K actions, each with the loss of each line.

    Args:
        observation: grid2op's, of the present state.
        env: grid2op's, whose observation it is.
        actions: K of them.
        losses: lines, by number; None for no loss.

    Returns:
        Loadings ``[K, len(losses), L]``, the highest of them and whether the game is over.
    """
    shape = (len(actions), len(losses))
    rho = np.full((*shape, len(observation.rho)), np.inf, dtype=np.float32)
    game_over = np.zeros(shape, dtype=np.bool_)
    for column, line in enumerate(losses):
        with losing(observation, env, line):
            for place, action in enumerate(actions):
                foreseen, _, over, _ = observation.simulate(action)
                game_over[place, column] = over
                if not over:
                    rho[place, column] = foreseen.rho
    return Lookahead(rho=rho, rho_max=rho.max(axis=-1), game_over=game_over)
