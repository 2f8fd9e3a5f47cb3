"""How a baseline reaches the grids that it plays on."""

from __future__ import annotations

from agents.environments import ResumableVectorEnv
from envs.power_grid import PowerGridEnv


def bound_grids(env: ResumableVectorEnv, agent: str) -> list[PowerGridEnv]:
    """Return the grids under a vector environment.

    Args:
        env: the vector environment.
        agent: who asks, for the message.

    Raises:
        ValueError: it is not of PowerGrid-v0.
    """
    grids = []
    for one in env.envs:
        grid = one.unwrapped
        if not isinstance(grid, PowerGridEnv):
            raise ValueError(
                f"agent {agent} plays PowerGrid-v0 only; this environment is "
                f"{type(grid).__name__}. Elsewhere, random is a baseline."
            )
        grids.append(grid)
    return grids


class GridBinding:
    """What ``Agent.bind`` met; it does not travel with a pickled agent."""

    def __init__(self, agent: str) -> None:
        """Bind nothing yet.

        Args:
            agent: whose binding it is, for messages.
        """
        self._agent = agent
        self._env: ResumableVectorEnv | None = None
        self._grids: list[PowerGridEnv] = []

    def meet(self, env: ResumableVectorEnv) -> None:
        """Bind ``env``.

        Raises:
            ValueError: it is not of PowerGrid-v0.
        """
        self._grids = bound_grids(env, self._agent)
        self._env = env

    @property
    def env(self) -> ResumableVectorEnv:
        """The bound vector environment.

        Raises:
            ValueError: there is none.
        """
        if self._env is None:
            raise ValueError(f"agent {self._agent} was not bound: call bind(env) before act().")
        return self._env

    @property
    def grids(self) -> list[PowerGridEnv]:
        """The B grids of the bound vector environment; ValueError if there is none."""
        assert self.env is not None
        return self._grids

    def __getstate__(self) -> dict[str, str]:
        """Leave the environments behind."""
        return {"_agent": self._agent}

    def __setstate__(self, state: dict[str, str]) -> None:
        """Bind nothing."""
        self.__init__(state["_agent"])
