"""Estimates the loadings of many topologies from single changes, to choose which to solve.

Shape letters: E element ends, L lines, S substations, k topologies one action away, m topologies
to be estimated.
"""

from __future__ import annotations

import numpy as np

from envs import GridLayout


class Screening:
    """Adds up what single changes do to the loadings.

    What a change of one substation, or of one line's status, does to the loadings is taken to be
    the same in all topologies near the one in which it was looked at. That is off by some percent,
    and takes no power flow.

    Args:
        layout: of the grid; element ends are in the order of substations.
    """

    def __init__(self, layout: GridLayout):
        sizes = np.bincount(layout.element_substation, minlength=layout.num_substations)
        assert (np.diff(layout.element_substation) >= 0).all() and sizes.all()
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])  # [S]
        self._line_or = layout.line_or_position
        self._salts = np.random.default_rng(0).integers(
            1, 1 << 62, size=(3, layout.num_elements), dtype=np.uint64
        )
        self._ends = np.arange(layout.num_elements)
        self.learned = False

    def learn(self, busbars: np.ndarray, topologies: np.ndarray, rho: np.ndarray) -> None:
        """Take the loadings of single changes.

        Args:
            busbars: ``[1 + k, E]`` int8, busbars of all ends, where last connected for what is
                open; first those that the changes start from.
            topologies: ``[1 + k, E]`` int8.
            rho: ``[1 + k, L]``, inf where there is no solution.
        """
        keys = self._keys(busbars)
        status = topologies[:, self._line_or] > 0
        moved, switched = keys != keys[0], status != status[0]
        solved = np.isfinite(rho).all(axis=1) & np.isfinite(rho[0]).all()
        rows = np.flatnonzero((moved.sum(axis=1) == 1) & ~switched.any(axis=1) & solved)
        places = moved[rows].argmax(axis=1)
        known = np.concatenate([keys[0], keys[rows, places]])
        change = np.concatenate([np.zeros((len(keys[0]), rho.shape[1])), rho[rows] - rho[0]])
        self.learned = True
        order = np.argsort(known)
        self._known, self._change = known[order], change[order]
        # [L, L] what opening a line does; NaN where that is not known
        self._opening = np.full((rho.shape[1], rho.shape[1]), np.nan)
        rows = np.flatnonzero((switched.sum(axis=1) == 1) & ~moved.any(axis=1) & solved)
        for row in rows.tolist():
            line = int(switched[row].argmax())
            change = rho[row] - rho[0]
            self._opening[line] = change if status[0, line] else -change

    def estimate(
        self,
        before: tuple[np.ndarray, np.ndarray, np.ndarray],
        rows: np.ndarray,
        busbars: np.ndarray,
        topologies: np.ndarray,
    ) -> np.ndarray:
        """Return estimated loadings ``[m, L]``, NaN where nothing is known of the change.

        Args:
            before: busbars ``[n, E]``, topologies ``[n, E]`` and loadings ``[n, L]`` before it.
            rows: ``[m]`` int, of those.
            busbars: ``[m, E]`` int8, as in ``learn``.
            topologies: ``[m, E]`` int8.
        """
        keys_before, keys = self._keys(before[0])[rows], self._keys(busbars)
        moved = keys != keys_before
        count = moved.sum(axis=1)
        places, each = moved.argmax(axis=1), np.arange(len(rows))
        change = self._look_up(keys[each, places]) - self._look_up(keys_before[each, places])
        change[count == 0] = 0
        change[count > 1] = np.nan
        closed_before = (before[1][:, self._line_or] > 0)[rows]
        closed = topologies[:, self._line_or] > 0
        switched, lines = np.nonzero(closed != closed_before)
        signs = np.where(closed[switched, lines], -1.0, 1.0)
        np.add.at(change, switched, signs[:, None] * self._opening[lines])
        estimated = np.maximum(before[2][rows] + change, 0)
        return np.where(closed, estimated, 0)

    def _keys(self, busbars: np.ndarray) -> np.ndarray:
        """Return ``[m, S]`` uint64 that tell the configurations of substations apart."""
        return np.add.reduceat(self._salts[busbars, self._ends], self._starts, axis=1)

    def _look_up(self, keys: np.ndarray) -> np.ndarray:
        places = np.minimum(np.searchsorted(self._known, keys), len(self._known) - 1)
        found = self._change[places]
        found[self._known[places] != keys] = np.nan
        return found
