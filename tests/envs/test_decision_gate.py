"""When an agent is asked: by loading, by time, at attacks, by the worst foreseen loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.decision_gate import lines_at_risk
from envs.fast.vector import PowerGridVectorEnv
from envs.opponents import make_opponent
from tests.envs.equality import assert_identical, compare, greedy, nothing
from tests.envs.equality_cases import OPPONENTS, UNPROTECTED

LINES = ("3_4_6", "11_12_13", "3_6_15", "3_8_16", "6_8_19")
CASES: dict[str, dict[str, Any]] = {
    "every 12 steps": {"ask_every": 12, "opponent": "rl4pnc"},
    "every 30 steps, or loaded": {"ask_every": 30, "idle_gate": 0.95},
    "at attacks": {"ask_at_attacks": True, "opponent": OPPONENTS["weighted"]},
    "N-1": {"n1_gate": 1.2, "opponent": "rte_case14", "start": "random"},
    "as wrappers=preventive": {
        **{"n1_gate": 1.9, "idle_gate": 0.95, "ask_every": 6, "ask_at_attacks": True},
        "opponent": OPPONENTS["weighted"],
    },
    "all of them": {
        **{"n1_gate": 1.3, "idle_gate": 0.97, "ask_every": 40, "ask_at_attacks": True},
        "opponent": OPPONENTS["geometric"],
    },
}


@pytest.mark.parametrize("name", CASES)
def test_both_environments_ask_at_the_same_steps(name: str):
    for policy, options in (
        (nothing, {"reward": "survival", "parameters": UNPROTECTED}),
        (greedy, {"reward": "near_reference", "reconnect_lines": True}),
    ):
        compared = compare(policy, 6, max_steps=150, looking=0, **CASES[name], **options)
        assert compared.states >= 6


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("reward", ["survival", "l2rpn"])
def test_a_grid_is_asked_at_the_same_steps_alone_and_beside_others(name: str, reward: str):
    options = {**CASES[name], "reward": reward, "parameters": UNPROTECTED, "max_steps": 600}
    seeds = np.arange(4)
    actions = np.random.default_rng(0).integers(487, size=(4, 600))
    actions[np.random.default_rng(1).random(actions.shape) < 0.9] = 0

    def played(numbers: np.ndarray) -> list[list[Any]]:
        """Return observation, reward and infos of each decision on each grid, by itself."""
        env = PowerGridVectorEnv(len(numbers), autoreset="disabled", **options)
        shown, infos = env.reset(seed=seeds[numbers].tolist())
        found: list[list[Any]] = [[] for _ in numbers]
        decision, going = 0, np.ones(len(numbers), dtype=bool)
        rewards = np.zeros(len(numbers))
        while True:
            for grid in np.flatnonzero(going):
                there = {key: values[grid] for key, values in infos.items() if key[0] != "_"}
                there["reset_reward"] = infos.get("reset_reward", np.zeros(4))[grid]
                found[grid].append((shown[grid], rewards[grid], there))
            going &= ~env.over
            if not going.any():
                return found
            shown, rewards, *_, infos = env.step(actions[numbers, decision])
            decision += 1

    together = played(np.arange(4))
    assert sum(map(len, together)) >= 20
    for number in range(4):
        assert_identical(played(np.array([number]))[0], together[number])


def test_asks_when_it_should():
    env = PowerGridVectorEnv(
        1,
        **{"autoreset": "disabled", "parameters": UNPROTECTED, "reward": "survival"},
        **{"opponent": "rl4pnc", "ask_at_attacks": True, "max_steps": 280},
    )
    _, infos = env.reset(seed=0)
    asked = [int(infos["step"][0])]
    while not env.over[0]:
        *_, infos = env.step([0])
        asked.append(int(infos["step"][0]))
    assert asked == [1, 48, 144, 191, 280]  # struck, free to be closed, struck again, ...


def test_the_worst_loss_opens_the_gate():
    late = {"lines": LINES, "duration": 48, "period": 144, "budget_per_step": 0.1}
    env = PowerGridVectorEnv(
        1, n1_gate=1.0, ask_every=25, opponent=late, autoreset="disabled", start="random"
    )
    lines = lines_at_risk(env.layout, env.opponent)
    by_time, by_loss = 0, 0
    for seed in range(12):
        _, infos = env.reset(seed=seed)
        found = env.simulate([[0]], lines)[0]
        assert found is not None
        if found.rho_max[0, 1:].max() >= 1.0:
            by_loss += 1
        else:
            assert infos["duration"][0] == 25
            by_time += 1
    assert by_loss and by_time


def test_lines_at_risk_are_the_opponents_or_all_that_can_be_spared():
    env = PowerGridVectorEnv(1)
    opponent = make_opponent("rl4pnc", "")
    assert lines_at_risk(env.layout, opponent).tolist() == [6, 13, 15, 16, 19]
    spared = lines_at_risk(env.layout, None)
    assert set(range(20)) - set(spared.tolist()) == {18}  # the one line of a generator


def test_no_gate_asks_at_every_step():
    env = PowerGridVectorEnv(1, opponent="rl4pnc")
    env.reset(seed=0)
    *_, infos = env.step(np.zeros(1, dtype=np.int64))
    assert infos["duration"][0] == 1 and "reset_reward" not in infos
