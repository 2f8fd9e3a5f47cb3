"""Puts lines back: the cheapest thing an operator does."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from agents.base import Infos
from agents.baselines.base import DO_NOTHING
from agents.baselines.base import BaselineAgent
from agents.baselines.grid import GridBinding
from agents.environments import ResumableVectorEnv


class ReconnectAgent(BaselineAgent):
    """Closes an open line at its former busbars when that is legal; else does nothing.

    Where several can be closed, the first in the grid's order is.
    """

    def __init__(
        self,
        *,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Discrete,
        seed: int = 0,
    ) -> None:
        """Make the agent; see ``BaselineAgent``."""
        super().__init__(observation_space=observation_space, action_space=action_space, seed=seed)
        self._binding = GridBinding("reconnect")

    def bind(self, env: ResumableVectorEnv) -> None:
        """See ``Agent.bind``; ValueError if the environment is not PowerGrid-v0."""
        self._binding.meet(env)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        grids = self._binding.grids
        actions = np.full(len(grids), DO_NOTHING, dtype=np.int64)
        for index, grid in enumerate(grids):
            if active is not None and not active[index]:
                continue
            # Legality is asked of the grid: a mask of distinct effects may drop this action where
            # another does the same.
            open_lines = np.flatnonzero(~grid.state.line_status[0])
            for action in grid.catalogue.switch_line_action[open_lines]:
                if not grid.catalogue.illegal_reason(action, grid.state):
                    actions[index] = action
                    break
        return actions
