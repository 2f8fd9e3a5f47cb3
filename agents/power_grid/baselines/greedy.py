"""``agent=greedy``: simulates every action one step ahead and takes the best."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from agents.agent import Infos
from agents.parts import KeywordsOf
from agents.power_grid.baselines.base import BaselineAgent, GridBaselineAgent
from agents.power_grid.baselines.reference_topology import check_loading, departures, rank
from envs import DO_NOTHING, GridState


class GreedyAgent(GridBaselineAgent):
    """Chooses by the forecast: what is safe and near the reference topology, or the least loading.

    It looks at every legal action of distinct effect with the environment's ``simulate``. Of those
    whose forecast highest loading is below ``safe`` it takes the one that leaves the grid nearest
    to the reference topology (fewest element ends on busbar 2 or out); of equal ones the one of
    least loading. Where nothing is that safe, it takes the least loading, wherever that leads. Of
    equal others the first is taken, and doing nothing comes first.

    The idea is that of ``grid2op.Agent.GreedyAgent``, which takes the best simulated reward, with
    loadings for rewards and a preference added. The least loading alone (``safe=None``) takes the
    grid a little further from the reference at each decision, until half of the elements around a
    substation hang on single lines. Such a grid is calm today and falls apart at once when the wind
    changes by 50 MW between two steps, and under an idle gate nobody is asked before. With ``safe``
    the grid stays meshed, and fewer decisions are needed: what is near the reference lasts longer.

    Args:
        threshold: rho below which it does nothing without looking, as operators do; 0 always looks.
        safe: forecast rho below which an action is safe; None: the least loading always.
        baseline: of ``BaselineAgent``; the seed is not used.
    """

    kind = "greedy"

    def __init__(
        self,
        *,
        threshold: float = 0.95,
        safe: float | None = 0.9,
        **baseline: Annotated[Any, KeywordsOf(BaselineAgent)],
    ) -> None:
        """Make the agent."""
        super().__init__(**baseline)
        self._threshold = check_loading("threshold", threshold)
        self._safe = None if safe is None else check_loading("safe", safe)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        state, catalogue = self.state, self.catalogue
        num_envs = len(state.rho)
        looking = state.rho.max(axis=1) >= self._threshold
        if active is not None:
            looking &= active
        actions = np.full(num_envs, DO_NOTHING, dtype=np.int64)
        if not looking.any():
            return actions
        candidates: list[np.ndarray | None] = [None] * num_envs
        stressed = GridState(*(rows[looking] for rows in state))
        for index, mask in zip(np.flatnonzero(looking), catalogue.distinct(stressed), strict=True):
            candidates[index] = np.flatnonzero(mask)
        outlooks = self.env.simulate(candidates)
        for index, (ids, outlook) in enumerate(zip(candidates, outlooks, strict=True)):
            if ids is None or outlook is None:
                continue
            assert ids[0] == DO_NOTHING  # the distinct mask always keeps it, first
            departed = departures(catalogue, state, index, ids)
            order = rank(outlook.rho_max, departed, self._safe)
            actions[index] = self._decide(index, ids[order], outlook.rho_max[order])
        return actions

    def _decide(self, index: int, ranked: np.ndarray, rho_max: np.ndarray) -> int:
        """Return the action for one grid.

        Args:
            index: of the grid.
            ranked: ``[K]`` actions, best first.
            rho_max: ``[K]`` their forecast highest loadings, inf where the game would end.
        """
        return int(ranked[0])
