"""Checks whether a topology is connected, without a power flow.

An element on a busbar that no line goes to, or lines in two parts, end the game at once.

Shape letters: E element ends, L lines, N topologies.
"""

from __future__ import annotations

import numba
import numpy as np

from envs.grid.state import GridLayout
from powergrid_muzero.copies import Copyable


class Connectivity(Copyable):
    """Tells which topologies are one connected grid.

    Args:
        layout: of the grid.
    """

    def __init__(self, layout: GridLayout):
        busbars = 2 * layout.element_substation  # of busbar 1; busbar 2 follows
        self._busbars = busbars.astype(np.int64)
        self._or = np.asarray(layout.line_or_position, dtype=np.int64)
        self._ex = np.asarray(layout.line_ex_position, dtype=np.int64)
        self._num_busbars = int(busbars.max()) + 2

    def connected(self, topologies: np.ndarray) -> np.ndarray:
        """Return ``[N]`` bool: do lines join all busbars in use.

        Args:
            topologies: ``[N, E]`` int8, busbar 1 or 2 of each end, -1 where open.
        """
        return _connected(topologies, self._busbars, self._or, self._ex, self._num_busbars)


@numba.njit(cache=True)
def _connected(topologies, busbars, line_or, line_ex, num_busbars):
    """See ``Connectivity.connected``: union-find over the busbars of each topology."""
    count, num_ends = topologies.shape
    result = np.empty(count, dtype=np.bool_)
    parent = np.empty(num_busbars, dtype=np.int64)
    for n in range(count):
        parent[:] = -1  # not in use
        parts = 0
        for end in range(num_ends):
            if topologies[n, end] > 0:
                busbar = busbars[end] + topologies[n, end] - 1
                if parent[busbar] < 0:
                    parent[busbar] = busbar
                    parts += 1
        for line in range(len(line_or)):
            if topologies[n, line_or[line]] > 0 and topologies[n, line_ex[line]] > 0:
                one = busbars[line_or[line]] + topologies[n, line_or[line]] - 1
                other = busbars[line_ex[line]] + topologies[n, line_ex[line]] - 1
                while parent[one] != one:
                    one = parent[one]
                while parent[other] != other:
                    other = parent[other]
                if one != other:
                    parent[other] = one
                    parts -= 1
        result[n] = parts == 1
    return result
