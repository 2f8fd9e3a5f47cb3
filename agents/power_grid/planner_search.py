"""``search=planner``: plans several actions ahead, as agent=planner does, in grids foreseen."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from agents.muzero.planning import PlanningModel
from agents.muzero.search.base import SearchResult, TreeStatistics
from agents.muzero.search.checks import check_mask
from agents.parts import KeywordsOf
from agents.power_grid.foreseen import ForeseenGrids, ForeseenPlanning
from agents.power_grid.grid_planner import GridPlanner
from envs import PowerGridVectorEnv
from powergrid_muzero.copies import Copyable


class PlannerSearch(Copyable):
    """Plans in grids on what a network foresees, see ``GridPlanner``.

    It needs ``agent/model=foreseen``. It has no tree: the policy is its choice, the value the
    network's own. Plans are continued from decision to decision; where another episode began
    later in its scenario than the last one ended, what was planned is looked at once more, too.

    Args:
        planner: of ``GridPlanner``.

    Raises:
        ValueError: a setting out of its range.
    """

    num_simulations = 0  # of a tree
    plans_in_grids = True
    _rebuilt = ("_grids",)

    def __init__(self, **planner: Annotated[Any, KeywordsOf(GridPlanner)]) -> None:
        self._planner = GridPlanner(**planner)
        self._grids: PowerGridVectorEnv | None = None

    def check_pair(self, planning: PlanningModel) -> None:
        """Refuse another model, see ``planning.check_pair``."""
        if not isinstance(planning, ForeseenPlanning):
            raise ValueError(
                "search=planner plans in grids that are foreseen: set agent/model=foreseen and "
                "network=flow, with agent.network.planned above 0; or take search=gumbel"
            )

    def forget(self) -> None:
        """Keep no plan: the next decisions begin anew."""
        self._planner.forget()

    def run(
        self,
        model: ForeseenGrids,
        observations: np.ndarray,
        action_mask: np.ndarray,
        rng: np.random.Generator | list[np.random.Generator],
        *,
        temperature: float = 1.0,
        explore: bool = True,
    ) -> SearchResult:
        """See ``Search.run``; it explores nothing."""
        del rng, temperature, explore
        check_mask(action_mask)
        if self._grids is not model.grids:
            self._grids = model.grids
            self._planner.meet(model.grids, model.foresight)
        steps = model.grids.state.step[model.rows]
        latest = self._planner.latest_steps()[model.rows]
        for grid in model.rows[steps < latest].tolist():
            self._planner.forget(grid)
        decisions = [
            self._planner.decide(grid, step)
            for grid, step in zip(model.rows.tolist(), steps.tolist(), strict=True)
        ]
        each = np.arange(len(decisions))
        action = np.array([one.action for one in decisions], dtype=np.int64)
        action = np.where(action_mask[each, action] != 0, action, 0)
        visits = np.zeros(action_mask.shape, dtype=np.int32)
        visits[each, action] = 1
        depth = np.array([one.ahead for one in decisions])
        return SearchResult(
            visit_counts=visits,
            policy=visits.astype(np.float32),
            value=model.values(observations),
            action=action,
            statistics=TreeStatistics(depth, np.ones_like(depth), np.zeros(len(depth))),
        )
