"""PowerGridEnv on the real grid: dynamics, endings, look-ahead, options, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from grid2op.gym_compat import BoxGymObsSpace
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from envs.reference.power_grid import PowerGridEnv
from envs.scenarios import make_grid2op, set_scenario
from tests.envs.conftest import ONE_AT_A_TIME, SANDBOX

DISCONNECT = 387  # action: disconnect line 0; + line


@pytest.fixture(scope="module")
def env() -> Iterator[PowerGridEnv]:
    made = PowerGridEnv(split="val", text_infos=True)
    yield made
    made.close()


def first_of(env: PowerGridEnv) -> str:
    return env.scenarios.names("val")[0]


def play(env: PowerGridEnv, seed: int, steps: int) -> list[Any]:
    observation, info = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    trace: list[Any] = [(observation, info["scenario"], info["step"])]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(rng.integers(487))
        trace.append((observation, reward, terminated, truncated, info["illegal_reason"]))
        if terminated or truncated:
            observation, info = env.reset()
            trace.append((observation, info["scenario"], info["step"]))
    return trace


def test_reset_and_step_report_what_the_contract_says(env: PowerGridEnv):
    observation, info = env.reset(seed=0, options={"scenario": first_of(env)})
    assert env.observation_space.contains(observation)
    keys = ["action_mask", "step", "rho_max", "illegal", "duration", "scenario", "illegal_reason"]
    assert list(info) == [*keys, "end"]
    assert info["action_mask"].dtype == np.int8 and info["action_mask"].shape == (487,)
    assert info["action_mask"].sum() == 407
    assert info["scenario"] == first_of(env) and info["step"] == 0 and info["duration"] == 0
    assert info["rho_max"] == pytest.approx(env.grid2op_observation.rho.max())

    observation, reward, terminated, truncated, info = env.step(0)
    assert list(info) == [*keys, "end"]
    assert (info["step"], info["duration"], info["end"]) == (1, 1, "")
    assert isinstance(reward, float) and not terminated and not truncated
    assert np.array_equal(env.action_masks(), info["action_mask"] == 1)
    assert env.action_masks().dtype == np.bool_


def test_rows_of_the_scenario_are_on_the_grid(env: PowerGridEnv):
    scenario = env.scenarios.load(first_of(env))
    _, info = env.reset(options={"scenario": scenario.name, "first_step": 300})
    assert info["step"] == 300
    np.testing.assert_allclose(env.state.load_p[0], scenario.load_p[300], rtol=1e-5)
    np.testing.assert_allclose(env.state.forecast_load_p[0], scenario.load_p_forecast[300])
    assert env.state.clock[0] == scenario.start + np.timedelta64(5 * 300, "m")
    env.step(0)
    np.testing.assert_allclose(env.state.load_p[0], scenario.load_p[301], rtol=1e-5)
    assert env.state.step[0] == 301 and env.state.max_step[0] == scenario.num_steps


def test_an_illegal_action_does_nothing_and_says_why(env: PowerGridEnv):
    options = {"scenario": first_of(env)}
    env.reset(options=options)
    quiet, *_ = env.step(0)
    env.reset(options=options)
    reconnect = 387 + 20
    assert env.catalogue.text(reconnect).startswith("reconnect")
    observation, *_, info = env.step(reconnect)
    assert info["illegal"]
    assert info["illegal_reason"] == "changes 2 substations (0, 1), 1 allowed"
    assert np.array_equal(observation, quiet)
    *_, info = env.step(0)
    assert not info["illegal"] and info["illegal_reason"] == ""


def test_blackout_terminates(env: PowerGridEnv):
    env.reset(options={"scenario": first_of(env)})
    fatal = int(np.flatnonzero(env.simulate(np.arange(487)).game_over)[0])
    observation, reward, terminated, truncated, info = env.step(fatal)
    assert terminated and not truncated and reward == 0
    assert info["end"].startswith("blackout: ") and info["rho_max"] == 0
    assert env.observation_space.contains(observation)
    assert info["action_mask"].shape == (487,)
    for forbidden in (lambda: env.step(0), lambda: env.simulate([0])):
        with pytest.raises(ResetNeeded):
            forbidden()


def test_the_scenarios_end_truncates(env: PowerGridEnv):
    name = first_of(env)
    last = env.scenarios.load(name).num_steps
    env.reset(options={"scenario": name, "first_step": last - 2})
    *_, terminated, truncated, info = env.step(0)
    assert not terminated and not truncated
    *_, terminated, truncated, info = env.step(0)
    assert not terminated and truncated
    assert info["end"] == "scenario complete" and info["step"] == last


def test_max_steps_truncates_and_pays():
    limited = PowerGridEnv(
        max_steps=3, split="test", observation="graph", reward="survival", text_infos=True
    )
    limited.reset(seed=0)
    outcomes = [limited.step(0) for _ in range(3)]
    assert [outcome[3] for outcome in outcomes] == [False, False, True]
    assert [outcome[1] for outcome in outcomes] == [1.0, 1.0, 1.0]
    assert outcomes[-1][4]["end"] == "time limit"
    limited.close()


def test_simulate_is_grid2ops_and_changes_nothing(env: PowerGridEnv):
    env.reset(options={"scenario": first_of(env), "first_step": 200})
    before = env.state
    actions = [0, DISCONNECT + 3, 250, 407]
    foreseen = env.simulate(actions)
    for place, number in enumerate(actions):
        observation, _, done, _ = env.grid2op_observation.simulate(
            env.catalogue.grid2op_actions[number]
        )
        assert done == foreseen.game_over[place]
        if not done:
            assert foreseen.rho_max[place] == observation.rho.max()
    assert foreseen.rho_max[0] == foreseen.rho_max[3]  # illegal: what doing nothing comes to
    assert (foreseen.rho_max[foreseen.game_over] == np.inf).all()
    assert foreseen.rho_max.dtype == np.float32
    for now, then in zip(env.state, before, strict=True):
        assert np.array_equal(now, then)
    observation, *_ = env.step(0)
    env.reset(options={"scenario": first_of(env), "first_step": 200})
    assert np.array_equal(observation, env.step(0)[0])


def test_cooldowns_reach_the_mask():
    cooling = PowerGridEnv(
        text_infos=True, parameters={"NB_TIMESTEP_COOLDOWN_SUB": 3, "NB_TIMESTEP_COOLDOWN_LINE": 2}
    )
    _, info = cooling.reset(seed=0)
    start = info["action_mask"]
    line = 3
    *_, info = cooling.step(DISCONNECT + line)
    of_line = cooling.catalogue.set_line[:, line] != 0
    of_line |= cooling.catalogue.switch_line[:, line]
    assert not info["action_mask"][of_line].any()
    for _ in range(2):
        *_, info = cooling.step(0)
    assert info["action_mask"][of_line].sum() == 6  # off, switch, and on at four pairs of busbars
    assert start[of_line].sum() == 2
    *_, info = cooling.step(DISCONNECT + line)
    *_, info = cooling.step(DISCONNECT + line)
    assert info["illegal"]
    assert info["illegal_reason"] == "line 1_3_3 is in cooldown for 2 more steps"
    cooling.close()


def test_same_seed_same_trajectory(env: PowerGridEnv):
    again = PowerGridEnv(split="val", text_infos=True)
    first, second = play(env, seed=3, steps=60), play(again, seed=3, steps=60)
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one[0], other[0]) and one[1:] == other[1:]
    assert play(env, seed=4, steps=0)[0][1:] != first[0][1:]
    again.close()


def test_copied_grid_plays_as_one_read_from_file(env: PowerGridEnv):
    name = first_of(env)
    fresh: Any = make_grid2op(SANDBOX, parameters=ONE_AT_A_TIME)
    actions = fresh.action_space
    set_scenario(fresh, env.scenarios.load(name), 20)
    observation = fresh.reset()
    env.reset(options={"scenario": name, "first_step": 20})
    rng = np.random.default_rng(0)
    for _ in range(150):
        number = int(rng.integers(487)) if rng.random() < 0.3 else 0
        if env.simulate([number]).rho_max[0] > 0.99:
            continue
        action = actions.from_vect(env.catalogue.grid2op_actions[number].to_vect())
        observation, _, done, their_info = fresh.step(action)
        *_, terminated, _, info = env.step(number)
        assert done == terminated and their_info["is_illegal"] == info["illegal"]
        assert np.array_equal(observation.rho, env.state.rho[0])
        assert np.array_equal(observation.topo_vect, env.state.topo_vect[0])
        if done:
            break
    assert env.state.step[0] > 60
    assert (env.state.topo_vect != 1).any()
    fresh.close()


def test_random_start_leaves_a_day():
    anywhere = PowerGridEnv(start="random", split="train", text_infos=True)
    rows = []
    for episode in range(8):
        _, info = anywhere.reset(seed=episode)
        length = anywhere.scenarios.load(info["scenario"]).num_steps
        rows.append(info["step"])
        assert 0 <= info["step"] <= length - 288
    assert len(set(rows)) == 8
    _, info = anywhere.reset(options={"first_step": 5})
    assert info["step"] == 5
    anywhere.close()


def test_distinct_mask_by_option():
    distinct = PowerGridEnv(action_mask="distinct")
    _, info = distinct.reset(seed=0)
    assert info["action_mask"].sum() == 209
    distinct.close()


def test_grid2op_reward_by_class_name():
    paid = PowerGridEnv(reward="EpisodeDurationReward", max_steps=4)
    paid.reset(seed=0)
    rewards = [paid.step(0)[1] for _ in range(3)]
    assert rewards == [0.0, 0.0, 0.0]  # it pays at the end of the scenario only
    paid.close()
    lines = PowerGridEnv(reward="LinesReconnectedReward")
    lines.reset(seed=0)
    assert lines.step(0)[1] > lines.step(DISCONNECT + 3)[1]
    lines.close()


@pytest.mark.parametrize(
    ("grid", "num_actions"), [("rte_case5_example", 166), ("educ_case14_redisp", 21)]
)
def test_other_grids(grid: str, num_actions: int):
    """Another grid; and one whose actions only switch lines."""
    other = PowerGridEnv(grid=grid, scenarios="bundled", split="test", observation="full")
    other.reset(seed=0)
    assert other.catalogue.num_actions == num_actions
    box: Any = BoxGymObsSpace(other.grid2op_env.observation_space)
    rng = np.random.default_rng(0)
    for _ in range(25):
        number = int(rng.integers(num_actions))
        legal = other.action_masks()[number]
        observation, _, terminated, truncated, info = other.step(number)
        assert info["illegal"] == (not legal)
        theirs = box.to_gym(other.grid2op_observation)
        np.testing.assert_allclose(observation, theirs, rtol=1e-5, atol=1e-5)
        if terminated or truncated:
            other.reset()
    other.close()


def test_rgb_array():
    drawn = PowerGridEnv(render_mode="rgb_array")
    drawn.reset(seed=0)
    first = drawn.render()
    assert first is not None and first.shape == (720, 1280, 3) and first.dtype == np.uint8
    assert 0.5 < (first == 255).mean() < 0.999  # something is drawn, on white
    drawn.step(DISCONNECT)
    second = drawn.render()
    assert second is not None and not np.array_equal(first, second)
    drawn.close()


def test_close_twice():
    closing = PowerGridEnv()
    closing.reset(seed=0)
    closing.close()
    closing.close()
    with pytest.raises(ClosedEnvironmentError):
        closing.step(0)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (487, "an action is an integer from 0 to 486, but is 487"),
        (-1, "an action is an integer from 0 to 486, but is -1"),
        (1.0, "1.0 is float"),
        (True, "True is bool"),
        ("0", "'0' is str"),
        (None, "None is NoneType"),
        (np.array([1]), r"ndarray of shape \(1,\)"),
        (np.float64(3), "is float64"),
    ],
)
def test_wrong_actions(env: PowerGridEnv, action: Any, message: str):
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    assert env.step(np.int64(0))[4]["step"] == 1  # nothing was played
    assert env.step(np.array(0))[4]["step"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenaro": "x"}, "unknown reset option 'scenaro'; did you mean 'scenario'"),
        ({"scenario": 3}, "must be a name"),
        ({"scenario": "val-nowhere"}, "val-nowhere"),
        ({"first_step": -1}, "first_step' must be an integer of at least 0"),
        ({"first_step": 2.5}, "first_step' must be an integer"),
        ({"first_step": 10**6}, "first_row must be in"),
    ],
)
def test_wrong_reset_options(env: PowerGridEnv, options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "feature"}, "unknown observation 'feature'; did you mean 'features'"),
        ({"reward": "l2rpm"}, "unknown reward 'l2rpm'; did you mean 'l2rpn'"),
        ({"scenarios": "recombine"}, "did you mean 'recombined'"),
        ({"split": "valid"}, "unknown split 'valid'; did you mean 'val'"),
        ({"start": "randomly"}, "did you mean 'random'"),
        ({"action_mask": "distinkt"}, "did you mean 'distinct'"),
        ({"render_mode": "rgb"}, "did you mean 'rgb_array'"),
        ({"max_steps": 0}, "max_steps must be an integer of at least 1, but is 0"),
        (
            {"parameters": {"NB_TIMESTEP_COOLDOWN_SUBS": 3}},
            "did you mean 'NB_TIMESTEP_COOLDOWN_SUB",
        ),
        ({"parameters": {"NB_TIMESTEP_COOLDOWN_SUB": "3"}}, "must be an integer, but is '3'"),
        ({"grid": "l2rpn_case14_sandbo"}, "did you mean 'l2rpn_case14_sandbox'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        PowerGridEnv(**arguments)
