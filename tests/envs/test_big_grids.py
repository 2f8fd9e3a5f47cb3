"""The fast grid plays grids of 36 and 118 substations as grid2op does.

Here some hundred states; ``python -m tests.envs.nightly --grid all`` compares 20,000 of each grid.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from envs import ActionSet, describe_grid
from envs.fast.vector import PowerGridVectorEnv
from envs.grid.state import LegalityState
from tests.envs.big_grids import CASES, some_actions
from tests.envs.equality import Compared, compare
from tests.envs.equality_cases import UNPROTECTED

WCCI_2020, TRACK_1, ICAPS, IDF = (
    *("l2rpn_wcci_2020", "l2rpn_neurips_2020_track1"),
    *("l2rpn_icaps_2021", "l2rpn_idf_2023"),
)
SOON = 12  # steps


@cache
def actions_of(grid: str) -> ActionSet:
    return some_actions(grid, each=15)


def options_of(grid: str, **others: Any) -> dict[str, Any]:
    return {"grid": grid, "scenarios": "bundled", "actions": actions_of(grid), **others}


def compare_case(grid: str, name: str, states: int, **others: Any) -> Compared:
    case = CASES[name]
    options = options_of(grid, **{**case.options, **others})
    return compare(case.policy, states, looking=0.03, **options)


@pytest.mark.parametrize("grid", [WCCI_2020, IDF])
def test_same_as_the_reference(grid: str):
    assert compare_case(grid, "cooldowns", 30).steps > 20
    assert compare_case(grid, "anything", 30).illegal > 0


@pytest.mark.parametrize(
    ("grid", "states"),
    [(TRACK_1, 8), pytest.param(ICAPS, 14, marks=pytest.mark.slow), (IDF, 8)],
)
def test_same_under_the_opponent_of_the_grid(grid: str, states: int):
    """Nothing trips and the gate opens seldom, so episodes last until somebody attacks."""
    others = {"opponent": "grid", "parameters": UNPROTECTED, "start": "random"}
    compared = compare_case(grid, "nothing", states, **others, ask_every=96)
    assert compared.attacks > 0 and compared.steps > 300


def test_same_while_drawn_maintenance_begins_and_lasts():
    options = options_of(WCCI_2020, start="random", parameters=UNPROTECTED)
    fast, seed = PowerGridVectorEnv(1, **options), 0
    soon = np.array([False])
    while not soon.any():
        seed += 1
        fast.reset(seed=seed)
        soon = (fast.state.maintenance_in > 0) & (fast.state.maintenance_in < SOON)
    case = CASES["nothing"]
    compare(case.policy, 2 * SOON, seed=seed, looking=0.5, **options)
    for _ in range(2 * SOON):
        fast.step([0])
    lines = np.flatnonzero(soon[0])
    assert not fast.state.line_status[0, lines].any()
    assert (fast.state.line_cooldown[0, lines] > 0).all()


def test_limits_hold_in_each_area():
    layout, catalogue = describe_grid(IDF, actions_of(IDF))
    assert layout.areas is not None and set(layout.areas) == {0, 1, 2}
    fresh = LegalityState(
        np.ones((1, layout.num_lines), dtype=np.bool_),
        np.zeros((1, layout.num_lines), dtype=np.int32),
        np.zeros((1, layout.num_substations), dtype=np.int32),
    )
    legal, told = catalogue.legal(fresh)[0], set[bool]()
    for action, row in enumerate(catalogue.set_busbar):
        substations = np.unique(layout.element_substation[row > 0])
        if len(substations) == 2 and not catalogue.set_line[action].any():
            apart = len(set(layout.areas[substations])) == 2
            assert legal[action] == apart
            reason = catalogue.illegal_reason(action, fresh)
            assert ("changes 2 substations in an area" in reason) == (not apart)
            told.add(apart)
    assert told == {True, False}
