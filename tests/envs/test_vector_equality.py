"""The fast simulator plays what grid2op plays: states, rewards, infos, observations, look-ahead."""

from __future__ import annotations

from typing import Any

import pytest

from tests.envs.equality import Compared
from tests.envs.equality import Policy
from tests.envs.equality import about_lines
from tests.envs.equality import anything
from tests.envs.equality import compare
from tests.envs.equality import greedy
from tests.envs.equality import legal
from tests.envs.equality import nothing
from tests.envs.equality import now_and_then

COOLDOWNS = {"NB_TIMESTEP_COOLDOWN_LINE": 3, "NB_TIMESTEP_COOLDOWN_SUB": 3}
LOOSE = {**COOLDOWNS, "MAX_SUB_CHANGED": 2, "MAX_LINE_STATUS_CHANGED": 2}
STRICT = {"NB_TIMESTEP_OVERFLOW_ALLOWED": 1, "HARD_OVERFLOW_THRESHOLD": 1.2}
CASES: dict[str, tuple[Policy, int, dict[str, Any]]] = {  # policy, steps, options
    "nothing, bundled": (nothing, 350, {"scenarios": "bundled"}),
    "anything": (anything, 250, {}),
    "legal": (legal, 200, {"split": "val", "action_mask": "distinct"}),
    "about lines": (about_lines, 250, {"observation": "full"}),
    "cooldowns": (about_lines, 250, {"parameters": COOLDOWNS, "reconnect_lines": True}),
    "two at a time": (now_and_then, 250, {"parameters": LOOSE, "start": "random"}),
    "cascades": (now_and_then, 400, {"parameters": STRICT, "reward": "margin"}),
    "no protection": (anything, 150, {"parameters": {"NO_OVERFLOW_DISCONNECTION": True}}),
    "soft threshold": (
        now_and_then,
        300,
        {"parameters": {"SOFT_OVERFLOW_THRESHOLD": 0.8}, "reward": "redispatch_cost"},
    ),
    "gate": (now_and_then, 3500, {"idle_gate": 0.9, "split": "test", "max_steps": 700}),
    "gate and reconnection": (
        about_lines,
        2500,
        {
            "idle_gate": 0.95,
            "reconnect_lines": True,
            "start": "random",
            "parameters": COOLDOWNS,
            "reward": "survival",
        },
    ),
    "gate never opens": (nothing, 1200, {"idle_gate": 1.3, "scenarios": "bundled"}),
    "greedy": (greedy, 250, {"idle_gate": 0.9, "start": "random"}),
}


def _play(case: str, factor: float = 1) -> Compared:
    policy, steps, options = CASES[case]
    return compare(policy, int(factor * steps), **options)


@pytest.mark.parametrize("case", CASES)
def test_same_as_the_reference(case: str):
    _play(case)


@pytest.mark.parametrize(
    "grid", ["rte_case5_example", "rte_case14_realistic", "l2rpn_case14_sandbox_diff_grid"]
)
def test_same_on_other_grids(grid: str):
    compare(now_and_then, 100, grid=grid, scenarios="bundled", looking=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_same_for_long(case: str):
    _play(case, factor=12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "grid", ["rte_case5_example", "rte_case14_realistic", "l2rpn_case14_sandbox_diff_grid"]
)
def test_same_for_long_on_other_grids(grid: str):
    for policy in (about_lines, now_and_then):
        compare(policy, 1500, grid=grid, scenarios="bundled", looking=0.1)
        compare(policy, 4000, grid=grid, scenarios="bundled", idle_gate=0.9)
