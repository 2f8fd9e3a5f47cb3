"""Describes actions in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.grid.state import GridLayout

if TYPE_CHECKING:
    from envs.grid.action_sets import Wiring


def describe(
    layout: GridLayout | Wiring,
    set_busbar: np.ndarray,
    switch_busbar: np.ndarray,
    set_line: np.ndarray,
    switch_line: np.ndarray,
) -> str:
    """Return one line that tells an operator what is done.

    Args:
        layout: of the grid, or of an action set.
        set_busbar: ``[E]`` int8, busbar to connect to, 0 for as it is.
        switch_busbar: ``[E]`` bool, to the other busbar.
        set_line: ``[L]`` int8, 1 close, -1 open, 0 as it is.
        switch_line: ``[L]`` bool, close if open, open if closed.
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
    return "; ".join(parts) or "do nothing"


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
