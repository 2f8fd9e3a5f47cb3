"""The idle gate and the reconnection of lines, against the same steps played by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest

from envs.reference.power_grid import PowerGridEnv
from envs.reference.wrappers import IdleGate, ReconnectLines

DISCONNECT = 387  # action: disconnect line 0; + line


@pytest.fixture(scope="module")
def env() -> Iterator[PowerGridEnv]:
    made = PowerGridEnv(split="val", text_infos=True)
    yield made
    made.close()


class Days(NamedTuple):
    """A scenario in which nobody acts."""

    scenario: str
    busy: int  # row at which rho first reaches 0.9
    blackout: int  # row at which the game ends


@pytest.fixture(scope="module")
def days(env: PowerGridEnv) -> Days:
    name = env.scenarios.names("val")[0]
    _, info = env.reset(options={"scenario": name})
    busy, terminated = None, False
    while not terminated:
        if busy is None and info["rho_max"] >= 0.9:
            busy = info["step"]
        *_, terminated, _, info = env.step(0)
    assert busy is not None and busy > 20
    return Days(name, busy, info["step"])


def test_reset_plays_to_the_first_decision(env: PowerGridEnv, days: Days):
    options = {"scenario": days.scenario, "first_step": days.busy - 15}
    env.reset(options=options)
    played = [env.step(0) for _ in range(15)]
    observation, info = IdleGate(env, 0.9).reset(options=options)
    assert np.array_equal(observation, played[-1][0])
    assert info["duration"] == 15 and info["step"] == days.busy and info["rho_max"] >= 0.9
    assert info["reset_reward"] == pytest.approx(sum(step[1] for step in played))


def test_step_sums_rewards_and_durations(env: PowerGridEnv, days: Days):
    gate = IdleGate(env, 0.9)
    options = {"scenario": days.scenario, "first_step": days.busy}
    _, info = gate.reset(options=options)
    assert info["duration"] == 0 and info["reset_reward"] == 0
    action = 200 + int(np.argmin(env.simulate(np.arange(200, 386)).rho_max))
    observation, reward, terminated, truncated, info = gate.step(action)
    assert not terminated and not truncated
    assert info["duration"] > 1 and info["rho_max"] >= 0.9
    assert info["step"] == days.busy + info["duration"]

    env.reset(options=options)
    played = [env.step(action), *(env.step(0) for _ in range(info["duration"] - 1))]
    assert reward == pytest.approx(sum(step[1] for step in played))
    assert np.array_equal(observation, played[-1][0])


def test_illegal_is_about_the_agents_own_action(env: PowerGridEnv, days: Days):
    gate = IdleGate(env, 0.9)
    env.reset(options={"scenario": days.scenario, "first_step": days.busy - 15})
    *_, info = gate.step(407)
    assert info["duration"] > 1
    assert info["illegal"] and "allowed" in info["illegal_reason"]


def test_calm_to_the_end_leaves_one_decision(env: PowerGridEnv, days: Days):
    name = days.scenario
    length = env.scenarios.load(name).num_steps
    gate = IdleGate(env, 1.99)  # never reached
    _, info = gate.reset(options={"scenario": name, "first_step": length - 4})
    assert info["step"] == length - 1 and info["duration"] == 3 and info["end"] == ""
    *_, terminated, truncated, info = gate.step(0)
    assert truncated and not terminated and info["end"] == "scenario complete"

    _, info = gate.reset(options={"scenario": name, "first_step": length - 1})
    assert info["duration"] == 0 and info["step"] == length - 1

    _, info = gate.reset(options={"scenario": name, "first_step": days.blackout - 9})
    last = info["step"]
    *_, terminated, _, info = gate.step(0)
    assert terminated and info["step"] == last + 1


def test_gate_is_reproducible(env: PowerGridEnv):
    gate = IdleGate(env, 0.8)
    first, info = gate.reset(seed=5)
    second, again = gate.reset(seed=5)
    assert np.array_equal(first, second)
    assert info["scenario"] == again["scenario"] and info["step"] == again["step"]


def test_lines_are_put_back(env: PowerGridEnv):
    mended = ReconnectLines(env)
    mended.reset(seed=0)
    *_, info = mended.step(DISCONNECT + 3)
    assert not env.state.line_status[0, 3]
    *_, info = mended.step(0)
    assert env.state.line_status[0].all() and not info["illegal"]
    assert (env.state.topo_vect == 1).all()
    mended.step(DISCONNECT + 3)
    mended.step(DISCONNECT + 5)  # another action is left alone
    assert not env.state.line_status[0, 3] and not env.state.line_status[0, 5]
    mended.step(0)
    assert env.state.line_status[0, 3] and not env.state.line_status[0, 5]
    with pytest.raises(ValueError, match="from 0 to 486"):
        mended.step(487)


def test_lines_in_cooldown_wait():
    env = PowerGridEnv(parameters={"NB_TIMESTEP_COOLDOWN_LINE": 3})
    mended = ReconnectLines(env)
    mended.reset(seed=0)
    mended.step(DISCONNECT + 3)
    outages = []
    for _ in range(5):
        *_, info = mended.step(0)
        assert not info["illegal"]
        outages.append(not env.state.line_status[0, 3])
    assert outages == [True, True, True, False, False]
    env.close()


def test_reconnection_works_in_calm_steps(env: PowerGridEnv, days: Days):
    gate = IdleGate(ReconnectLines(env), 0.9)
    env.reset(options={"scenario": days.scenario, "first_step": days.busy - 30})
    calm = env.simulate(DISCONNECT + np.arange(20)).rho_max < 0.85
    *_, info = gate.step(DISCONNECT + int(calm.argmax()))
    assert calm.any() and info["duration"] > 1
    assert env.state.line_status[0].all()


@pytest.mark.parametrize("threshold", [0, -1.0, float("nan"), "0.95", None, True])
def test_wrong_threshold(env: PowerGridEnv, threshold: Any):
    with pytest.raises(ValueError, match="threshold must be"):
        IdleGate(env, threshold)


def test_another_environment_is_refused():
    with pytest.raises(ValueError, match="was given CartPoleEnv"):
        ReconnectLines(gym.make("CartPole-v1"))
