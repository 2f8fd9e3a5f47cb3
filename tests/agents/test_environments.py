"""Vector environments: exact resume in mid-episode, scenarios per environment, clear refusals."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.environments import (
    EnvironmentFactory,
    VectorEnvironment,
    final_observations,
    final_values,
)
from agents.resumable import ResumableVectorEnv
from envs.reference.power_grid import PowerGridEnv

CARTPOLE = EnvironmentFactory("CartPole-v1")
GRID = EnvironmentFactory(
    "PowerGrid-v0", {"max_steps": 12, "action_mask": "distinct", "text_infos": True}
)
PAID = {"reset_reward": "first_step"}
NEXT_STEP: Any = "next_step"  # a way of gymnasium's that factories do not take
GATED = EnvironmentFactory("PowerGrid-v0", {"idle_gate": 0.95, "start": "random", "max_steps": 300})


def assert_same(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
        return
    first, second = np.asarray(first), np.asarray(second)
    if first.dtype == object:  # final_obs, names
        for one, two in zip(first, second, strict=True):
            np.testing.assert_equal(one, two)
    else:
        np.testing.assert_equal(first, second)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def random_actions(env: VectorEnvironment, infos: dict, rng: np.random.Generator) -> np.ndarray:
    keys = rng.random((env.num_envs, env.num_actions))
    if "action_mask" in infos:
        keys = np.where(infos["action_mask"], keys, -1)
    return keys.argmax(axis=1)


@pytest.mark.parametrize(
    ("factory", "before", "after"),
    [
        (CARTPOLE, 57, 200),
        (GRID, 17, 20),
        (GATED, 3, 3),
        (replace(GRID, vector=True), 17, 20),
        (replace(GATED, vector=True), 3, 3),
    ],
    ids=["cartpole", "grid", "gated", "vector", "vector gated"],
)
def test_restored_environments_continue_exactly(
    factory: EnvironmentFactory, before: int, after: int
) -> None:
    rng = np.random.default_rng(0)
    env, other = factory(2), factory(2)
    observations, infos = env.reset(seed=3)
    ended = 0
    for _ in range(before):
        observations, *_, infos = env.step(random_actions(env, infos, rng))
        ended += int("final_obs" in infos)
    infos = {key: value for key, value in infos.items() if "final_" not in key}
    restored, restored_infos = other.load_state_dict(through_a_file(env.state_dict()))
    assert_same(observations, restored)
    assert_same(infos, restored_infos)
    for _ in range(after):
        actions = random_actions(env, infos, rng)
        first, second = env.step(actions), other.step(actions)
        for one, two in zip(first, second, strict=True):
            assert_same(one, two)
        infos = first[-1]
        ended += int("final_obs" in infos)
    assert ended > 0  # autoresets, and what they draw, are part of what must agree
    env.close()
    other.close()


def test_state_is_refused_where_it_does_not_fit() -> None:
    env = CARTPOLE(2)
    env.reset(seed=0)
    state = env.state_dict()
    with pytest.raises(ValueError, match="is of 2 environments; this has 3"):
        CARTPOLE(3).load_state_dict(state)
    with pytest.raises(ValueError, match="autoreset SameStep; this has Disabled"):
        CARTPOLE(2, autoreset="disabled").load_state_dict(state)
    state["episodes"][1]["observation"] += 1.0
    with pytest.raises(ValueError, match=r"environment 1: playing its 0 saved actions"):
        CARTPOLE(2).load_state_dict(state)


def test_same_step_gives_the_ending_and_the_next_beginning() -> None:
    env = EnvironmentFactory("CartPole-v1", {"max_episode_steps": 3})(2)
    env.reset(seed=[1, 2])
    env.step(np.array([0, 1]))
    env.step(np.array([1, 0]))
    observations, rewards, terminated, truncated, infos = env.step(np.array([0, 1]))
    assert rewards.tolist() == [1.0, 1.0]
    assert not terminated.any()
    assert truncated.all()
    ending = final_observations(observations, infos)
    assert (ending != observations).any(axis=1).all()
    assert np.abs(observations).max() <= 0.05  # CartPole begins within 0.05 of rest


def test_final_values_are_of_the_step_itself() -> None:
    env = GRID(1)
    env.reset(seed=0)
    for _ in range(12):
        *_, truncated, infos = env.step(np.array([0]))
    assert truncated[0]
    assert infos["step"].tolist() == [0]
    assert final_values(infos, "step").tolist() == [12]
    assert final_values(infos, "end").tolist() == ["time limit"]
    assert final_values(infos, "nothing of that name") is None
    env.close()


def test_disabled_environments_wait_for_a_reset() -> None:
    env = EnvironmentFactory("CartPole-v1", {"max_episode_steps": 2})(2, autoreset="disabled")
    env.reset(seed=0)
    env.step(np.array([0, 0]))
    last, *_ = env.step(np.array([0, 0]))
    again, rewards, _, truncated, _ = env.step(np.array([0, 0]))
    assert_same(last, again)
    assert rewards.tolist() == [0.0, 0.0]
    assert truncated.all()
    env.reset(options={"reset_mask": np.array([True, False])})
    _, rewards, _, truncated, _ = env.step(np.array([0, 0]))
    assert rewards.tolist() == [1.0, 0.0]
    assert truncated.tolist() == [False, True]


def test_scenarios_per_environment_and_lookahead() -> None:
    env = GRID(2, autoreset="disabled")
    assert isinstance(env, ResumableVectorEnv)
    grid = env.envs[0].unwrapped
    assert isinstance(grid, PowerGridEnv)
    names = list(grid.scenarios.names("val")[:2])
    _, infos = env.reset(seed=0, options={"scenario": names})
    assert infos["scenario"].tolist() == env.info_texts()["scenario"].tolist() == names
    _, infos = env.reset(seed=0, options={"scenario": names[1]})
    assert infos["scenario"].tolist() == [names[1]] * 2
    outlook, none = env.simulate([np.array([0, 1, 2]), None])
    assert none is None
    assert outlook is not None
    assert outlook.rho_max.shape == (3,)
    assert env.simulator_calls.tolist() == [3, 0]
    with pytest.raises(ValueError, match="has 3 entries; expected 2"):
        env.reset(options={"scenario": [*names, names[0]]})
    with pytest.raises(ValueError, match="unknown recombined scenario"):
        env.reset(options={"scenario": names[0] + "x"})
    env.close()


def test_factories_pickle_and_wrap() -> None:
    factory = EnvironmentFactory("CartPole-v1", wrappers=(gym.wrappers.FlattenObservation,))
    again = pickle.loads(pickle.dumps(factory))
    assert again == factory
    assert isinstance(again.make(), gym.wrappers.FlattenObservation)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CARTPOLE(0), "num_envs is 0"),
        (lambda: EnvironmentFactory("CartPol-v1")(1), "did you mean 'CartPole-v1'"),
        (lambda: EnvironmentFactory("CartPole-v1", {"gravitation": 9})(1), "gravitation"),
        (lambda: EnvironmentFactory("Pendulum-v1")(1), r"expected Discrete\(n\)"),
        (lambda: EnvironmentFactory("FrozenLake-v1")(1), "expected a Box"),
        (lambda: CARTPOLE(1, autoreset=NEXT_STEP), "autoreset is 'next_step'"),
        (lambda: EnvironmentFactory("PowerGrid-v0", {"reward": "l2rpm"})(1), "'l2rpn'"),
        (lambda: EnvironmentFactory("PowerGrid-v0", PAID)(1), "reset_reward cannot be set"),
        (lambda: replace(GRID, kwargs=PAID, vector=True)(1), "reset_reward cannot be set"),
    ],
)
def test_wrong_recipes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_calls_are_named() -> None:
    env = CARTPOLE(2)
    with pytest.raises(ValueError, match="never reset"):
        env.step(np.array([0, 0]))
    with pytest.raises(ValueError, match="3 seeds were given; expected 2"):
        env.reset(seed=[1, 2, 3])
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(2,\)"):
        env.step(np.array([0, 0, 0]))
    with pytest.raises(ValueError, match="has no simulate"):
        env.simulate([np.array([0]), None])
    with pytest.raises(ValueError, match="1 entries; expected 2"):
        env.simulate([None])
    with pytest.raises(ValueError, match="reset_mask is int64"):
        env.reset(options={"reset_mask": np.array([1, 0])})
