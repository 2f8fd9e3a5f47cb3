"""Estimates the loadings of many topologies from single changes, to choose which to solve.

Shape letters: E element ends, L lines, S substations, k topologies one action away, m topologies
to be estimated.
"""

from __future__ import annotations

import numba
import numpy as np

from envs import GridLayout, Rollouts, Steps


class Screening:
    """Adds up what single changes do to the loadings.

    What a change of one substation, or of one line's status, does to the loadings is taken to be
    the same in all topologies near the one in which it was looked at. That is off by some percent,
    and takes no power flow.

    Args:
        layout: of the grid.
    """

    def __init__(self, layout: GridLayout):
        self._substation = layout.element_substation.astype(np.int64)
        self._num_substations = layout.num_substations
        self._ends = np.argsort(self._substation, kind="stable")  # [E]
        counts = np.bincount(self._substation, minlength=layout.num_substations)
        self._first_ends = np.concatenate([[0], np.cumsum(counts)])  # [S + 1], of those
        self._line_or = layout.line_or_position
        self._salts = np.random.default_rng(0).integers(
            1, 1 << 62, size=(3, layout.num_elements), dtype=np.uint64
        )
        self.learned = False

    def learn(self, root: Rollouts, topologies: np.ndarray, rho: np.ndarray) -> None:
        """Take the loadings of single changes.

        Args:
            root: the state ``[1]`` that the changes start from.
            topologies: ``[1 + k, E]`` int8, first that of the root, if nothing is changed.
            rho: ``[1 + k, L]``, inf where there is no solution.
        """
        keys = self._keys(np.where(topologies > 0, topologies, root.last_busbar))
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

    def estimate(self, states: Rollouts, steps: Steps) -> np.ndarray:
        """Return estimated loadings ``[m, L]`` after m steps from n states.

        They are NaN where nothing is known of the change.
        """
        estimated = np.empty((len(steps.rows), self._change.shape[1]))
        _estimate(
            (states.topology, states.last_busbar, states.rho),
            steps.rows,
            steps.topology,
            self._line_or,
            (self._salts, self._substation, self._ends, self._first_ends),
            (self._known, self._change, self._opening),
            estimated,
        )
        return estimated

    def _keys(self, busbars: np.ndarray) -> np.ndarray:
        """Return ``[m, S]`` uint64 that tell the configurations of substations apart."""
        keys = np.zeros((len(busbars), self._num_substations), dtype=np.uint64)
        _add_salts(busbars, self._salts, self._substation, keys)
        return keys


@numba.njit(cache=True)
def _add_salts(busbars, salts, substation, keys):
    """See ``Screening._keys``."""
    for row in range(len(busbars)):
        for end in range(len(substation)):
            keys[row, substation[end]] += salts[busbars[row, end], end]


@numba.njit(cache=True)
def _key(topologies, number, last_busbar, row, place, substations):
    """Return what tells the configurations of a substation apart, see ``Screening._keys``.

    Args:
        topologies: ``[*, E]`` int8.
        number: of one of those.
        last_busbar: ``[*, E]`` int8, busbars where last connected.
        row: of one of those.
        place: substation.
        substations: salts, and the ends ordered by substations with the first of each.
    """
    salts, _, ends, first_ends = substations
    key = np.uint64(0)
    for number_of_end in range(first_ends[place], first_ends[place + 1]):
        end = ends[number_of_end]
        busbar = topologies[number, end]
        key += salts[busbar if busbar > 0 else last_busbar[row, end], end]
    return key


@numba.njit(cache=True)
def _estimate(before, rows, topologies, line_or, substations, table, estimated):
    """See ``Screening.estimate``."""
    topologies_before, last_busbar, rho = before
    known, change, opening = table
    count, num_lines = estimated.shape
    for number in range(count):
        row = rows[number]
        moved, place = 0, -1
        for end in range(topologies.shape[1]):
            busbar, former = topologies[number, end], topologies_before[row, end]
            if busbar != former:
                busbar = busbar if busbar > 0 else last_busbar[row, end]
                former = former if former > 0 else last_busbar[row, end]
                if busbar != former and substations[1][end] != place:
                    moved, place = moved + 1, substations[1][end]
        after = first = -1
        if moved == 1:
            after = _find(known, _key(topologies, number, last_busbar, row, place, substations))
            first = _find(known, _key(topologies_before, row, last_busbar, row, place, substations))
        is_known = moved == 0 or (moved == 1 and after >= 0 and first >= 0)
        for line in range(num_lines):
            estimated[number, line] = 0.0 if is_known else np.nan
            if is_known and moved:
                estimated[number, line] = change[after, line] - change[first, line]
        for line in range(num_lines):
            closed = topologies[number, line_or[line]] > 0
            if closed != (topologies_before[row, line_or[line]] > 0):
                sign = -1.0 if closed else 1.0
                for other in range(num_lines):
                    estimated[number, other] += sign * opening[line, other]
        for line in range(num_lines):
            value = rho[row, line] + estimated[number, line]
            if topologies[number, line_or[line]] < 0 or value < 0:
                value = 0.0
            estimated[number, line] = value  # NaN remains


@numba.njit(cache=True)
def _find(known, key):
    """Return where a key is in ``known``, sorted; -1 if it is not."""
    place = np.searchsorted(known, key)
    return place if place < len(known) and known[place] == key else -1
