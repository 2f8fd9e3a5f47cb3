"""Finds the distinct topologies that legal actions lead to, in a compiled loop.

Shape letters: A actions, B grids, E element ends, L lines, m actions found.
"""

from __future__ import annotations

import numba
import numpy as np

from envs.grid.connectivity import Connectivity, is_connected, parents
from envs.grid.state import GridLayout

# what an action does, one after another: put an element end on the other busbar, or on a given one;
# open a line; open it if it is closed, close it if it is open; close the other end of an open line
_SWITCH_END, _SET_END, _OPEN, _SWITCH_LINE, _CLOSE_EX, _CLOSE_OR = range(6)


class DistinctResults:
    """Applies all actions of a catalogue, and keeps the first of each result.

    Args:
        layout: of the grid.
        set_busbar: ``[A, E]`` int8, see ``ActionCatalogue``; so are the others.
        switch_busbar: ``[A, E]`` bool.
        set_line: ``[A, L]`` int8.
        switch_line: ``[A, L]`` bool.
        powers: ``[A]`` int, the same for actions that do the same with power; None for nothing.
    """

    def __init__(
        self,
        layout: GridLayout,
        set_busbar: np.ndarray,
        switch_busbar: np.ndarray,
        set_line: np.ndarray,
        switch_line: np.ndarray,
        powers: np.ndarray | None = None,
    ):
        self._powers = np.zeros(len(set_busbar), dtype=np.int64) if powers is None else powers
        at_or = set_busbar[:, layout.line_or_position] > 0
        at_ex = set_busbar[:, layout.line_ex_position] > 0
        operations: list[tuple[int, int, int]] = []  # what, which element end or line, busbar
        starts = [0]
        for action in range(len(set_busbar)):
            for kind, places in (
                (_SWITCH_END, switch_busbar[action]),
                (_SET_END, set_busbar[action] != 0),
                (_OPEN, set_line[action] < 0),
                (_SWITCH_LINE, switch_line[action]),
                (_CLOSE_EX, at_or[action] & ~at_ex[action]),
                (_CLOSE_OR, at_ex[action] & ~at_or[action]),
            ):
                for place in np.flatnonzero(places).tolist():
                    busbar = int(set_busbar[action, place]) if kind == _SET_END else 0
                    operations.append((kind, place, busbar))
            starts.append(len(operations))
        self._operations = np.array(operations, dtype=np.int64).reshape(-1, 3)
        self._starts = np.array(starts, dtype=np.int64)
        ends = [layout.line_or_position, layout.line_ex_position]
        self._line_ends = np.array(ends, dtype=np.int64)
        self._connectivity = Connectivity(layout)

    def find(
        self,
        legal: np.ndarray,
        topo_vect: np.ndarray,
        last_busbar: np.ndarray,
        *,
        connected: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the ``distinct`` actions of B grids one after another, with what they lead to.

        Args:
            legal: ``[B, A]`` bool.
            topo_vect: ``[B, E]`` int8.
            last_busbar: ``[B, E]`` int8.
            connected: leave out what cuts off a part of the grid, but for action 0.

        Returns:
            Of m actions the grid ``[m]`` int, the number ``[m]`` int and the topology ``[m, E]``.
        """
        most = int(legal.sum()) + len(legal)
        grids, actions = np.zeros((2, most), dtype=np.int64)
        results = np.empty((most, topo_vect.shape[1]), dtype=np.int8)
        count = _find(
            legal,
            topo_vect,
            last_busbar,
            self._operations,
            self._starts,
            self._powers,
            self._line_ends,
            self._connectivity.wiring,
            connected,
            (grids, actions, results),
        )
        return grids[:count], actions[:count], results[:count]


@numba.njit(cache=True)
def _find(
    legal, topo_vect, last_busbar, operations, starts, powers, line_ends, wiring, connected, found
):
    """Write the ``distinct`` actions of B grids and what they lead to; return their number.

    Args:
        legal: ``[B, A]`` bool.
        topo_vect: ``[B, E]`` int8.
        last_busbar: ``[B, E]`` int8.
        operations: ``[*, 3]`` int, what actions do one after another: see ``_SWITCH_END``.
        starts: ``[A + 1]`` int, of those of each action.
        powers: ``[A]`` int, see ``DistinctResults``.
        line_ends: ``[2, L]`` int.
        wiring: of ``Connectivity``.
        connected: see ``DistinctResults.find``.
        found: ``[m]`` int grids, ``[m]`` int actions and ``[m, E]`` int8, written to.
    """
    grids, actions, results = found
    num_grids, num_actions = legal.shape
    num_ends = topo_vect.shape[1]
    size = 1
    while size < 2 * (num_actions + 1):
        size *= 2
    slots = np.empty(size, dtype=np.int64)  # place of a result by its hash, -1 for none
    parent = parents(wiring)
    salts = np.empty(num_ends, dtype=np.uint64)
    salt = np.uint64(1)
    for end in range(num_ends):
        salt *= np.uint64(0x100000001B3)
        salts[end] = salt
    count = 0
    for grid in range(num_grids):
        slots[:] = -1
        unchanged = np.uint64(0)  # a hash is a sum over ends, so an action changes it by a few
        for end in range(num_ends):
            unchanged += salts[end] * np.uint64(topo_vect[grid, end] + 1)
        for action in range(num_actions):
            if action and not legal[grid, action]:
                continue
            for end in range(num_ends):
                results[count, end] = topo_vect[grid, end]
            key = unchanged + np.uint64(powers[action]) * salt
            for number in range(starts[action], starts[action + 1]):
                kind, place = operations[number, 0], operations[number, 1]
                if kind == _SWITCH_END:
                    if results[count, place] > 0:
                        key += _put(results, count, place, 3 - results[count, place], salts)
                elif kind == _SET_END:
                    key += _put(results, count, place, operations[number, 2], salts)
                else:
                    end_or, end_ex = line_ends[0, place], line_ends[1, place]
                    is_open = topo_vect[grid, end_or] < 0
                    if kind == _OPEN or (kind == _SWITCH_LINE and not is_open):
                        key += _put(results, count, end_or, -1, salts)
                        key += _put(results, count, end_ex, -1, salts)
                    elif is_open:
                        if kind != _CLOSE_EX:
                            key += _put(results, count, end_or, last_busbar[grid, end_or], salts)
                        if kind != _CLOSE_OR:
                            key += _put(results, count, end_ex, last_busbar[grid, end_ex], salts)
            slot = np.int64((key ^ (key >> np.uint64(29))) & np.uint64(size - 1))
            while slots[slot] >= 0:
                other, same = slots[slot], powers[actions[slots[slot]]] == powers[action]
                for end in range(num_ends):
                    if results[count, end] != results[other, end]:
                        same = False
                        break
                if same:
                    break
                slot = (slot + 1) & (size - 1)
            if slots[slot] < 0:
                if connected and action and not is_connected(results, count, wiring, parent):
                    continue
                slots[slot] = count
                grids[count], actions[count] = grid, action
                count += 1
    return count


@numba.njit(cache=True)
def _put(results, number, end, busbar, salts):
    """Put an end of one of ``[m, E]`` results on a busbar; return by how much its hash changes."""
    former = results[number, end]
    results[number, end] = busbar
    return salts[end] * (np.uint64(busbar + 1) - np.uint64(former + 1))
