"""Looks one step ahead at everything: the strongest simple operator, and the slowest."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from agents.base import Infos
from agents.baselines.base import DO_NOTHING
from agents.baselines.base import BaselineAgent
from agents.baselines.grid import GridBinding
from agents.environments import VectorEnvironment
from envs.state import GridState


class GreedyAgent(BaselineAgent):
    """Chooses the action with the least forecast highest loading.

    It looks at every legal action of distinct effect with the environment's ``simulate``. Doing
    nothing is chosen unless another is truly better; of equal others the first is taken.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        seed: not used.
        threshold: rho below which it does nothing without looking, as operators do; 0 always looks.
    """

    def __init__(
        self,
        *,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Discrete,
        seed: int = 0,
        threshold: float = 0.95,
    ) -> None:
        """Make the agent."""
        super().__init__(observation_space=observation_space, action_space=action_space, seed=seed)
        if not threshold >= 0.0:
            raise ValueError(f"threshold is {threshold}; expected a loading of 0 or more.")
        self._threshold = threshold
        self._binding = GridBinding("greedy")

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Agent.bind``; ValueError if the environment is not PowerGrid-v0."""
        self._binding.meet(env)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        state = self._binding.state
        num_envs = len(state.rho)
        looking = state.rho.max(axis=1) >= self._threshold
        if active is not None:
            looking &= active
        actions = np.full(num_envs, DO_NOTHING, dtype=np.int64)
        if not looking.any():
            return actions
        candidates: list[np.ndarray | None] = [None] * num_envs
        stressed = GridState(*(rows[looking] for rows in state))
        for index, mask in zip(
            np.flatnonzero(looking), self._binding.catalogue.distinct(stressed), strict=True
        ):
            candidates[index] = np.flatnonzero(mask)
        outlooks = self._binding.env.simulate(candidates)
        for index, (ids, outlook) in enumerate(zip(candidates, outlooks, strict=True)):
            if ids is None or outlook is None:
                continue
            assert ids[0] == DO_NOTHING  # the distinct mask always keeps it, first
            actions[index] = ids[int(np.argmin(outlook.rho_max))]  # the first of the least
        return actions
