"""How a baseline reaches the grids that it plays on."""

from __future__ import annotations

import numpy as np

from agents.environments import VectorEnvironment
from envs.actions import ActionCatalogue
from envs.power_grid import PowerGridEnv
from envs.state import GridState
from envs.vector import PowerGridVectorEnv


class GridBinding:
    """What ``Agent.bind`` met; it does not travel with a pickled agent."""

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
        if not isinstance(env, PowerGridVectorEnv):
            for one in env.envs:
                if not isinstance(one.unwrapped, PowerGridEnv):
                    raise ValueError(
                        f"agent {self._agent} plays PowerGrid-v0 only; this environment is "
                        f"{type(one.unwrapped).__name__}. Elsewhere, random is a baseline."
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
        if isinstance(self.env, PowerGridVectorEnv):
            return self.env.catalogue
        return _grid(self.env, 0).catalogue

    @property
    def state(self) -> GridState:
        """The present state of all B grids."""
        if isinstance(self.env, PowerGridVectorEnv):
            return self.env.state
        states = [_grid(self.env, index).state for index in range(self.env.num_envs)]
        return GridState(*(np.concatenate(rows) for rows in zip(*states, strict=True)))

    def __getstate__(self) -> dict[str, str]:
        """Leave the environments behind."""
        return {"_agent": self._agent}

    def __setstate__(self, state: dict[str, str]) -> None:
        """Bind nothing."""
        self.__init__(state["_agent"])


def _grid(env: VectorEnvironment, index: int) -> PowerGridEnv:
    assert not isinstance(env, PowerGridVectorEnv)
    grid = env.envs[index].unwrapped
    assert isinstance(grid, PowerGridEnv)
    return grid
