"""The fast simulator plays what grid2op plays: states, rewards, infos, observations, look-ahead.

Each way to play is compared until what it is about has happened, over 3,000 states in all;
``make test-nightly`` compares 200,000 and more of the same cases.
"""

from __future__ import annotations

import pytest

from envs.fast.vector import PowerGridVectorEnv
from tests.envs.equality import about_lines, anything, compare, greedy, nothing, now_and_then
from tests.envs.equality_cases import (
    ATTACKED,
    CASES,
    GATED,
    INTERRUPTED,
    OPPONENTS,
    OTHER_GRIDS,
    Interrupted,
)

STATES = 2_000
ALWAYS = ("no protection", "gate, no protection")  # cases that last until every opponent attacks


@pytest.mark.parametrize("name", CASES)
def test_same_as_the_reference(name: str):
    case = CASES[name]
    states = STATES * case.thousandths // 1000
    compared = compare(case.policy, states, looking=0.05, **case.options)
    assert compared.states == compared.steps + compared.episodes
    assert compared.lookaheads > 0
    if case.policy not in (nothing, greedy):
        assert compared.blackouts > 1
    if case.policy in (anything, about_lines):
        assert compared.illegal > 5


@pytest.mark.parametrize("name", GATED)
def test_same_under_a_gate(name: str):
    case = GATED[name]
    compared = compare(case.policy, 5 * case.thousandths, **case.options)
    assert compared.steps > compared.states


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_same_under_attack(opponent: str):
    others = [name for name in ATTACKED if name not in ALWAYS]
    turn = list(OPPONENTS).index(opponent)
    own = (others[turn % len(others)], others[(turn + 3) % len(others)])  # each case has its turn
    attacks = 0
    for name in (*ALWAYS, *own):
        case = ATTACKED[name]
        options = {**case.options, "opponent": OPPONENTS[opponent]}
        attacks += compare(case.policy, case.thousandths // 8, **options).attacks
    assert attacks > 0


@pytest.mark.parametrize("grid", OTHER_GRIDS)
def test_same_on_other_grids(grid: str):
    assert PowerGridVectorEnv(1, grid=grid, scenarios="bundled").num_actions == OTHER_GRIDS[grid]
    compared = compare(now_and_then, 150, grid=grid, scenarios="bundled")
    assert compared.blackouts > 0 and compared.illegal > 0


@pytest.mark.parametrize("name", INTERRUPTED)
def test_same_with_outages(name: str):
    case = INTERRUPTED[name]
    options = {**case.options, "scenarios": Interrupted()}
    compare(case.policy, case.thousandths // 2, **options)
