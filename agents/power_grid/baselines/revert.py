"""``agent=revert``: goes back to the reference topology while loadings are low."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from agents.agent import Infos
from agents.parts import KeywordsOf
from agents.power_grid.baselines.base import BaselineAgent, GridBaselineAgent
from agents.power_grid.baselines.reference_topology import check_loading, departures
from envs import DO_NOTHING, REFERENCE_BUSBAR, ActionCatalogue, GridState


class RevertAgent(GridBaselineAgent):
    """Moves back towards the reference topology, one legal action at a time, where that is safe.

    Candidates are all legal actions that leave fewer element ends on busbar 2 or out: closing a
    line, joining what was split. While the highest loading is below ``threshold``, the one that
    goes furthest back is taken among those that the forecast keeps below it. Above it, only lines
    are closed, and only where the forecast is no worse than doing nothing. Else nothing is done.

    Going back in calm hours is a part of most L2RPN winners' agents (as in van der Sar et al. 2025,
    https://arxiv.org/abs/2504.08210). By itself it undoes trips and outages only: from the
    reference topology it never moves. Under an idle gate it is asked in stressed hours alone, so
    play it with ``wrappers=none``.

    Args:
        threshold: rho below which the grid is calm, now and after an action.
        baseline: of ``BaselineAgent``; the seed is not used.
    """

    kind = "revert"

    def __init__(
        self,
        *,
        threshold: float = 0.9,
        **baseline: Annotated[Any, KeywordsOf(BaselineAgent)],
    ) -> None:
        """Make the agent."""
        super().__init__(**baseline)
        self._threshold = check_loading("threshold", threshold)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        state = self.state
        wanted = (state.topo_vect != REFERENCE_BUSBAR).any(axis=1)
        if active is not None:
            wanted &= active
        if not wanted.any():  # nearly always
            return np.full(len(state.rho), DO_NOTHING, dtype=np.int64)
        return revert(self, state, wanted, self._threshold)


def revert(
    agent: GridBaselineAgent, state: GridState, wanted: np.ndarray, threshold: float
) -> np.ndarray:
    """Return ``[B]`` actions that go back towards the reference topology, or do nothing.

    Args:
        agent: bound to the B grids.
        state: their present state.
        wanted: ``[B]`` bool, which grids to look at.
        threshold: see ``RevertAgent``.
    """
    catalogue = agent.catalogue
    calm = state.rho.max(axis=1) < threshold
    actions = np.full(len(wanted), DO_NOTHING, dtype=np.int64)
    candidates: list[np.ndarray | None] = [None] * len(wanted)
    gains: dict[int, np.ndarray] = {}
    rows = np.flatnonzero(wanted)
    some = GridState(*(values[rows] for values in state))
    for index, mask in zip(rows.tolist(), catalogue.distinct(some), strict=True):
        ids = np.flatnonzero(mask)  # the first does nothing
        departed = departures(catalogue, state, index, ids)
        back = departed < departed[0]
        if not calm[index]:
            back &= _closes_a_line(catalogue, state, index, ids)
        if back.any():
            back[0] = True  # to compare with
            candidates[index], gains[index] = ids[back], departed[0] - departed[back]
    if not gains:
        return actions
    outlooks = agent.env.simulate(candidates)
    for index, gain in gains.items():
        ids, outlook = candidates[index], outlooks[index]
        assert ids is not None
        assert outlook is not None
        rho_max = outlook.rho_max
        good = rho_max < threshold if calm[index] else (rho_max <= rho_max[0]) & ~outlook.game_over
        good[0] = False
        if good.any():
            actions[index] = ids[np.lexsort((rho_max, -gain, ~good))[0]]
    return actions


def _closes_a_line(
    catalogue: ActionCatalogue, state: GridState, index: int, actions: np.ndarray
) -> np.ndarray:
    """Return ``[K]`` bool: the action closes a line of grid ``index``."""
    one = slice(index, index + 1)
    results = catalogue.results(state.topo_vect[one], state.last_busbar[one], actions.tolist())[0]
    return ((results > 0) & (state.topo_vect[index] < 0)).any(axis=1)
