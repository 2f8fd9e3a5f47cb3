"""``agent=expert``: acts near the overload, as grid2op's ExpertAgent does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np

from agents.agent import Infos
from agents.parts import KeywordsOf
from agents.power_grid.baselines.base import BaselineAgent, GridBaselineAgent
from agents.power_grid.baselines.reference_topology import check_loading, departures, rank
from agents.power_grid.baselines.revert import revert
from envs import DO_NOTHING, REFERENCE_BUSBAR, ActionCatalogue, GridState


class ExpertAgent(GridBaselineAgent):
    """Expert-like rules, with the five-minute forecast as the judge.

    At an overload, the most loaded line comes first. Looked at are the moves at the substation that
    the line's power comes from, then at the one that it goes to, then at their neighbours, nearest
    to the line first, and last at everything else. It stops at the first group in which a move
    clears all overloads (forecast below ``safe``) and takes the one there that leaves the grid
    nearest to the reference topology. Where nothing clears, it takes the least loading of all that
    was looked at. When it is calm it closes lines and goes back to the reference topology, as
    ``RevertAgent`` does.

    It is modelled on RTE's ExpertOp4Grid (Marot et al. 2018, "Expert system for topological
    remedial action discovery in smart grids", https://github.com/rte-france/ExpertOp4Grid), which
    ranks substations by an overload distribution graph: here their order along the overloaded line
    stands for it. grid2op itself has the parts (``grid2op.Agent``: RecoPowerlineAgent, greedy
    agents that simulate) and no expert. So this is expert-like; its results are not
    ExpertOp4Grid's.

    Args:
        threshold: rho from which on a line is overloaded; below it the grid is calm.
        safe: forecast rho below which an overload is cleared.
        baseline: of ``BaselineAgent``; the seed is not used.
    """

    kind = "expert"

    def __init__(
        self,
        *,
        threshold: float = 0.95,
        safe: float = 0.9,
        **baseline: Annotated[Any, KeywordsOf(BaselineAgent)],
    ) -> None:
        """Make the agent."""
        super().__init__(**baseline)
        self._threshold = check_loading("threshold", threshold)
        self._safe = check_loading("safe", safe)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        state, catalogue = self.state, self.catalogue
        actions = np.full(len(state.rho), DO_NOTHING, dtype=np.int64)
        asked = np.ones(len(actions), dtype=bool) if active is None else np.asarray(active)
        overloaded = state.rho.max(axis=1) >= self._threshold
        back = asked & ~overloaded & (state.topo_vect != REFERENCE_BUSBAR).any(axis=1)
        if back.any():
            actions = revert(self, state, back, self._safe)
        rows = np.flatnonzero(asked & overloaded)
        if not len(rows):
            return actions
        masks = catalogue.distinct(GridState(*(values[rows] for values in state)))
        searches = {
            int(row): _Search(catalogue, state, int(row), np.flatnonzero(mask), self._safe)
            for row, mask in zip(rows, masks, strict=True)
        }
        while searches:  # one call looks at the next group of every grid still searching
            groups: list[np.ndarray | None] = [None] * len(actions)
            for row, search in searches.items():
                groups[row] = search.next_group()
            outlooks = self.env.simulate(groups)
            for row in list(searches):
                outlook = outlooks[row]
                assert outlook is not None
                if searches[row].take(outlook.rho_max):
                    actions[row] = searches.pop(row).choice
        return actions


class _Search:
    """The groups of moves against one overload, nearest first, and the best move so far.

    Args:
        catalogue: of the grids.
        state: of all B of them.
        row: the grid.
        candidates: ``[K]`` legal actions of distinct effect, doing nothing first.
        safe: loading below which an overload is cleared.
    """

    def __init__(
        self,
        catalogue: ActionCatalogue,
        state: GridState,
        row: int,
        candidates: np.ndarray,
        safe: float,
    ) -> None:
        self.choice = DO_NOTHING
        self._least = np.inf  # of the choice
        self._safe = safe
        self._departed = departures(catalogue, state, row, candidates)
        self._candidates = candidates
        self._groups = _groups(catalogue, state, row, candidates)
        self._left = len(candidates)
        self._group = np.arange(0)

    def next_group(self) -> np.ndarray:
        """Return the next actions to look at, ``[k]``; there are some."""
        self._group = next(self._groups)
        self._left -= len(self._group)
        return self._candidates[self._group]

    def take(self, rho_max: np.ndarray) -> bool:
        """Take the forecast of the last group, ``[k]``; say whether the search is over."""
        best = int(rank(rho_max, self._departed[self._group], self._safe)[0])
        if rho_max[best] < self._least:
            self._least = float(rho_max[best])
            self.choice = int(self._candidates[self._group[best]])
        return self._least < self._safe or not self._left


def _groups(
    catalogue: ActionCatalogue, state: GridState, row: int, candidates: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield places in ``candidates``, group by group, every one once.

    A move belongs to the first substation on the way whose elements it moves. Line switches come
    last.
    """
    layout = catalogue.layout
    line = int(state.rho[row].argmax())
    ends = [int(layout.line_or_substation[line]), int(layout.line_ex_substation[line])]
    if state.p_or[row, line] < 0:  # the power comes from the other end
        ends.reverse()
    order = list(ends)
    for substation in ends:
        for a, b in (
            (layout.line_or_substation, layout.line_ex_substation),
            (layout.line_ex_substation, layout.line_or_substation),
        ):
            order += [int(one) for one in b[a == substation] if int(one) not in order]
    moved = (catalogue.set_busbar[candidates] > 0) | catalogue.switch_busbar[candidates]
    left = np.ones(len(candidates), dtype=bool)
    for substation in dict.fromkeys(order):
        here = left & moved[:, layout.element_substation == substation].any(axis=1)
        if here.any():
            left &= ~here
            yield np.flatnonzero(here)
    if left.any():
        yield np.flatnonzero(left)
