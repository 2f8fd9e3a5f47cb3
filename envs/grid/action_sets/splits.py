"""Every way to split one substation into two nodes or join it again: actions to choose from.

Shape letters: n element ends of a substation.
"""

from __future__ import annotations

import numpy as np

from envs.grid.action_sets.action_set import ActionSet
from envs.grid.action_sets.wiring import Wiring

MOST_ENDS = 20  # of a substation: half a million ways to split it


def substation_splits(
    wiring: Wiring, *, grid: str = "", most: int | None = None, seed: int = 0
) -> ActionSet:
    """Return one action for each distinct topology of one substation.

    Of two settings that differ in the names of the busbars alone, the one with fewer element ends
    on busbar 2 is there. On each busbar there is a line, and another element: a line alone on a
    busbar is as good as open. Joining a substation again is one of its topologies.

    Args:
        wiring: of the grid.
        grid: its name.
        most: ways to split a substation, at most; of more, some are drawn. None for all: on the 36
            substations there are 66,000, all but 1,200 of them of a single one.
        seed: of what is drawn.

    Raises:
        ValueError: a substation has too many element ends, or none can be split.
    """
    rows = []
    lines = np.zeros(wiring.num_elements, dtype=np.bool_)
    lines[wiring.line_or_position] = lines[wiring.line_ex_position] = True
    places = zip(wiring.starts, wiring.sizes, strict=True)
    for substation, (start, size) in enumerate(places):
        if size > MOST_ENDS:
            raise ValueError(
                f"a substation of grid {grid!r} has {size} element ends: there are too many ways "
                f"to split it; {MOST_ENDS} are the most"
            )
        splits = _splits(lines[start : start + size])
        if len(splits) < 2:  # it can be joined only, and is never split
            continue
        if most is not None and len(splits) - 1 > most:
            rng = np.random.default_rng([seed, substation])
            drawn = rng.choice(len(splits) - 1, most, replace=False)
            splits = splits[[0, *(1 + np.sort(drawn))]]
        settings = np.zeros((len(splits), wiring.num_elements), dtype=np.int8)
        settings[:, start : start + size] = splits
        rows.append(settings)
    if not rows:
        raise ValueError(f"no substation of grid {grid!r} can be split")
    set_busbar = np.concatenate(rows)
    return _only(wiring, grid, set_busbar=set_busbar)


def line_switches(wiring: Wiring, *, grid: str = "") -> ActionSet:
    """Return the actions that open a line, or close it where it was: one for each line.

    Args:
        wiring: of the grid.
        grid: its name.
    """
    return _only(wiring, grid, switch_line=np.eye(wiring.num_lines, dtype=np.bool_))


def _splits(lines: np.ndarray) -> np.ndarray:
    """Return ``[*, n]`` int8 busbars of one substation, the joined one first.

    Args:
        lines: ``[n]`` bool, which element ends are of lines.
    """
    size = len(lines)
    patterns = np.arange(2 ** max(size - 1, 0))  # the first element end stays on busbar 1
    second = (patterns[:, None] >> np.arange(size)[::-1]) & 1 != 0  # [*, n] on busbar 2
    count = second.sum(axis=1)
    joined = count == 0
    balanced = (count >= 2) & (size - count >= 2)
    balanced &= (second & lines).any(axis=1) & (~second & lines).any(axis=1)
    kept = second[joined | balanced]
    turned = kept.sum(axis=1) > size - kept.sum(axis=1)
    return np.where(kept ^ turned[:, None], 2, 1).astype(np.int8)


def _only(wiring: Wiring, grid: str, **tables: np.ndarray) -> ActionSet:
    """Return a set of which some tables are given, and the others do nothing."""
    (count,) = {len(table) for table in tables.values()}
    ends, lines = (count, wiring.num_elements), (count, wiring.num_lines)
    empty = {
        "set_busbar": np.zeros(ends, dtype=np.int8),
        "switch_busbar": np.zeros(ends, dtype=np.bool_),
        "set_line": np.zeros(lines, dtype=np.int8),
        "switch_line": np.zeros(lines, dtype=np.bool_),
    }
    return ActionSet(wiring, **{**empty, **tables}, grid=grid)
