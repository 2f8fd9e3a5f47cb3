"""``agent=reconnect``: closes open lines."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from agents.agent import Infos
from agents.environments import VectorEnvironment
from agents.power_grid.baselines.base import BaselineAgent
from agents.power_grid.baselines.grid_binding import GridBinding
from envs import DO_NOTHING


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

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Agent.bind``; ValueError if the environment is not PowerGrid-v0."""
        self._binding.meet(env)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        state, catalogue = self._binding.state, self._binding.catalogue
        actions = np.full(len(state.rho), DO_NOTHING, dtype=np.int64)
        open_lines = ~state.line_status
        if active is not None:
            open_lines &= active[:, None]
        for index, line in np.argwhere(open_lines):
            # Legality is asked of the grid: a mask of distinct effects may drop this action where
            # another does the same.
            action = catalogue.switch_line_action[line]
            if actions[index] == DO_NOTHING and not catalogue.illegal_reason(action, state, index):
                actions[index] = action
        return actions
