"""``ActionSet``: chosen actions of a grid, by their settings of elements.

Shape letters: A actions, E element ends, L lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from envs.grid.action_sets.powers import PowerSettings, join_powers
from envs.grid.action_sets.wiring import Wiring
from envs.grid.action_text import describe_all
from envs.grid.state import GridLayout


@dataclass(frozen=True, eq=False)
class ActionSet:
    """Actions to choose from. Action 0 does nothing: it is put there; duplicates are merged.

    Args:
        wiring: of the grids that take them.
        set_busbar: ``[A, E]`` int8, busbar to connect to, 0 for as it is.
        switch_busbar: ``[A, E]`` bool, to the other busbar.
        set_line: ``[A, L]`` int8, 1 close, -1 open, 0 as it is.
        switch_line: ``[A, L]`` bool, close if open, open if closed.
        grid: that it was made for; others may have the same wiring.
        provenance: what tells where it comes from, as JSON has it.
        powers: what they do with active power; None if nothing, and then it is None in any case.

    Raises:
        ValueError: a table of another shape or with other values, an action that contradicts
            itself, or none that does anything.
    """

    wiring: Wiring
    set_busbar: np.ndarray
    switch_busbar: np.ndarray
    set_line: np.ndarray
    switch_line: np.ndarray
    grid: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    powers: PowerSettings | None = None

    def __post_init__(self) -> None:
        """Check the tables, merge duplicates, and put doing nothing first."""
        ends, lines = self.wiring.num_elements, self.wiring.num_lines
        count = len(self.set_busbar)
        tables = {
            "set_busbar": _checked(self.set_busbar, (count, ends), (0, 1, 2), "set_bus"),
            "switch_busbar": _checked(self.switch_busbar, (count, ends), (0, 1), "change_bus"),
            "set_line": _checked(self.set_line, (count, lines), (-1, 0, 1), "set_line_status"),
            "switch_line": _checked(self.switch_line, (count, lines), (0, 1), "change_line_status"),
        }
        _refuse_contradictions(self.wiring, **tables)
        rows = np.concatenate(list(tables.values()), axis=1)
        nothing = np.zeros((1, rows.shape[1]), dtype=np.int8)
        rows = told = np.concatenate([nothing, rows])  # what tells an action from others
        powers = None if self.powers is None else self.powers.checked(count, self.wiring)
        if powers is not None and powers.does_something.any():
            powers = join_powers([None, powers], [1, count], self.wiring)
            assert powers is not None
            told = np.concatenate([rows, powers.joined().view(np.int8)], axis=1)
        else:
            powers = None
        first: dict[bytes, int] = {}
        for number, row in enumerate(told):
            first.setdefault(row.tobytes(), number)
        if len(first) < 2:
            raise ValueError("it is empty: it has no action that does anything")
        numbers = np.array(list(first.values()))
        object.__setattr__(self, "powers", None if powers is None else powers.of(numbers))
        kept = rows[numbers]
        places = np.cumsum([0, ends, ends, lines, lines])
        for place, name in enumerate(tables):
            table = kept[:, places[place] : places[place + 1]]
            table = table.astype(np.bool_ if name.startswith("switch") else np.int8)
            table.setflags(write=False)
            object.__setattr__(self, name, table)

    def __len__(self) -> int:
        """Return A."""
        return len(self.set_busbar)

    def __eq__(self, other: object) -> bool:
        """Return whether the actions and the wiring are the same; provenance is none of them."""
        return isinstance(other, ActionSet) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        """Go with ``__eq__``."""
        return hash(self.sha256)

    @property
    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``set_busbar``, ``switch_busbar``, ``set_line``, ``switch_line``."""
        return self.set_busbar, self.switch_busbar, self.set_line, self.switch_line

    @cached_property
    def sha256(self) -> str:
        """Hash of the wiring and of what every action does, in order."""
        digest = hashlib.sha256(self.wiring.sha256.encode())
        for table in self.tables:
            digest.update(np.ascontiguousarray(table, dtype=np.int8).tobytes())
        if self.powers is not None:
            digest.update(self.powers.joined().tobytes())
        return digest.hexdigest()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What each action does, for people; A of them."""
        return describe_all(self.wiring, self.tables, self.powers)

    def subset(self, numbers: Sequence[int] | np.ndarray, **changes: Any) -> ActionSet:
        """Return the actions called ``numbers``, in that order.

        Args:
            numbers: of actions; 0 is there in any case.
            changes: of ``grid`` and ``provenance``.
        """
        rows = np.asarray(numbers, dtype=np.int64)
        about = {"grid": self.grid, "provenance": self.provenance, **changes}
        about["powers"] = None if self.powers is None else self.powers.of(rows)
        set_busbar, switch_busbar, set_line, switch_line = (table[rows] for table in self.tables)
        return ActionSet(self.wiring, set_busbar, switch_busbar, set_line, switch_line, **about)

    def check_layout(self, layout: GridLayout) -> None:
        """Refuse another grid than those that it is for.

        Raises:
            ValueError: the grid is wired otherwise.
        """
        here = Wiring.of(layout)
        if here.sha256 == self.wiring.sha256:
            return
        made_for = f" (it was made for {self.grid})" if self.grid else ""
        same_size = (here.sizes, here.num_lines) == (self.wiring.sizes, self.wiring.num_lines)
        there = "the same, wired otherwise" if same_size else str(here)
        raise ValueError(
            f"the action set is of a grid with {self.wiring}{made_for}; grid {layout.name!r} has "
            f"{there}: use a set of this grid, or actions=all"
        )

    def refuse_powers(self, who: str, *, instead: str) -> None:
        """Refuse a set that does more than open lines and move element ends.

        Args:
            who: knows nothing else, and what it does: "the vector environment plays".
            instead: what to do, for the message.

        Raises:
            ValueError: it names the first action that changes powers.
        """
        if self.powers is not None:
            action = int(self.powers.does_something.argmax())
            raise ValueError(
                f"{who} actions on lines and substations only, and action {action} of the set is "
                f"of another kind ({self.texts[action]}); {instead}"
            )

    @property
    def lines_not_switched(self) -> np.ndarray:
        """``[*]`` int, lines that no action puts back where they were."""
        return np.flatnonzero(~self.switch_line.any(axis=0))


def merge_action_sets(sets: Sequence[ActionSet]) -> ActionSet:
    """Return the actions of all, in order, each once.

    Args:
        sets: at least one.

    Raises:
        ValueError: they are of grids that are wired otherwise.
    """
    first = sets[0]
    for number, one in enumerate(sets[1:], start=2):
        if one.wiring.sha256 != first.wiring.sha256:
            raise ValueError(
                f"set 1 is of a grid with {first.wiring} ({first.grid or 'unnamed'}), set {number} "
                f"of one with {one.wiring} ({one.grid or 'unnamed'}), wired otherwise: only sets "
                "of one wiring are merged"
            )
    set_busbar, switch_busbar, set_line, switch_line = (
        np.concatenate(parts) for parts in zip(*(one.tables for one in sets), strict=True)
    )
    powers = join_powers([one.powers for one in sets], [len(one) for one in sets], first.wiring)
    provenance = {"merged": [{"sha256": one.sha256, **one.provenance} for one in sets]}
    return ActionSet(
        first.wiring,
        set_busbar,
        switch_busbar,
        set_line,
        switch_line,
        grid=first.grid,
        provenance=provenance,
        powers=powers,
    )


def _checked(
    table: np.ndarray, shape: tuple[int, int], values: tuple[int, ...], kind: str
) -> np.ndarray:
    """Return a table as int8.

    Raises:
        ValueError: it has another shape, or other values.
    """
    if table.shape != shape:
        raise ValueError(f"its table {kind} has shape {table.shape}; expected {shape}")
    wrong = np.argwhere(~np.isin(table, values))
    if len(wrong):
        action, place = wrong[0].tolist()
        raise ValueError(
            f"action {action}: {kind} is {table[action, place]} at place {place}; it may be "
            f"{', '.join(map(str, values))}"
        )
    return table.astype(np.int8)


def _refuse_contradictions(
    wiring: Wiring,
    set_busbar: np.ndarray,
    switch_busbar: np.ndarray,
    set_line: np.ndarray,
    switch_line: np.ndarray,
) -> None:
    """Raise ValueError for the first action that says two things of one element."""
    both = np.argwhere((set_busbar != 0) & (switch_busbar != 0))
    if len(both):
        action, end = both[0].tolist()
        raise ValueError(
            f"action {action} contradicts itself: it both sets and changes the busbar of "
            f"{_name(wiring, end)}"
        )
    both = np.argwhere((set_line != 0) & (switch_line != 0))
    if len(both):
        action, line = both[0].tolist()
        raise ValueError(
            f"action {action} contradicts itself: it both sets and changes the status of line "
            f"{line}"
        )
    moved = (set_busbar != 0) | (switch_busbar != 0)
    ends = (wiring.line_or_position, wiring.line_ex_position)
    away = (set_line < 0) | (switch_line != 0)
    both = np.argwhere(away & (moved[:, ends[0]] | moved[:, ends[1]]))
    if len(both):
        action, line = both[0].tolist()
        raise ValueError(
            f"action {action} contradicts itself: it opens or switches line {line} and moves an "
            "end of it"
        )
    placed = (set_busbar[:, ends[0]] != 0) & (set_busbar[:, ends[1]] != 0)
    unplaced = np.argwhere((set_line > 0) & ~placed)
    if len(unplaced):
        action, line = unplaced[0].tolist()
        raise ValueError(
            f"action {action} closes line {line} without a busbar for each of its ends: set them, "
            "or change its status"
        )


def _name(wiring: Wiring, end: int) -> str:
    substation = int(wiring.element_substation[end])
    return f"{wiring.substations[substation][end - wiring.starts[substation]]}"
