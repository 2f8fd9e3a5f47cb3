"""``agent=n1``: prevents and corrects one action at a time, by simulating losses of lines."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from agents.agent import Infos
from agents.environments import VectorEnvironment
from agents.parts import KeywordsOf
from agents.power_grid.baselines.base import BaselineAgent, GridBaselineAgent
from agents.power_grid.baselines.reference_topology import check_loading, departures
from agents.power_grid.beam import NEAR_LIMIT
from agents.power_grid.grid_access import first_grid
from envs import DO_NOTHING, GridState, lines_at_risk

_AT_ONCE = 8  # actions whose losses are all simulated in one call
_MOST = 2.0  # excess of one loss, at most: beyond it the grid collapses in any case


class N1Agent(GridBaselineAgent):
    """Chooses by what the loss of each line at risk would do.

    In calm it looks ahead at the loss of each line at risk, and if some loss loads a line beyond
    ``margin``, at every legal action, and at these losses after it where they matter. Of the
    actions that are safe by themselves (forecast below ``safe``) it takes the one whose losses
    exceed ``margin`` the least in sum, then the one nearest to the reference topology, if that is
    better by ``gain``.

    Under stress it does the same without asking for a gain. Where nothing is safe, it takes what
    leaves the fewest overloads, those weighing most that have lasted longest and trip next. While
    a line is held out by an opponent, no other loss is looked at. Open lines are closed in calm as
    soon as they may be.

    Ask it regularly in calm (``wrappers=preventive``): under an idle gate alone it cannot prevent.

    Args:
        threshold: rho from which on the grid is under stress.
        safe: forecast rho below which an action is safe.
        margin: rho after a loss below which it does no harm.
        gain: excess over ``margin``, in sum over the losses, that a calm action must take away.
        baseline: of ``BaselineAgent``; the seed is not used.
    """

    kind = "n1"
    _rebuilt = (*GridBaselineAgent._rebuilt, "_lines")  # by ``bind``

    def __init__(
        self,
        *,
        threshold: float = 0.95,
        safe: float = 0.9,
        margin: float = 0.95,
        gain: float = 0.05,
        **baseline: Annotated[Any, KeywordsOf(BaselineAgent)],
    ) -> None:
        """Make the agent.

        Raises:
            ValueError: a setting out of its range.
        """
        super().__init__(**baseline)
        self._threshold = check_loading("threshold", threshold)
        self._safe = check_loading("safe", safe)
        self._margin = check_loading("margin", margin)
        self._gain = check_loading("gain", gain)
        self._lines: np.ndarray | None = None

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Agent.bind``; ValueError if the environment is not PowerGrid-v0."""
        super().bind(env)
        grid = first_grid(env)
        assert grid is not None  # as the base class saw
        self._lines = lines_at_risk(grid.layout, grid.opponent)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        state, env = self.state, self.env
        actions = np.full(len(state.rho), DO_NOTHING, dtype=np.int64)
        asked = np.ones(len(actions), dtype=bool) if active is None else np.asarray(active)
        stressed = asked & (state.rho.max(axis=1) >= self._threshold)
        held = (state.attack_steps > 0).any(axis=1)
        ready = ~state.line_status & (state.line_cooldown == 0)  # lines that may be closed
        calm = asked & ~stressed
        looking = stressed | (calm & ready.any(axis=1))
        looking |= self._endangered(calm & ~looking & ~held)
        for group, lines in ((looking & ~held, self._lines), (looking & held, None)):
            rows = np.flatnonzero(group)
            if not len(rows):
                continue
            candidates: list[np.ndarray | None] = [None] * len(actions)
            some = GridState(*(values[rows] for values in state))
            for row, mask in zip(rows.tolist(), self.catalogue.connected(some), strict=True):
                candidates[row] = np.flatnonzero(mask)
            outlooks = env.simulate(candidates)
            for row in rows.tolist():
                ids, outlook = candidates[row], outlooks[row]
                assert ids is not None and outlook is not None
                rho = outlook.rho_max
                departed = departures(self.catalogue, state, row, ids)
                harm = _harm(outlook.rho, state.rho[row], state.overflow_steps[row])
                closings = self.catalogue.switch_line_action[ready[row]]
                closing = np.isin(ids, closings[closings != DO_NOTHING])  # a set may have none
                if not stressed[row] and rho[closing].min(initial=np.inf) < self._threshold:
                    actions[row] = ids[closing][rho[closing].argmin()]
                else:
                    losses = np.zeros(len(ids), dtype=np.float32)
                    if lines is not None:
                        losses = self._losses(row, ids, rho < self._safe, bool(stressed[row]))
                    best = self._choose(rho, harm, losses, departed, stressed=bool(stressed[row]))
                    actions[row] = ids[best]
        return actions

    def _endangered(self, asked: np.ndarray) -> np.ndarray:
        """Return ``[B]`` bool, which of the grids asked about a loss would load too much."""
        found = np.zeros(len(asked), dtype=bool)
        if not asked.any():
            return found
        nothing = [np.array([DO_NOTHING]) if one else None for one in asked.tolist()]
        for row, outlook in enumerate(self.env.simulate(nothing, self._lines)):
            if outlook is not None:
                found[row] = self._excess(outlook.rho_max)[0] > self._gain
        return found

    def _losses(self, row: int, ids: np.ndarray, holds: np.ndarray, stressed: bool) -> np.ndarray:
        """Return the excess after losses of K actions, inf of those that cannot be chosen.

        What the worst loss exceeds ``margin`` by is the least that all do, so most actions need
        none of the others.

        Args:
            row: the grid.
            ids: ``[K]`` int, the actions, of which the first is doing nothing.
            holds: ``[K]`` bool, those that are safe by themselves; others are not looked at.
            stressed: see ``_choose``.
        """
        losses = np.full(len(ids), np.inf, dtype=np.float32)
        if not holds.any() or self._lines is None or not len(self._lines):
            return losses
        nothing = self._look(row, ids[:1], self._lines)
        losses[0] = self._excess(nothing)[0]
        places = 1 + np.flatnonzero(holds[1:])
        if not len(places):
            return losses
        gravest = self._lines[[int(nothing[0, 1:].argmax())]]
        least = self._excess(self._look(row, ids[places], gravest))
        best = losses[0] if stressed else losses[0] - self._gain
        if stressed and not holds[0]:
            best = np.float32(np.inf)
        order = np.argsort(least, kind="stable")
        for first in range(0, len(order), _AT_ONCE):
            some = order[first : first + _AT_ONCE]
            some = some[least[some] <= best]
            if not len(some):
                break
            losses[places[some]] = self._excess(self._look(row, ids[places[some]], self._lines))
            best = min(best, losses[places[some]].min())
        return losses

    def _look(self, row: int, ids: np.ndarray, lines: np.ndarray) -> np.ndarray:
        """Return the highest loadings ``[K, 1 + C]`` after actions and losses on one grid."""
        asked: list[np.ndarray | None] = [None] * self.env.num_envs
        asked[row] = ids
        outlook = self.env.simulate(asked, lines)[row]
        assert outlook is not None
        return outlook.rho_max

    def _excess(self, rho_max: np.ndarray) -> np.ndarray:
        """Return the excess over ``margin`` in sum over the losses, ``[K]``, of ``[K, 1 + C]``."""
        return np.clip(rho_max[:, 1:] - self._margin, 0, _MOST).sum(axis=1)

    def _choose(
        self,
        rho: np.ndarray,
        harm: np.ndarray,
        losses: np.ndarray,
        departed: np.ndarray,
        *,
        stressed: bool,
    ) -> int:
        """Return the place of the best of K actions, the first of which is doing nothing.

        Args:
            rho: ``[K]`` forecast highest loadings, inf where the game would end.
            harm: ``[K]`` see ``_harm``; it counts where nothing is safe.
            losses: ``[K]`` excess after losses, of the first and of those that are safe.
            departed: ``[K]`` how far from the reference topology they lead.
            stressed: whether something has to be done.
        """
        holds = rho < self._safe
        first, second = np.where(holds, (losses, departed), (harm, rho))
        best = int(np.lexsort((rho, second, first, ~holds))[0])
        if stressed:
            return best
        return best if holds[best] and losses[best] < losses[0] - self._gain else 0


def _harm(rho: np.ndarray, before: np.ndarray, overflow_steps: np.ndarray) -> np.ndarray:
    """Return how bad the overloads after K actions are, ``[K]``; inf where the game would end.

    Args:
        rho: ``[K, L]`` forecast loadings, inf where the game would end.
        before: ``[L]`` present loadings.
        overflow_steps: ``[L]`` int, steps in a row that a line has been overloaded for.
    """
    over = rho > NEAR_LIMIT
    over |= (rho == 0) & (before > 1)  # it trips
    excess = np.maximum(rho - NEAR_LIMIT, 0).sum(axis=1)
    return (over * (overflow_steps + 1.0) ** 2).sum(axis=1) + 3 * excess
