"""Gymnasium's wrappers, limits and autoreset, and stable-baselines3, on the real grid."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers
from stable_baselines3.common.env_checker import check_env

from agents.environments import EnvironmentFactory
from envs.power_grid import PowerGridEnv
from envs.vector import PowerGridVectorEnv

OPTIONS: dict[str, Any] = {"scenarios": "bundled"}


def make_vec(num_envs: int = 2, **options: Any) -> Any:
    return gym.make_vec(
        "PowerGrid-v0",
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        **{**OPTIONS, **options},
    )


# ------------------------------------------------------------------------------------ time limits


@pytest.fixture
def registered() -> Iterator[str]:
    spec = gym.spec("PowerGrid-v0")
    gym.register(
        "ShortPowerGrid-v0",
        entry_point=spec.entry_point,
        vector_entry_point=spec.vector_entry_point,
        max_episode_steps=3,
        kwargs=OPTIONS,
    )
    yield "ShortPowerGrid-v0"
    del gym.registry["ShortPowerGrid-v0"]


@pytest.mark.parametrize("gate", [None, 0.9])
def test_max_episode_steps_counts_decisions_as_gymnasiums_time_limit_does(gate: float | None):
    """Decisions, not grid steps: with a gate these are many more."""
    options = {**OPTIONS, "idle_gate": gate, "max_episode_steps": 3}
    single = gym.make("PowerGrid-v0", **options)
    many = make_vec(3, **options, autoreset="disabled")
    for seed in range(3):
        single.reset(seed=seed)
        many.reset(seed=seed)
        for _ in range(3):
            *_, terminated, truncated, _ = single.step(0)
            *_, terminations, truncations, _ = many.step([0, 0, 0])
            assert (terminated, truncated) == (terminations[0], truncations[0])
            if terminated or truncated:
                break
        assert many.unwrapped.over[0]
    single.close()


def test_a_registered_time_limit_holds_in_both(registered: str):
    single = gym.make(registered)
    many = gym.make_vec(registered, num_envs=2)
    assert isinstance(many.unwrapped, PowerGridVectorEnv)
    single.reset(seed=0)
    many.reset(seed=0)
    for last in (False, False, True):
        assert single.step(0)[3] is last
        *_, truncations, _ = many.step([0, 0])
        assert truncations.tolist() == [last, last]
    many.step([0, 0])
    state = many.unwrapped.state_dict()
    again: Any = gym.make_vec(registered, num_envs=2)
    again.unwrapped.load_state_dict(state)  # the decisions made are remembered
    assert not again.step([0, 0])[3].any() and again.step([0, 0])[3].all()
    single.close()


def test_no_time_limit_and_wrong_ones():
    env = make_vec(1, max_episode_steps=-1)
    env.reset(seed=0)
    assert not any(env.step([0])[3][0] for _ in range(5))
    for wrong in (0, 2.5, "3", True, -2):
        with pytest.raises(ValueError, match="max_episode_steps must be an integer"):
            make_vec(1, max_episode_steps=wrong)


# -------------------------------------------------------------------------------------- autoreset


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_autoreset_takes_gymnasiums_enum_and_strings(mode: AutoresetMode):
    for given in (mode, mode.value, mode.name.lower()):
        assert PowerGridVectorEnv(1, autoreset=given).metadata["autoreset_mode"] is mode


def test_autoreset_defaults():
    assert make_vec(1).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert gym.make_vec("PowerGrid-v0").metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    one_by_one = gym.make_vec("PowerGrid-v0", vectorization_mode="sync")
    assert one_by_one.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    one_by_one.close()
    for wrong, message in (
        ("nextstep", "did you mean 'next_step'"),
        (None, "autoreset"),
        (1, "autoreset"),
    ):
        with pytest.raises(ValueError, match=message):
            PowerGridVectorEnv(1, autoreset=wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="autoreset is 'next_step'"):  # never into a replay
        EnvironmentFactory("PowerGrid-v0", vector=True)(1, autoreset="next_step")  # pyright: ignore


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("gate", [None, 0.8])
def test_next_step_plays_what_gymnasium_plays_side_by_side(gate: float | None, workers: int):
    options = {**OPTIONS, "max_steps": 4, "idle_gate": gate}
    slow = gym.make_vec("PowerGrid-v0", num_envs=3, vectorization_mode="sync", **options)
    fast = make_vec(3, **options, autoreset="next_step", num_workers=workers)
    expected, given = slow.reset(seed=3), fast.reset(seed=3)
    assert np.allclose(expected[0], given[0], atol=1e-5)
    rng = np.random.default_rng(0)
    resets, before = 0, np.zeros(3, dtype=bool)
    for _ in range(14):
        actions = np.where(rng.random(3) < 0.4, rng.integers(487, size=3), 0)
        expected, given = slow.step(actions), fast.step(actions)
        assert np.allclose(expected[0], given[0], atol=1e-5)
        assert np.allclose(expected[1], given[1], rtol=1e-5)
        assert np.array_equal(expected[2], given[2]) and np.array_equal(expected[3], given[3])
        for key in ("step", "duration"):
            assert np.array_equal(expected[4][key], given[4][key])
        assert "final_obs" not in given[4]
        assert (given[1][before] == 0).all()  # the step that only resets
        before = given[2] | given[3]
        resets += int(before.sum())
    assert resets > 3
    slow.close()
    fast.close()


def test_next_step_resumes_at_an_ending():
    first, second = (make_vec(2, autoreset="next_step", max_steps=2).unwrapped for _ in range(2))
    first.reset(seed=1)
    first.step([0, 0])
    assert first.step([0, 0])[3].all()
    second.load_state_dict(first.state_dict())
    for _ in range(4):
        one, two = first.step([0, 5]), second.step([0, 5])
        assert all(np.array_equal(a, b) for a, b in zip(one[:4], two[:4], strict=True))


def test_normalize_observation_wraps_next_step():
    env = wrappers.NormalizeObservation(make_vec(2, autoreset="next_step", max_steps=3))
    env.reset(seed=0)
    for _ in range(8):
        observations, *_ = env.step(np.zeros(2, dtype=np.int64))
        assert observations.shape == (2, 417) and np.isfinite(observations).all()


@pytest.mark.parametrize("mode", ["same_step", "next_step"])
def test_record_episode_statistics_counts_whole_episodes(mode: str):
    env = wrappers.RecordEpisodeStatistics(make_vec(2, autoreset=mode, max_steps=4))
    env.reset(seed=0)
    total, told = 0.0, []
    for _ in range(4):
        _, rewards, *_, infos = env.step(np.zeros(2, dtype=np.int64))
        total += rewards[0]
        if "episode" in infos:
            told.append((infos["episode"]["l"].tolist(), infos["episode"]["r"][0]))
    assert told == [([4, 4], pytest.approx(total))]


# ---------------------------------------------------------------------------------- close, options


def test_reset_after_close_opens_again_as_in_cartpole():
    env = PowerGridEnv(**OPTIONS, render_mode="rgb_array")
    first, _ = env.reset(seed=4)
    played = [env.step(0)[0] for _ in range(3)]
    assert env.render() is not None
    env.close()
    for call in (lambda: env.step(0), lambda: env.simulate([0])):
        with pytest.raises(gym.error.ClosedEnvironmentError, match="reset"):
            call()
    again, _ = env.reset(seed=4)
    assert np.array_equal(first, again)
    assert all(np.array_equal(one, env.step(0)[0]) for one in played)
    assert env.render() is not None
    env.close()


@pytest.mark.parametrize("options", [{}, {"threads": 2, "idle_gate": 0.9}])
def test_reset_after_close_opens_the_vector_environment_again(options: dict[str, Any]):
    env, other = make_vec(**options), make_vec(**options)
    for each in (env, other):
        each.reset(seed=4)
        each.step([0, 0])
    env.close()
    with pytest.raises(gym.error.ClosedEnvironmentError, match="reset"):
        env.step([0, 0])
    first, second = env.reset(), other.reset()  # generators go on
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(env.step([0, 0])[1], other.step([0, 0])[1])
    env.close()
    other.close()


def test_stable_baselines3_checks_it_with_rendering():
    env = gym.make("PowerGrid-v0", **OPTIONS, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=False)
    env.close()


def test_numpy_values_in_reset_options_are_kept_as_plain_ones():
    plain = {"scenario": ["educ-2019-01-13", "sandbox-0000"], "first_step": [3, 7]}
    as_numpy = {key: np.array(values) for key, values in plain.items()}
    mixed = {"scenario": np.str_("sandbox-0000"), "first_step": (np.int64(2), None)}
    env, other = make_vec().unwrapped, make_vec().unwrapped
    side_by_side: Any = EnvironmentFactory("PowerGrid-v0", OPTIONS)(2)
    for options in (as_numpy, mixed):
        for each in (env, side_by_side):
            each.reset(seed=np.array([1, 2]), options=options)
            each.step(np.array([0, 0]))
            file = io.BytesIO()
            torch.save(each.state_dict(), file)
            file.seek(0)
            state = torch.load(file, weights_only=True)  # as checkpoints are read
            assert type(state["episodes"][0]["options"]["scenario"]) is str
            each.load_state_dict(state)
    env.reset(seed=1, options=as_numpy)
    other.reset(seed=1, options=plain)
    assert np.array_equal(env.step([0, 0])[0], other.step([0, 0])[0])
    single = PowerGridEnv(**OPTIONS)
    _, info = single.reset(
        seed=np.int64(1),  # pyright: ignore[reportArgumentType]
        options={"scenario": np.str_("sandbox-0000"), "first_step": np.int16(4)},
    )
    assert info["step"] == 4 and type(single.scenarios.load("sandbox-0000").name) is str
    single.close()
    side_by_side.close()


@pytest.mark.parametrize("seed", [1.5, -1, True, "3", [1, 2.5], [1, -1], [1, "2"]])
def test_wrong_seeds_are_refused(seed: Any):
    with pytest.raises(ValueError, match="seed must be an integer of at least 0"):
        make_vec().reset(seed=seed)
    if not isinstance(seed, list):
        with pytest.raises(ValueError, match="seed must be an integer of at least 0"):
            PowerGridEnv(**OPTIONS).reset(seed=seed)


def test_reset_options_must_be_a_dict():
    wrong: Any = ["scenario"]
    for env in (make_vec(), PowerGridEnv(**OPTIONS)):
        with pytest.raises(ValueError, match="reset options must be a dict"):
            env.reset(options=wrong)
