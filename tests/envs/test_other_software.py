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
from stable_baselines3.common.monitor import Monitor

from agents.environments import EnvironmentFactory
from envs.fast.vector import PowerGridVectorEnv
from envs.reference.power_grid import PowerGridEnv

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


@pytest.mark.parametrize("gate", [None, 0.8])
def test_next_step_plays_what_gymnasium_plays_side_by_side(gate: float | None):
    options = {**OPTIONS, "max_steps": 4, "idle_gate": gate}
    slow = gym.make_vec("PowerGrid-v0", num_envs=3, vectorization_mode="sync", **options)
    fast = make_vec(3, **options, autoreset="next_step")
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


# ------------------------------------------------------------------------------------------ infos


def leaves(infos: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in infos.items():
        if isinstance(value, dict):
            yield from leaves(value)
        elif key != "final_obs":  # an object array in Gymnasium's own vector environments, too
            yield key, value


@pytest.mark.parametrize("gate", [None, 0.9])
def test_infos_are_numbers_unless_words_are_asked_for(gate: float | None):
    numbers = {"action_mask", "step", "rho_max", "illegal", "duration"}
    words = {"scenario", "illegal_reason", "end"}
    for text_infos in (False, True):
        options = {**OPTIONS, "idle_gate": gate, "max_steps": 30, "text_infos": text_infos}
        single, many = gym.make("PowerGrid-v0", **options), make_vec(**options)
        told, infos = [single.reset(seed=1)[1]], [many.reset(seed=1)[1]]
        for _ in range(40):
            *_, terminated, truncated, info = single.step(0)
            told.append(info)
            if terminated or truncated:
                told.append(single.reset()[1])
            infos.append(many.step([0, 0])[4])
        assert any("final_info" in one for one in infos)
        expected = numbers | (words if text_infos else set())
        assert all(set(one) - {"reset_reward"} == expected for one in told)
        for one in (*told, *infos):
            for key, value in leaves(one):
                is_number = np.asarray(value).dtype.kind in "biuf"
                assert is_number != (key in words), key
        single.close()
        many.close()


def test_words_by_methods_are_those_of_the_infos():
    options = {**OPTIONS, "idle_gate": 0.7, "text_infos": True}
    single, many = gym.make("PowerGrid-v0", **options), make_vec(1, **options, autoreset="disabled")
    silent = make_vec(1, **{**options, "text_infos": False}, autoreset="disabled")
    reasons, ends, rng = set(), set(), np.random.default_rng(0)
    for seed in range(4):
        for each in (single, many, silent):
            each.reset(seed=seed)
        over = False
        while not over:
            action = int(rng.integers(487))
            *_, terminated, truncated, info = single.step(action)
            infos = many.step([action])[4]
            silent.step([action])
            over = terminated or truncated
            texts = single.get_wrapper_attr("info_texts")()
            for name, said in texts.items():
                assert info[name] == said == infos[name][0]
                assert many.unwrapped.info_texts()[name][0] == said
                assert silent.unwrapped.info_texts()[name][0] == said
            reasons.add(texts["illegal_reason"])
        ends.add(texts["end"])
    assert len(reasons) > 2 and "" in reasons and "" not in ends
    single.close()


def test_numpy_to_torch_wraps_both():
    pytest.importorskip("array_api_compat")
    single = gym.wrappers.NumpyToTorch(gym.make("PowerGrid-v0", **OPTIONS, idle_gate=0.9))
    many = wrappers.NumpyToTorch(make_vec(autoreset="next_step", max_steps=3, idle_gate=0.9))
    _, info = single.reset(seed=0)
    _, infos = many.reset(seed=0)
    assert info["action_mask"].dtype is infos["action_mask"].dtype is torch.int8
    for _ in range(8):
        _, reward, terminated, truncated, info = single.step(torch.tensor(0))
        *_, infos = many.step(torch.zeros(2, dtype=torch.int64))
        assert infos["duration"].dtype is torch.int64
        if terminated or truncated:
            single.reset()
    single.close()


def test_endings_of_same_step_have_gymnasiums_own_form():
    """``final_obs`` is an array of objects there too, so NumpyToTorch needs another autoreset."""
    options = {**OPTIONS, "max_episode_steps": 2}
    ours = make_vec(**options, autoreset="same_step")
    gymnasiums: Any = gym.make_vec(
        "PowerGrid-v0",
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **options,
    )
    told = []
    for env in (ours, gymnasiums):
        env.reset(seed=0)
        env.step(np.zeros(2, dtype=np.int64))
        told.append(env.step(np.zeros(2, dtype=np.int64))[4])
        env.close()
    one, other = told
    assert one.keys() == other.keys()
    assert one["final_info"].keys() == other["final_info"].keys()
    for name in ("final_obs", "_final_obs"):
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
    for left, right in zip(one["final_obs"], other["final_obs"], strict=True):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        np.testing.assert_allclose(left, right, atol=1e-3)
    for name, values in other["final_info"].items():
        assert (one["final_info"][name].dtype, one["final_info"][name].shape) == (
            (values.dtype, values.shape)
        ), name


# ---------------------------------------------------------------------- the return of an episode

STRESSED = ("educ-2019-01-14", "educ-2019-01-15")  # doing nothing ends in a blackout


@pytest.fixture(scope="module")
def earned() -> dict[str, float]:
    """What doing nothing earns, step by step, by scenario."""
    env, totals = PowerGridEnv(**OPTIONS), {}
    for name in STRESSED:
        env.reset(options={"scenario": name})
        totals[name], over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(0)
            totals[name] += reward
            over = terminated or truncated
    env.close()
    return totals


def test_generic_tools_see_the_whole_return_under_a_gate(earned: dict[str, float], tmp_path: Any):
    inner = gym.make("PowerGrid-v0", **OPTIONS, idle_gate=0.95)
    single = Monitor(gym.wrappers.RecordEpisodeStatistics(inner), str(tmp_path / "monitor"))
    many = wrappers.RecordEpisodeStatistics(make_vec(idle_gate=0.95, autoreset="disabled"))
    for name in STRESSED:
        _, info = single.reset(options={"scenario": name})
        before, over, rewards = info["reset_reward"], False, []
        assert before > 0
        while not over:
            _, reward, terminated, truncated, info = single.step(0)
            rewards.append(reward)
            over = terminated or truncated
        assert info["episode"]["r"] == pytest.approx(earned[name], rel=1e-5)
        assert single.get_episode_rewards()[-1] == pytest.approx(earned[name], rel=1e-5)
        assert rewards[0] > before > 0  # with the first decision's own
    _, infos = many.reset(options={"scenario": list(STRESSED)})
    assert (infos["reset_reward"] > 0).all()
    returns, over = np.zeros(2), np.zeros(2, dtype=bool)
    while not over.all():
        *_, terminations, truncations, infos = many.step(np.zeros(2, dtype=np.int64))
        ended = (terminations | truncations) & ~over
        over |= ended
        returns[ended] = many.episode_returns[ended]
    assert returns == pytest.approx(list(earned.values()), rel=1e-5)
    single.close()


def test_what_a_reset_earned_may_be_kept_apart(earned: dict[str, float]):
    options = {**OPTIONS, "idle_gate": 0.95, "reset_reward": "info"}
    single, many = gym.make("PowerGrid-v0", **options), make_vec(1, **options)
    name = STRESSED[0]
    _, info = single.reset(options={"scenario": name})
    _, infos = many.reset(options={"scenario": name})
    assert infos["reset_reward"][0] == pytest.approx(info["reset_reward"], rel=1e-5)
    total, over = info["reset_reward"], False
    while not over:
        _, reward, terminated, truncated, _ = single.step(0)
        _, rewards, *_ = many.step([0])
        assert rewards[0] == pytest.approx(reward, rel=1e-5)
        total += reward
        over = terminated or truncated
    assert total == pytest.approx(earned[name], rel=1e-5)
    with pytest.raises(ValueError, match="unknown reset_reward 'infos'; did you mean 'info'"):
        make_vec(reset_reward="infos")
    with pytest.raises(ValueError, match="unknown reset_reward 'infos'; did you mean 'info'"):
        gym.make("PowerGrid-v0", reset_reward="infos")
    single.close()


@pytest.mark.parametrize("vector", [False, True])
def test_agents_count_what_a_reset_earned_beside_their_decisions(vector: bool):
    """So that what is learned from a decision is what it earned."""
    factory = EnvironmentFactory("PowerGrid-v0", {**OPTIONS, "idle_gate": 0.95}, vector=vector)
    env = factory(1, autoreset="disabled")
    _, infos = env.reset(options={"scenario": STRESSED[0]})
    _, rewards, *_ = env.step(np.array([0]))
    assert rewards[0] < infos["reset_reward"][0]
    env.close()


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


@pytest.mark.parametrize("options", [{}, {"idle_gate": 0.9}])
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
