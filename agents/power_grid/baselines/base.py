"""The base class of the baselines."""

from __future__ import annotations

import gymnasium as gym

from agents.agent import Agent


class BaselineAgent(Agent):
    """An agent without weights, made for the spaces of one environment."""

    def __init__(
        self,
        *,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Discrete,
        seed: int = 0,
    ) -> None:
        """Make the agent.

        Args:
            observation_space: of one environment.
            action_space: of one environment, ``Discrete(A)``.
            seed: of what the agent draws at random, if anything.
        """
        self.observation_space = observation_space
        self.num_actions = int(action_space.n)
        self.seed = seed
