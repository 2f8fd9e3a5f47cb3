"""The fast simulator plays what grid2op plays: states, rewards, infos, observations, look-ahead.

20,000 states are compared here, in about a minute; ``make test-nightly`` compares 200,000.
"""

from __future__ import annotations

import pytest

from envs.fast.vector import PowerGridVectorEnv
from tests.envs.equality import compare, now_and_then
from tests.envs.equality_cases import (
    ATTACKED,
    CASES,
    GATED,
    INTERRUPTED,
    OPPONENTS,
    OTHER_GRIDS,
    Interrupted,
)

STATES = 20_000


@pytest.mark.parametrize("name", CASES)
def test_same_as_the_reference(name: str):
    case = CASES[name]
    compared = compare(case.policy, STATES * case.thousandths // 1000, **case.options)
    assert compared.states == compared.steps + compared.episodes


@pytest.mark.parametrize("name", GATED)
def test_same_under_a_gate(name: str):
    case = GATED[name]
    compared = compare(case.policy, 20 * case.thousandths, **case.options)
    assert compared.steps > compared.states


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_same_under_attack(opponent: str):
    attacks = 0
    for case in ATTACKED.values():
        options = {**case.options, "opponent": OPPONENTS[opponent]}
        attacks += compare(case.policy, case.thousandths // 8, **options).attacks
    assert attacks > 0


@pytest.mark.parametrize("grid", OTHER_GRIDS)
def test_same_on_other_grids(grid: str):
    assert PowerGridVectorEnv(1, grid=grid, scenarios="bundled").num_actions == OTHER_GRIDS[grid]
    compared = compare(now_and_then, 400, grid=grid, scenarios="bundled")
    assert compared.blackouts > 0 and compared.illegal > 0


@pytest.mark.parametrize("name", INTERRUPTED)
def test_same_with_outages(name: str):
    case = INTERRUPTED[name]
    options = {**case.options, "scenarios": Interrupted()}
    compare(case.policy, case.thousandths * 2, **options)
