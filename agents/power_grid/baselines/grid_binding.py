"""Baselines that look at the grids that they play on."""

from __future__ import annotations

from typing import Annotated, Any

from agents.environments import VectorEnvironment
from agents.parts import KeywordsOf
from agents.power_grid.baselines.base import BaselineAgent
from agents.power_grid.grid_access import first_grid, grid_states
from agents.resumable import ResumableVectorEnv
from envs import ActionCatalogue, GridState
from powergrid_muzero.copies import Copyable


class GridBinding(Copyable):
    """What ``Agent.bind`` met; it does not travel with a copied or pickled agent."""

    _rebuilt = ("_env",)

    def __init__(self, agent: str) -> None:
        """Bind nothing yet.

        Args:
            agent: whose binding it is, for messages.
        """
        self._agent = agent
        self._env: VectorEnvironment | None = None

    def meet(self, env: VectorEnvironment) -> None:
        """Bind ``env``.

        Raises:
            ValueError: it is not of PowerGrid-v0.
        """
        grid = first_grid(env)
        if grid is None:
            assert isinstance(env, ResumableVectorEnv)
            raise ValueError(
                f"agent {self._agent} plays PowerGrid-v0 only; this environment is "
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
            raise ValueError(f"agent {self._agent} was not bound: call bind(env) before act().")
        return self._env

    @property
    def catalogue(self) -> ActionCatalogue:
        """The actions of every grid."""
        grid = first_grid(self.env)
        assert grid is not None  # meet() saw to it
        return grid.catalogue

    @property
    def state(self) -> GridState:
        """The present state of all B grids."""
        return grid_states(self.env)


class GridBaselineAgent(BaselineAgent):
    """A baseline that looks at its grids: ``bind`` it to them before ``act``."""

    kind: str  # its name in messages

    def __init__(self, **baseline: Annotated[Any, KeywordsOf(BaselineAgent)]) -> None:
        """Make the agent; see ``BaselineAgent``."""
        super().__init__(**baseline)
        self._binding = GridBinding(self.kind)

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Agent.bind``; ValueError if the environment is not PowerGrid-v0."""
        self._binding.meet(env)
