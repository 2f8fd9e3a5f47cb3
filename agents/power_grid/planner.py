"""``agent=planner``: plans several actions ahead in the simulator."""

from __future__ import annotations

from typing import Annotated, Any

import gymnasium as gym
import numpy as np

from agents.agent import Infos
from agents.environments import VectorEnvironment
from agents.parts import KeywordsOf
from agents.power_grid.baselines.base import GridBaselineAgent
from agents.power_grid.grid_access import require_fast_grids
from agents.power_grid.grid_planner import GridPlanner
from envs import DO_NOTHING


class PlannerAgent(GridBaselineAgent):
    """Plans as ``GridPlanner`` does, in the vector environment's own simulator.

    So it needs ``env.simulator=lightsim2grid``. Ask it regularly in calm (``wrappers=preventive``):
    under an idle gate alone it cannot prevent.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        seed: not used.
        planner: of ``GridPlanner``.

    Raises:
        ValueError: a setting out of its range.
    """

    kind = "planner"

    def __init__(
        self,
        *,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Discrete,
        seed: int = 0,
        **planner: Annotated[Any, KeywordsOf(GridPlanner)],
    ) -> None:
        super().__init__(observation_space=observation_space, action_space=action_space, seed=seed)
        self._planner = GridPlanner(**planner)

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Agent.bind``.

        Raises:
            ValueError: the environment is not PowerGrid-v0's vector environment.
        """
        super().bind(env)
        self._planner.meet(require_fast_grids(env, "agent=planner", instead="agent=n1"))

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        steps = self.state.step
        continued = self._continued(steps, infos)
        actions = np.full(len(steps), DO_NOTHING, dtype=np.int64)
        asked = np.ones(len(steps), dtype=bool) if active is None else np.asarray(active)
        for grid in np.flatnonzero(asked).tolist():
            if not continued[grid]:
                self._planner.forget(grid)
            actions[grid] = self._planner.decide(grid, int(steps[grid])).action
        return actions

    def _continued(self, steps: np.ndarray, infos: Infos) -> np.ndarray:
        """Return ``[B]`` bool, whether each episode is the one of the latest decision.

        Args:
            steps: ``[B]`` int, at which the grids are now.
            infos: of the step that led there; ``duration`` says how many grid steps it was.
        """
        latest = self._planner.latest_steps()
        if "duration" not in infos:
            return steps >= latest
        return steps - np.asarray(infos["duration"]) == latest
