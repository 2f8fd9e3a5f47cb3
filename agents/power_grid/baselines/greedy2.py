"""``agent=greedy2``: looks two steps ahead where one is not enough."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from agents.environments import VectorEnvironment
from agents.parts import KeywordsOf
from agents.power_grid.baselines.greedy import GreedyAgent
from agents.power_grid.baselines.reference_topology import departures, rank
from agents.power_grid.grid_access import require_fast_grids
from envs import ForecastPlanner
from powergrid_muzero.checks import check_count


class Greedy2Agent(GreedyAgent):
    """Greedy look-ahead of depth 2: the first action of the best pair.

    Where a single action is safe, it is taken, as ``GreedyAgent`` does. Elsewhere the ``width``
    best first actions are played on copies of the grid, on the five-minute forecast, and after each
    of them every legal second action of distinct effect, on that forecast held. Pairs are ranked by
    the state that they lead to, as single actions are; of equal pairs the one whose first action
    ranks higher wins. No pair goes through a blackout if another does not.

    Some overloads take two substations to clear, and one may be changed a step. It plans in the
    vector environment's copies of the grids, so it needs ``env.simulator=lightsim2grid``.

    Args:
        width: first actions that are followed; a decision takes some 10 ms for each.
        greedy: of ``GreedyAgent``; ``safe=None``: pairs always, ranked by the least loading.
    """

    kind = "greedy2"
    _rebuilt = (*GreedyAgent._rebuilt, "_planner")  # by ``bind``

    def __init__(
        self,
        *,
        width: int = 4,
        **greedy: Annotated[Any, KeywordsOf(GreedyAgent)],
    ) -> None:
        """Make the agent."""
        super().__init__(**greedy)
        self._width = check_count("width", width)
        self._planner: ForecastPlanner | None = None

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Agent.bind``.

        Raises:
            ValueError: the environment is not PowerGrid-v0's vector environment.
        """
        super().bind(env)
        grids = require_fast_grids(env, "agent=greedy2", instead="agent=greedy")
        self._planner = grids.planner()

    def _decide(self, index: int, ranked: np.ndarray, rho_max: np.ndarray) -> int:
        """See ``GreedyAgent._decide``."""
        if np.isinf(rho_max[0]) or (self._safe is not None and rho_max[0] < self._safe):
            return int(ranked[0])
        assert self._planner is not None  # bound, or there would be no candidates
        planner, catalogue = self._planner, self.catalogue
        # after a blackout there is nothing to look at
        firsts = ranked[: self._width][np.isfinite(rho_max[: self._width])]
        here = planner.begin(np.array([index]))
        after = planner.step(np.repeat(here, len(firsts)), firsts)
        going = np.flatnonzero(~after.over)
        if not len(going):  # the scenario ends with this step, or all is lost
            return int(ranked[0])
        state = planner.state(after.slots[going])
        masks = catalogue.distinct(state)
        rows, seconds = np.nonzero(masks)  # [n] pairs, by first action
        last = planner.step(after.slots[going][rows], seconds)
        reached = planner.state(last.slots).rho.max(axis=1)
        reached[last.blackout] = np.inf
        departed = np.concatenate(
            [
                departures(catalogue, state, row, np.flatnonzero(mask))
                for row, mask in enumerate(masks)
            ]
        )
        best = int(rank(reached, departed, self._safe)[0])
        return int(firsts[going[rows[best]]])
