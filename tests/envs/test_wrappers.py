"""The idle gate and the reconnection of lines, against the same steps played by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs.power_grid import PowerGridEnv
from envs.wrappers import IdleGate
from envs.wrappers import ReconnectLines

DISCONNECT = 387  # action: disconnect line 0; + line


@pytest.fixture(scope="module")
def env() -> Iterator[PowerGridEnv]:
    made = PowerGridEnv(split="val")
    yield made
    made.close()


def calm_then_not(env: PowerGridEnv, threshold: float) -> tuple[str, int]:
    """A scenario and the steps until doing nothing first meets the threshold."""
    name = env.scenarios.names("val")[0]
    _, info = env.reset(options={"scenario": name})
    steps = 0
    while info["rho_max"] < threshold:
        *_, info = env.step(0)
        steps += 1
    return name, steps


def test_reset_plays_to_the_first_decision(env: PowerGridEnv):
    name, steps = calm_then_not(env, 0.9)
    assert steps > 10
    expected = env.encoder.encode(env.state)[0]
    env.reset(options={"scenario": name})
    total = sum(env.step(0)[1] for _ in range(steps))
    observation, info = IdleGate(env, 0.9).reset(options={"scenario": name})
    assert np.array_equal(observation, expected)
    assert info["duration"] == steps == info["step"] and info["rho_max"] >= 0.9
    assert info["reset_reward"] == pytest.approx(total)


def test_step_sums_rewards_and_durations(env: PowerGridEnv):
    gate = IdleGate(env, 0.9)
    name, _ = calm_then_not(env, 0.9)
    gate.reset(options={"scenario": name})
    start = env.state.step[0]
    action = int(np.argmin(env.simulate(np.arange(200, 386)).rho_max)) + 200
    observation, reward, terminated, truncated, info = gate.step(action)
    assert not terminated and not truncated
    assert info["duration"] > 1 and info["rho_max"] >= 0.9
    assert info["step"] == start + info["duration"]

    env.reset(options={"scenario": name, "first_step": 0})
    for _ in range(start):
        env.step(0)
    total = env.step(action)[1] + sum(env.step(0)[1] for _ in range(info["duration"] - 1))
    assert reward == pytest.approx(total)
    assert np.array_equal(observation, env.encoder.encode(env.state)[0])


def test_illegal_is_about_the_agents_own_action(env: PowerGridEnv):
    gate = IdleGate(env, 0.9)
    env.reset(seed=0)
    assert env.state.rho.max() < 0.9
    *_, info = gate.step(407)
    assert info["duration"] > 1
    assert info["illegal"] and "allowed" in info["illegal_reason"]


def test_calm_to_the_end_leaves_one_decision(env: PowerGridEnv):
    name = env.scenarios.names("val")[0]
    length = env.scenarios.load(name).num_steps
    gate = IdleGate(env, 5.0)  # never reached
    _, info = gate.reset(options={"scenario": name, "first_step": length - 4})
    assert info["step"] == length - 1 and info["duration"] == 3 and info["end"] == ""
    *_, terminated, truncated, info = gate.step(0)
    assert truncated and not terminated and info["end"] == "scenario complete"

    _, info = gate.reset(options={"scenario": name, "first_step": length - 1})
    assert info["duration"] == 0 and info["step"] == length - 1

    _, info = gate.reset(options={"scenario": name})  # ends in a blackout
    last = info["step"]
    *_, terminated, _, info = gate.step(0)
    assert terminated and info["step"] == last + 1


def test_gate_is_reproducible(env: PowerGridEnv):
    gate = IdleGate(env, 0.95)
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


def test_reconnection_works_in_calm_steps(env: PowerGridEnv):
    gate = IdleGate(ReconnectLines(env), 0.9)
    env.reset(options={"scenario": env.scenarios.names("val")[0]})
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
