"""Grids of 36 and 118 substations, and actions on them for comparisons: some of each kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs import ActionSet, Wiring, grid_wiring
from tests.envs.equality import (
    Policy,
    about_lines,
    anything,
    greedy,
    lines_kept_out,
    nothing,
    now_and_then,
)
from tests.envs.equality_cases import COOLDOWNS, UNPROTECTED, Case

GRIDS = (  # that ship with grid2op
    *("l2rpn_wcci_2020", "l2rpn_neurips_2020_track1", "l2rpn_icaps_2021"),
    *("rte_case118_example", "l2rpn_idf_2023", "l2rpn_wcci_2022_dev"),
)
ATTACKED = (  # have an opponent of their own
    *("l2rpn_neurips_2020_track1", "l2rpn_icaps_2021", "l2rpn_idf_2023", "l2rpn_wcci_2022_dev"),
)


def some_actions(grid: str, each: int = 30, seed: int = 0) -> ActionSet:
    """Return ``each`` random actions of every kind, and some that are about two substations."""
    wiring = grid_wiring(grid)
    rng = np.random.default_rng(seed)
    rows: list[dict[str, dict[int, Any]]] = []
    for _ in range(each):
        rows += _about_lines(wiring, int(rng.integers(wiring.num_lines)))
        one, other = rng.choice(wiring.num_substations, size=2, replace=False).tolist()
        setting, switching = _split(wiring, one, rng), _split(wiring, one, rng)
        rows += [
            {"set_busbar": setting},
            {"set_busbar": dict(list(setting.items())[:1])},
            {"switch_busbar": {end: True for end, busbar in switching.items() if busbar == 2}},
            {"set_busbar": {**setting, **_split(wiring, other, rng)}},
        ]
    storage = [place for place, name in enumerate(wiring._names) if name == "storage"]
    rows += [{"switch_busbar": {place: True}} for place in storage[:3]]
    ends, lines = (len(rows), wiring.num_elements), (len(rows), wiring.num_lines)
    set_busbar, switch_busbar = np.zeros(ends, dtype=np.int8), np.zeros(ends, dtype=np.bool_)
    set_line, switch_line = np.zeros(lines, dtype=np.int8), np.zeros(lines, dtype=np.bool_)
    tables = {
        "set_busbar": set_busbar,
        "switch_busbar": switch_busbar,
        "set_line": set_line,
        "switch_line": switch_line,
    }
    for number, row in enumerate(rows):
        for table, settings in row.items():
            tables[table][number, list(settings)] = list(settings.values())
    return ActionSet(wiring, set_busbar, switch_busbar, set_line, switch_line, grid=grid)


def _about_lines(wiring: Wiring, line: int) -> list[dict[str, dict[int, Any]]]:
    ends = int(wiring.line_or_position[line]), int(wiring.line_ex_position[line])
    return [
        {"set_line": {line: -1}},
        {"switch_line": {line: True}},
        {"set_line": {line: 1}, "set_busbar": dict.fromkeys(ends, 1)},
        {"set_line": {line: 1}, "set_busbar": {ends[0]: 2, ends[1]: 1}},
    ]


def _split(wiring: Wiring, substation: int, rng: np.random.Generator) -> dict[int, int]:
    """Return a busbar for each element end of a substation; busbar 2 for one or more."""
    start, size = wiring.starts[substation], wiring.sizes[substation]
    busbars = rng.integers(1, 3, size=size)
    busbars[rng.integers(size)] = 2
    return {start + place: int(busbar) for place, busbar in enumerate(busbars)}


# how each grid is played; thousandths of its states
CASES: dict[str, Case] = {
    "nothing": Case(nothing, 250, {"observation": "graph"}),
    "greedy": Case(greedy, 150, {"action_mask": "connected", "start": "random"}),
    "now and then": Case(now_and_then, 150, {"start": "random", "reward": "margin"}),
    "cooldowns": Case(about_lines, 150, {"parameters": COOLDOWNS, "reward": "near_reference"}),
    "no protection": Case(
        lines_kept_out, 200, {"parameters": UNPROTECTED, "reward": "redispatch_cost"}
    ),
    "anything": Case(anything, 50, {"start": "random", "action_mask": "distinct"}),
    "gate": Case(
        greedy,
        50,
        {"idle_gate": 0.95, "start": "random", "action_mask": "connected", "max_steps": 60},
    ),
}
assert sum(case.thousandths for case in CASES.values()) == 1000
__all__ = ["ATTACKED", "CASES", "GRIDS", "Policy", "some_actions"]
