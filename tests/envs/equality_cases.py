"""What is played to compare the fast simulator with the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from envs.scenarios import RecombinedSource, Scenario
from envs.scenarios.compositions import digest
from tests.envs.equality import (
    Policy,
    about_lines,
    anything,
    greedy,
    legal,
    lines_kept_out,
    nothing,
    now_and_then,
)

COOLDOWNS = {"NB_TIMESTEP_COOLDOWN_LINE": 3, "NB_TIMESTEP_COOLDOWN_SUB": 3}
LOOSE = {**COOLDOWNS, "MAX_SUB_CHANGED": 2, "MAX_LINE_STATUS_CHANGED": 2}
STRICT = {"NB_TIMESTEP_OVERFLOW_ALLOWED": 1, "HARD_OVERFLOW_THRESHOLD": 1.2}
BUNDLED = {"scenarios": "bundled"}  # the sandbox's own and the educational ones
RANDOM = {"start": "random"}  # of recombined months


class Case(NamedTuple):
    """One way to play."""

    policy: Policy
    thousandths: int  # of all states compared
    options: dict[str, Any]


# every state is compared with the reference's, step by step
CASES: dict[str, Case] = {
    "nothing, bundled": Case(nothing, 110, BUNDLED),
    "nothing, recombined": Case(nothing, 100, {**RANDOM, "observation": "graph"}),
    "greedy, bundled": Case(greedy, 120, BUNDLED),
    "greedy, recombined": Case(greedy, 80, {**RANDOM, "split": "test"}),
    "greedy, varied": Case(
        greedy, 40, {**RANDOM, "scenarios": "varied", "action_mask": "connected"}
    ),
    "legal, bundled": Case(legal, 30, BUNDLED),
    "legal, recombined": Case(legal, 30, {"split": "val", "action_mask": "distinct"}),
    "anything, bundled": Case(anything, 30, BUNDLED),
    "anything, recombined": Case(anything, 30, {}),
    "lines kept out, bundled": Case(lines_kept_out, 70, BUNDLED),
    "lines kept out, recombined": Case(lines_kept_out, 70, {"observation": "full"}),
    "cooldowns, bundled": Case(about_lines, 60, {**BUNDLED, "parameters": COOLDOWNS}),
    "cooldowns, recombined": Case(
        about_lines, 60, {"parameters": COOLDOWNS, "reconnect_lines": True}
    ),
    "two at a time": Case(now_and_then, 60, {**RANDOM, "parameters": LOOSE}),
    "cascades": Case(now_and_then, 50, {"parameters": STRICT, "reward": "margin"}),
    "no protection": Case(anything, 20, {"parameters": {"NO_OVERFLOW_DISCONNECTION": True}}),
    "soft threshold": Case(
        now_and_then,
        40,
        {"parameters": {"SOFT_OVERFLOW_THRESHOLD": 0.8}, "reward": "redispatch_cost"},
    ),
}
# under an idle gate, only what is seen at decisions is compared
GATED: dict[str, Case] = {
    "gate": Case(
        now_and_then, 4, {"idle_gate": 0.9, "split": "test", "max_steps": 700, "reward": "margin"}
    ),
    "gate and reconnection": Case(
        about_lines,
        3,
        {
            **RANDOM,
            "idle_gate": 0.95,
            "reconnect_lines": True,
            "parameters": COOLDOWNS,
            "reward": "survival",
        },
    ),
    "gate never opens": Case(nothing, 1, {**BUNDLED, "idle_gate": 1.3}),
    "gate and greedy": Case(greedy, 2, {**RANDOM, "idle_gate": 0.9, "reward": "near_reference"}),
}
OTHER_GRIDS = {  # the number of its actions
    "rte_case5_example": 166,
    "rte_case14_realistic": 427,
    "l2rpn_case14_sandbox_diff_grid": 487,
}
assert sum(case.thousandths for case in CASES.values()) == 1000

_LINES = ("3_4_6", "11_12_13", "3_6_15", "3_8_16", "6_8_19")
_OFTEN = {"budget": 40, "budget_per_step": 0.5}  # enough for several attacks in a short episode
_HOURS = {"every_hours": 5, "mean_hours": 2, "least_hours": 1}
OPPONENTS: dict[str, str | dict[str, Any]] = {
    "rl4pnc": "rl4pnc",
    "rte_case14": "rte_case14",
    "weighted": {
        **{"kind": "weighted", "lines": _LINES, "duration": 20, "period": 60, **_OFTEN},
        **{"usual_rho": (0.5, 0.4, 0.3, 0.6, 0.7), "within": 50},
    },
    "geometric": {
        **{"kind": "geometric", "lines": _LINES, "duration": 60, "period": 5, **_OFTEN},
        **_HOURS,
    },
    "areas": {
        **{"kind": "areas", "lines": (_LINES[:2], _LINES[2:]), "duration": 60, "period": 0},
        **{**_OFTEN, **_HOURS},
    },
}


_SPARED = (0, 2, 3, 4, 6, 8, 9, 10, 14, 16, 17)  # lines, any two of which a grid can do without


@dataclass(frozen=True)
class Interrupted(RecombinedSource):
    """Scenarios in which lines are out now and then, as planned or not, some from the start on."""

    def load(self, name: str) -> Scenario:
        scenario = super().load(name)
        rng = np.random.default_rng(digest(name))
        outages = np.zeros((2, len(scenario.load_p), 20), dtype=np.bool_)
        for kind, every in ((0, 90), (1, 200)):  # one of a kind at a time, so that grids can start
            first = int(rng.integers(every)) - 9
            for start in range(first, len(scenario.load_p), every):
                rows = slice(max(start, 0), start + int(rng.integers(1, every)))
                outages[kind, rows, rng.choice(_SPARED)] = True
        return replace(scenario, maintenance=outages[0], hazards=outages[1])


UNPROTECTED = {"NO_OVERFLOW_DISCONNECTION": True}  # nothing trips, so episodes last
# under an opponent; those under a gate play many steps for each state compared
ATTACKED: dict[str, Case] = {
    "nothing": Case(nothing, 100, {**RANDOM, "observation": "graph"}),
    "greedy": Case(greedy, 250, {**BUNDLED, "split": "test"}),
    "greedy, varied": Case(greedy, 150, {**RANDOM, "scenarios": "varied"}),
    "cooldowns": Case(about_lines, 150, {"parameters": COOLDOWNS, "reconnect_lines": True}),
    "lines kept out": Case(lines_kept_out, 100, {"observation": "full"}),
    "no protection": Case(
        now_and_then, 200, {**RANDOM, "parameters": UNPROTECTED, "action_mask": "connected"}
    ),
    "gate": Case(
        greedy,
        30,
        {**RANDOM, "idle_gate": 0.9, "reconnect_lines": True, "reward": "near_reference"},
    ),
    "gate, no protection": Case(
        nothing, 20, {"idle_gate": 1.1, "parameters": UNPROTECTED, "reward": "survival"}
    ),
}
assert sum(case.thousandths for case in ATTACKED.values()) == 1000
# with outages of the series
INTERRUPTED: dict[str, Case] = {
    "nothing": Case(nothing, 100, {**RANDOM, "observation": "full"}),
    "greedy": Case(greedy, 250, RANDOM),
    "cooldowns": Case(about_lines, 150, {"parameters": COOLDOWNS, "reconnect_lines": True}),
    "lines kept out": Case(lines_kept_out, 150, {**RANDOM, "observation": "graph"}),
    "no protection": Case(anything, 150, {**RANDOM, "parameters": UNPROTECTED}),
    "attacked": Case(now_and_then, 150, {"parameters": UNPROTECTED, "opponent": "rl4pnc"}),
    "gate": Case(greedy, 30, {**RANDOM, "idle_gate": 0.9, "reconnect_lines": True}),
    "gate, no protection": Case(
        nothing, 20, {"idle_gate": 1.1, "parameters": UNPROTECTED, "reward": "survival"}
    ),
}
assert sum(case.thousandths for case in INTERRUPTED.values()) == 1000
