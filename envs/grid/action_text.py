"""Describes actions in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.grid.state import GridLayout

if TYPE_CHECKING:
    from envs.grid.action_sets import Wiring

PowerRows = tuple[np.ndarray, np.ndarray, np.ndarray]  # one action's of PowerSettings


def describe_all(
    layout: GridLayout | Wiring,
    tables: Sequence[np.ndarray],
    powers: Sequence[np.ndarray] | None,
) -> tuple[str, ...]:
    """Return one line for each of A actions.

    Args:
        layout: of the grid, or of an action set.
        tables: the four that ``describe`` takes rows of.
        powers: those of ``PowerSettings``; None for none.
    """
    own: Iterable[Any] = repeat(None) if powers is None else zip(*powers, strict=True)
    rows: Iterable[Any] = zip(*tables, own, strict=False)
    return tuple(describe(layout, *row) for row in rows)


def describe(
    layout: GridLayout | Wiring,
    set_busbar: np.ndarray,
    switch_busbar: np.ndarray,
    set_line: np.ndarray,
    switch_line: np.ndarray,
    powers: PowerRows | None = None,
) -> str:
    """Return one line that tells an operator what is done.

    Args:
        layout: of the grid, or of an action set.
        set_busbar: ``[E]`` int8, busbar to connect to, 0 for as it is.
        switch_busbar: ``[E]`` bool, to the other busbar.
        set_line: ``[L]`` int8, 1 close, -1 open, 0 as it is.
        switch_line: ``[L]`` bool, close if open, open if closed.
        powers: see ``PowerSettings``: ``[G]`` MW, ``[G]`` ratios and ``[N]`` MW; None for none.
    """
    parts = []
    set_here = set_busbar.copy()
    for line in np.flatnonzero(set_line).tolist():
        if set_line[line] < 0:
            parts.append(f"disconnect {line_text(layout, line)}")
            continue
        ends = (layout.line_or_position[line], layout.line_ex_position[line])
        busbars = " / ".join(str(set_busbar[end]) for end in ends)
        set_here[list(ends)] = 0
        parts.append(f"reconnect {line_text(layout, line)} at busbars {busbars}")
    for line in np.flatnonzero(switch_line).tolist():
        parts.append(f"switch {line_text(layout, line)}: disconnect if in, reconnect if out")
    names = element_names(layout)
    for substation in np.unique(layout.element_substation[set_here > 0]):
        ends = np.flatnonzero((set_here > 0) & (layout.element_substation == substation))
        moves = ", ".join(f"{names[end]} -> busbar {set_here[end]}" for end in ends)
        parts.append(f"substation {substation}: {moves}")
    for substation in np.unique(layout.element_substation[switch_busbar]):
        ends = np.flatnonzero(switch_busbar & (layout.element_substation == substation))
        moved = ", ".join(names[end] for end in ends)
        parts.append(f"substation {substation}: switch busbar of {moved}")
    if powers is not None:
        parts += _power_parts(layout, *powers)
    return "; ".join(parts) or "do nothing"


def _power_parts(
    layout: GridLayout | Wiring, redispatch: np.ndarray, curtail: np.ndarray, storage: np.ndarray
) -> list[str]:
    """Return what an action does with power, a text for each kind of it."""

    def name(generator: int) -> str:
        return f"gen_{generator} (substation {layout.generator_substation[generator]})"

    steps = [
        f"{name(one)} by {redispatch[one]:+g} MW" for one in np.flatnonzero(redispatch).tolist()
    ]
    limits = [
        f"{name(one)} to {100 * curtail[one]:g} % of its maximum"
        for one in np.flatnonzero((curtail >= 0) & (curtail < 1)).tolist()
    ]
    free = [name(one) for one in np.flatnonzero(curtail == 1).tolist()]
    charged = [
        f"storage_{one} with {storage[one]:g} MW" for one in np.flatnonzero(storage > 0).tolist()
    ]
    drained = [
        f"storage_{one} with {-storage[one]:g} MW" for one in np.flatnonzero(storage < 0).tolist()
    ]
    return [
        f"{verb} {', '.join(elements)}"
        for verb, elements in (
            ("redispatch", steps),
            ("curtail", limits),
            ("end the curtailment of", free),
            ("charge", charged),
            ("discharge", drained),
        )
        if elements
    ]


def line_text(layout: GridLayout | Wiring, line: int) -> str:
    """Return a line by its substations and number, such as "line 3-6 (line 15)"."""
    ends = f"{layout.line_or_substation[line]}-{layout.line_ex_substation[line]}"
    return f"line {ends} (line {line})"


def element_names(layout: GridLayout | Wiring) -> list[str]:
    """Return the kind and number of each of the E entries of ``topo_vect``: "line_3 (or)" ..."""
    names = ["storage"] * layout.num_elements
    for prefix, positions, suffix in (
        ("line", layout.line_or_position, " (or)"),
        ("line", layout.line_ex_position, " (ex)"),
        ("gen", layout.generator_position, ""),
        ("load", layout.load_position, ""),
    ):
        for number, position in enumerate(positions):
            names[position] = f"{prefix}_{number}{suffix}"
    return names
