"""The effect of one action on one grid: the topology after it, and what it counts as.

``ActionCatalogue`` says the same of all actions of many grids at once; here it is one of each,
in microseconds. The tests compare both.

Shape letters: E element ends, L lines, S substations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.grid.actions import ActionCatalogue


class _Action(NamedTuple):
    """What ``grid2op.Action.BaseAction`` holds, as numbers of what it names."""

    opened: np.ndarray  # [*] int, lines
    switched: np.ndarray  # [*] int, lines
    moved: np.ndarray  # [*] int, element ends put on the other busbar
    set_ends: np.ndarray  # [*] int, element ends set
    set_busbars: np.ndarray  # [*] int8, to which busbar
    closes: np.ndarray  # [*] int, lines whose status changes if they are open
    touched: np.ndarray  # [*] int, lines whose status is named
    pairs: tuple[tuple[int, int], ...]  # substation of each end, and the line that it is of if
    # an end of an open line counts for the line alone; else -1


class Effects:
    """Effects of the actions of a catalogue.

    Args:
        catalogue: of the grid.
    """

    def __init__(self, catalogue: ActionCatalogue):
        self._catalogue = catalogue
        self._layout = catalogue.layout
        self._actions: dict[int, _Action] = {}
        layout = self._layout
        self._line_of_end = np.full(layout.num_elements, -1)
        self._line_of_end[layout.line_or_position] = np.arange(layout.num_lines)
        self._line_of_end[layout.line_ex_position] = np.arange(layout.num_lines)
        self._other_end = np.full(layout.num_elements, -1)
        self._other_end[layout.line_or_position] = layout.line_ex_position
        self._other_end[layout.line_ex_position] = layout.line_or_position

    def _action(self, number: int) -> _Action:
        found = self._actions.get(number)
        if found is None:
            found = self._actions[number] = self._describe(number)
        return found

    def _describe(self, number: int) -> _Action:
        catalogue, layout = self._catalogue, self._layout
        set_busbar = catalogue.set_busbar[number]
        set_line, switch_line = catalogue.set_line[number], catalogue.switch_line[number]
        at_end = (set_busbar[layout.line_or_position] > 0) | (
            set_busbar[layout.line_ex_position] > 0
        )
        touched = (set_line != 0) | switch_line
        ends = np.flatnonzero((set_busbar != 0) | catalogue.switch_busbar[number])
        pairs = []
        for end in ends.tolist():
            line = int(self._line_of_end[end])
            spared = line >= 0 and bool(touched[line] or at_end[line])
            pairs.append((int(layout.element_substation[end]), line if spared else -1))
        set_ends = np.flatnonzero(set_busbar)
        return _Action(
            opened=np.flatnonzero(set_line < 0),
            switched=np.flatnonzero(switch_line),
            moved=np.flatnonzero(catalogue.switch_busbar[number]),
            set_ends=set_ends,
            set_busbars=set_busbar[set_ends],
            closes=np.flatnonzero(at_end & ~touched),
            touched=np.flatnonzero(touched),
            pairs=tuple(dict.fromkeys(pairs)),
        )

    def result(self, number: int, topology: np.ndarray, last_busbar: np.ndarray) -> np.ndarray:
        """Return the topology that action ``number`` makes, legal or not.

        Args:
            number: of the catalogue.
            topology: ``[E]`` int8, present busbars, -1 for the ends of open lines.
            last_busbar: ``[E]`` int8, busbars where last connected.

        Returns:
            ``[E]`` int8, as ``topology``.
        """
        action, layout = self._action(number), self._layout
        after = topology.copy()
        if len(action.moved):
            here = topology[action.moved]
            after[action.moved] = np.where(here > 0, 3 - here, here)
        if len(action.set_ends):
            after[action.set_ends] = action.set_busbars
            # setting one end of an open line closes the line; its other end goes where it was
            for end in action.set_ends.tolist():
                other = self._other_end[end]
                if other >= 0 and topology[end] < 0 and after[other] < 0:
                    after[other] = last_busbar[other]
        for line in (*action.opened.tolist(), *action.switched.tolist()):
            ends = [layout.line_or_position[line], layout.line_ex_position[line]]
            is_open = topology[ends[0]] < 0
            after[ends] = last_busbar[ends] if is_open and line in action.switched else -1
        return after

    def impact(self, number: int, line_status: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lines and substations that count as acted on, for their cooldowns.

        Args:
            number: of the catalogue.
            line_status: ``[L]`` bool, True = closed.

        Returns:
            ``[*]`` and ``[*]`` int, their numbers.
        """
        action = self._action(number)
        closed_by_it = action.closes[~line_status[action.closes]]
        lines = np.concatenate([action.touched, closed_by_it])
        substations = {
            substation for substation, line in action.pairs if line < 0 or line_status[line]
        }
        return lines, np.array(sorted(substations), dtype=np.int64)
