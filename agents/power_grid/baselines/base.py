"""The base classes of the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import gymnasium as gym

from agents.agent import Agent
from agents.environments import VectorEnvironment
from agents.parts import KeywordsOf
from agents.power_grid.grid_access import first_grid, grid_states
from agents.resumable import ResumableVectorEnv

if TYPE_CHECKING:
    from envs import ActionCatalogue, GridState


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


class GridBaselineAgent(BaselineAgent):
    """A baseline that looks at its grids: ``bind`` it to them before ``act``."""

    kind: str  # its name in messages
    _rebuilt = ("_env",)

    def __init__(self, **baseline: Annotated[Any, KeywordsOf(BaselineAgent)]) -> None:
        """Make the agent; see ``BaselineAgent``."""
        super().__init__(**baseline)
        self._env: VectorEnvironment | None = None

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Agent.bind``.

        Raises:
            ValueError: it is not of PowerGrid-v0.
        """
        grid = first_grid(env)
        if grid is None:
            assert isinstance(env, ResumableVectorEnv)
            raise ValueError(
                f"agent {self.kind} plays PowerGrid-v0 only; this environment is "
                f"{type(env.envs[0].unwrapped).__name__}. Elsewhere, random is a baseline."
            )
        self._env = env

    @property
    def env(self) -> VectorEnvironment:
        """The bound vector environment.

        Raises:
            ValueError: there is none.
        """
        if self._env is None:
            raise ValueError(f"agent {self.kind} was not bound: call bind(env) before act().")
        return self._env

    @property
    def catalogue(self) -> ActionCatalogue:
        """The actions of every grid."""
        grid = first_grid(self.env)
        assert grid is not None  # bind() saw to it
        return grid.catalogue

    @property
    def state(self) -> GridState:
        """The present state of all B grids."""
        return grid_states(self.env)
