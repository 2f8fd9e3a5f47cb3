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
        # [E] busbar 1 of each end, and [L] ends of lines
        self.wiring = (
            busbars.astype(np.int64),
            np.asarray(layout.line_or_position, dtype=np.int64),
            np.asarray(layout.line_ex_position, dtype=np.int64),
        )

    def connected(self, topologies: np.ndarray) -> np.ndarray:
        """Return ``[N]`` bool: do lines join all busbars in use.

        Args:
            topologies: ``[N, E]`` int8, busbar 1 or 2 of each end, -1 where open.
        """
        return _connected(topologies, self.wiring)


@numba.njit(cache=True)
def _connected(topologies, wiring):
    """See ``Connectivity.connected``."""
    result = np.empty(len(topologies), dtype=np.bool_)
    parent = parents(wiring)
    for number in range(len(topologies)):
        result[number] = is_connected(topologies, number, wiring, parent)
    return result


@numba.njit(cache=True)
def parents(wiring):
    """Return room for ``is_connected``: a busbar of the same part for each, -1 if not in use."""
    return np.empty(wiring[0].max() + 2, dtype=np.int64)


@numba.njit(cache=True)
def is_connected(topologies, number, wiring, parent):
    """Return whether one of ``[N, E]`` topologies is connected: union-find over its busbars.

    Args:
        topologies: see ``Connectivity``.
        number: of the one.
        wiring: of ``Connectivity``.
        parent: of ``parents``, written to.
    """
    busbars, line_or, line_ex = wiring
    parent[:] = -1
    parts = 0
    for end in range(topologies.shape[1]):
        if topologies[number, end] > 0:
            busbar = busbars[end] + topologies[number, end] - 1
            if parent[busbar] < 0:
                parent[busbar] = busbar
                parts += 1
    for line in range(len(line_or)):
        if topologies[number, line_or[line]] > 0 and topologies[number, line_ex[line]] > 0:
            one = busbars[line_or[line]] + topologies[number, line_or[line]] - 1
            other = busbars[line_ex[line]] + topologies[number, line_ex[line]] - 1
            while parent[one] != one:
                one = parent[one]
            while parent[other] != other:
                other = parent[other]
            if one != other:
                parent[other] = one
                parts -= 1
    return parts == 1
