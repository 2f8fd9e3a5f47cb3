"""Nonsense that users pass in: each is refused by one clear line, in both environments alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from unittest.mock import Mock

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import envs
from envs.fast.vector import PowerGridVectorEnv
from envs.reference.grid2op_copies import new_grid2op
from envs.reference.observed_grid import ObservedPowerGrid
from envs.reference.power_grid import PowerGridEnv
from envs.reference.wrappers import IdleGate, ReconnectLines
from envs.scenarios import (
    BundledSource,
    DatasetSource,
    RecombinedSource,
    Scenario,
    VariedSource,
    export_scenarios,
    make_grid2op,
    make_source,
    set_scenario,
)

NAN = float("nan")


def make(**options: Any) -> gym.Env[Any, Any]:
    return gym.make("PowerGrid-v0", disable_env_checker=True, **options)


def make_vec(**options: Any) -> Any:
    return gym.make_vec("PowerGrid-v0", vectorization_mode="vector_entry_point", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idle_gte": 0.9}, "unknown keyword argument 'idle_gte'; did you mean 'idle_gate'"),
        ({"scenario": "varied"}, "did you mean 'scenarios'"),
        ({"reconnect_line": True}, "did you mean 'reconnect_lines'"),
        ({"idle_gate": 5}, "above 0 and below 2, such as 0.95, but is 5: .* nobody would be asked"),
        ({"idle_gate": float("inf")}, "above 0 and below 2"),
        ({"idle_gate": NAN}, "above 0 and below 2"),
        ({"idle_gate": "0.9"}, "must be a number, but is '0.9'"),
        ({"reconnect_lines": "yes"}, "reconnect_lines must be True or False, but is 'yes'"),
        ({"reconnect_lines": 1}, "reconnect_lines must be True or False, but is 1"),
        ({"reconnect_lines": None}, "reconnect_lines must be True or False"),
        ({"scenarios": 5}, "scenarios must be one of recombined, .*, but is 5"),
        ({"scenarios": None}, "scenarios must be one of"),
        ({"scenarios": BundledSource}, "scenarios must be one of"),
        ({"scenarios": BundledSource(), "scenario_folder": "x"}, "scenario_folder is for"),
        ({"scenarios": "bundled", "scenario_folder": "x"}, "take no folder"),
        ({"scenarios": "dataset", "scenario_folder": 5}, "scenario_folder must be a path"),
        ({"grid": None}, "grid must be a name or a folder, but is None"),
        ({"grid": 5}, "grid must be a name or a folder, but is 5"),
        ({"observation": None}, "unknown observation None"),
        ({"reward": None}, "unknown reward None"),
        ({"reward": 3}, "unknown reward 3"),
        ({"reward": ["l2rpn"]}, "unknown reward"),
        ({"reward": "Reward"}, "unknown reward 'Reward'; did you mean"),
        ({"reward": "envs.grid.rewards:Reward"}, "is no class; expected one such as MarginReward"),
        ({"reward": "BaseReward"}, "unknown reward 'BaseReward'; did you mean"),
        ({"reward": "CombinedReward"}, "unknown reward 'CombinedReward'"),
        ({"split": "all"}, "unknown split 'all'"),
        ({"parameters": [1]}, "must be a dict such as"),
        ({"parameters": {1: 2}}, "unknown parameter of the grid 1"),
        ({"parameters": {"MAX_SUB_CHANGED": 1.5}}, "must be an integer, but is 1.5"),
        ({"parameters": {"MAX_SUB_CHANGED": True}}, "must be a number, but is True"),
        ({"parameters": {"MAX_SUB_CHANGED": -1}}, "MAX_SUB_CHANGED should be >=0"),
        ({"parameters": {"NB_TIMESTEP_COOLDOWN_SUB": 2.7}}, "must be an integer, but is 2.7"),
        ({"parameters": {"NB_TIMESTEP_OVERFLOW_ALLOWED": -2}}, "should be >= 0"),
        ({"parameters": {"SOFT_OVERFLOW_THRESHOLD": 0.0}}, "must be above 0, but is 0.0"),
        ({"parameters": {"HARD_OVERFLOW_THRESHOLD": NAN}}, "must be a finite number, but is nan"),
        ({"parameters": {"HARD_OVERFLOW_THRESHOLD": 0.5}}, "HARD_OVERFLOW_THRESHOLD < 1"),
        (
            {"parameters": {"SOFT_OVERFLOW_THRESHOLD": 10**400}},
            "must be a finite number",
        ),
        ({"parameters": {"NB_TIMESTEP_COOLDOWN_LINE": 2**40}}, "parameters of the grid .* int32"),
        ({"parameters": {"MAX_SUB_CHANGED": 2**70}}, "parameters of the grid .* too large"),
        ({"parameters": {"NO_OVERFLOW_DISCONNECTION": 3}}, "must be True or False, but is 3"),
        ({"max_steps": True}, "max_steps must be an integer"),
        ({"max_steps": float("inf")}, "max_steps must be an integer"),
        ({"max_steps": 2**70}, "max_steps must be an integer of at most 2147483647"),
        ({"idle_gate": np.complex64(1)}, "threshold must be a number, but is"),
        ({"ask_every": 2**70}, "ask_every must be an integer of at most 2147483647"),
        ({"ask_every": "6"}, "ask_every must be an integer of at least 1, but is '6'"),
        ({"ask_at_attacks": 1, "opponent": "rl4pnc"}, "ask_at_attacks must be True or False"),
        ({"ask_at_attacks": True}, "ask_at_attacks needs an opponent: set opponent="),
        ({"n1_gate": NAN}, "the N-1 gate's limit must be above 0, but is nan"),
        ({"n1_gate": np.complex64(1)}, "the N-1 gate's limit must be a number"),
        ({"reset_reward": "infos"}, "unknown reset_reward 'infos'; did you mean 'info'"),
    ],
)
def test_both_environments_refuse(options: dict[str, Any], message: str):
    for each in (make, make_vec):
        with pytest.raises(ValueError, match=message) as caught:
            each(**options)
        assert "\n" not in str(caught.value)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The grid2op environments that were opened since, each with a ``close`` that counts calls."""
    made: list[Any] = []

    def open_one(*arguments: Any, **keywords: Any) -> Any:
        env = new_grid2op(*arguments, **keywords)
        env.close = Mock(wraps=env.close)
        made.append(env)
        return env

    monkeypatch.setattr("envs.reference.power_grid.new_grid2op", open_one)
    return made


@pytest.mark.parametrize(
    "options",
    [
        {"ask_every": 0},
        {"n1_gate": -1},
        {"idle_gate": 5},
        {"ask_at_attacks": True},
        {"observation": "feature"},
    ],
    ids=str,
)
def test_what_is_refused_is_not_left_open(options: dict[str, Any], opened: list[Any]):
    with pytest.raises(ValueError):
        make(**options)
    assert len(opened) == 1 and opened[0].close.call_count == 1


def test_grids_seen_in_another_environment_are_not_left_open(opened: list[Any]):
    other = make_grid2op("rte_case5_example")
    with pytest.raises(ValueError, match="has other substations"):
        ObservedPowerGrid(other.action_space)
    other.close()
    assert [one.close.call_count for one in opened] == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autorest": "disabled"}, "did you mean 'autoreset'"),
        ({"planning_reward": ""}, "unknown reward ''"),
        ({"planning_reward": "Reward"}, "unknown reward 'Reward'"),
        ({"num_workers": 2}, "num_workers is 2, .*AsyncVectorEnv or trainer.num_workers"),
        ({"max_episode_steps": 2**40}, "max_episode_steps must be an integer of at most"),
    ],
)
def test_the_vector_environment_refuses(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        PowerGridVectorEnv(1, **options)


def test_a_spec_of_before_the_workers_were_gone_still_makes_it():
    env = make_vec(num_workers=0, scenarios="bundled")
    assert env.spec is not None and env.spec.kwargs["num_workers"] == 0
    spec = EnvSpec.from_json(env.spec.to_json())
    again = gym.make_vec(spec, vectorization_mode="vector_entry_point")
    assert np.array_equal(env.reset(seed=1)[0], again.reset(seed=1)[0])


def test_every_documented_keyword_is_taken():
    """A grid named by a path, numpy's numbers and flags are as good as Python's."""
    options: dict[str, Any] = {
        "scenarios": "bundled",
        "idle_gate": np.float32(0.9),
        "reconnect_lines": np.True_,
        "max_steps": np.int64(9),
        "parameters": {"MAX_SUB_CHANGED": np.int64(1), "SOFT_OVERFLOW_THRESHOLD": np.float32(1)},
    }
    make(**options).close()
    make_vec(**options).close()


@pytest.mark.parametrize("wrong", [-1, 487, 1.5, True, "3", None])
def test_actions_that_do_not_exist(wrong: Any):
    single, many = PowerGridEnv(scenarios="bundled"), PowerGridVectorEnv(2, scenarios="bundled")
    single.reset(seed=0)
    many.reset(seed=0)
    state, catalogue = single.state, single.catalogue
    for call in (
        lambda: catalogue.text(wrong),
        lambda: catalogue.illegal_reason(wrong, state),
        lambda: catalogue.results(state.topo_vect, state.last_busbar, [wrong]),
        lambda: single.simulate([wrong]),
        lambda: many.simulate([[wrong], None]),
    ):
        with pytest.raises(ValueError, match="an action is an integer from 0 to 486"):
            call()


@pytest.mark.parametrize("wrong", [5, None, "12", np.zeros((2, 2), int), {1: 2}, [[1], [2, 3]]])
def test_what_is_no_list_of_actions(wrong: Any):
    single, many = PowerGridEnv(scenarios="bundled"), PowerGridVectorEnv(1, scenarios="bundled")
    _, info = single.reset(seed=0)
    many.reset(seed=0)
    with pytest.raises(ValueError, match="must be a list of integers"):
        single.simulate(wrong)
    if wrong is not None:
        with pytest.raises(ValueError, match="must be a list of integers"):
            many.simulate([wrong])
        with pytest.raises(ValueError, match="one per environment"):
            many.simulate(wrong)
    for mask in (info["action_mask"], single.action_masks()):
        with pytest.raises(ValueError, match="not by an action mask: np.flatnonzero"):
            single.simulate(mask)
        with pytest.raises(ValueError, match="not by an action mask: np.flatnonzero"):
            many.simulate([mask])


def test_what_is_ragged_or_large_is_told_of_in_one_line():
    env = PowerGridVectorEnv(2, scenarios="bundled")
    with pytest.raises(ValueError, match=r"reset_mask is object of shape \(\); expected bool of"):
        env.reset(options={"reset_mask": [[True], [True, False]]})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions have shape \(\); expected \(2,\)"):
        env.step([[1], [2, 3]])
    for look in (lambda one: env.simulate([one, None]), lambda one: env.simulate([[0], None], one)):
        with pytest.raises(ValueError, match=r"array\(\[\[0, 0, .*\.\.\.$") as caught:
            look(np.zeros((99, 99), int))
        assert "\n" not in str(caught.value)


def test_rows_of_a_state_that_do_not_exist():
    env = PowerGridEnv(scenarios="bundled")
    env.reset(seed=0)
    for row in (1, -1):
        with pytest.raises(ValueError, match="the state is of 1 grids"):
            env.catalogue.illegal_reason(3, env.state, row)


@pytest.mark.parametrize("source", [BundledSource(), RecombinedSource(), VariedSource()])
def test_sources_refuse_what_is_no_name(source: Any):
    for wrong in (None, 3, "", ["sandbox-0000"]):
        with pytest.raises(ValueError, match="scenario"):
            source.load(wrong)
    with pytest.raises(ValueError, match="did you mean 'train'"):
        source.names("tain")


def test_sources_refuse_other_arguments(tmp_path: Any):
    sources: tuple[Any, ...] = (RecombinedSource, VariedSource)
    for cls in sources:
        with pytest.raises(ValueError, match="more must be True or False"):
            cls(more="yes")
        with pytest.raises(ValueError, match="grid must be a name or a folder"):
            cls(grid=None)
    with pytest.raises(ValueError, match="grid must be a name or a folder"):
        BundledSource(grid=5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="scenario_folder must be a path"):
        DatasetSource(folder=5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="unknown scenarios 3"):
        make_source(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="is there 2 times"):
        export_scenarios(BundledSource(), tmp_path / "x", names=["sandbox-0000", "sandbox-0000"])
    with pytest.raises(ValueError, match="grid must be a name or a folder"):
        envs.describe_grid(5)  # pyright: ignore[reportArgumentType]


@cache
def day() -> Scenario:
    return BundledSource().load("educ-2019-01-12")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"load_q": lambda day: day.load_q[:5]},
            r"load_q has shape \(5, 11\); expected \(289, 11\)",
        ),
        (
            {"prod_v": lambda day: day.prod_v[:, :2]},
            r"prod_v has shape \(289, 2\); expected \(289, 6\)",
        ),
        (
            {"load_p": lambda day: day.load_p[0]},
            "load_p must be a float32 array of rows and columns",
        ),
        ({"load_p": lambda day: day.load_p.astype(int)}, "load_p must be a float32 array"),
        ({"prod_p_forecast": None}, "prod_p_forecast must be a float32 array"),
        (
            {"load_p": lambda day: day.load_p * np.float32(NAN)},
            "load_p has values that are not finite",
        ),
        ({"maintenance": np.zeros((3, 20), bool)}, r"maintenance has shape \(3, 20\)"),
        ({"minutes_per_step": 0}, "minutes_per_step must be an integer of at least 1"),
        ({"minutes_per_step": 2.5}, "minutes_per_step must be an integer"),
        ({"start": "2019"}, "start must be a numpy.datetime64"),
        ({"name": 5}, "a scenario's name is a str"),
    ],
)
def test_scenarios_that_do_not_fit_together(change: dict[str, Any], message: str):
    changed = {name: value(day()) if callable(value) else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message):
        replace(day(), **changed)


def test_set_scenario_refuses_what_it_cannot_play():
    env = make_grid2op("l2rpn_case14_sandbox")
    rows: tuple[Any, ...] = (1.5, True, "2", -1)
    for row in rows:
        with pytest.raises(ValueError, match="first_row must be"):
            set_scenario(env, day(), row)
    with pytest.raises(ValueError, match="must be a Scenario, but is 5"):
        set_scenario(env, 5)  # pyright: ignore[reportArgumentType]
    env.close()


def test_wrappers_refuse_what_they_cannot_wrap():
    env = PowerGridEnv(scenarios="bundled")
    with pytest.raises(ValueError, match="below 2"):
        IdleGate(env, 5)
    with pytest.raises(ValueError, match="'evry'; did you mean 'every'"):
        IdleGate(env, 0.9, evry=3)  # pyright: ignore[reportCallIssue]
    wraps: tuple[Any, ...] = (ReconnectLines, lambda one: IdleGate(one, 0.9))
    for wrap in wraps:
        with pytest.raises(ValueError, match="wraps PowerGridEnv, but was given NoneType"):
            wrap(None)


@dataclass(frozen=True)
class Impossible(BundledSource):
    """Scenarios that need ten times what the grid can carry, from a row on."""

    first: int = field(default=0)

    def load(self, name: str) -> Scenario:
        scenario = super().load(name)
        load = scenario.load_p.copy()
        load[self.first :] *= 40
        return replace(scenario, load_p=load)


def test_a_scenario_without_a_solution_at_its_start_is_one_line():
    name = "educ-2019-01-12"
    message = f"scenario '{name}' cannot start at row 0: "
    single = PowerGridEnv(scenarios=Impossible())
    many = PowerGridVectorEnv(1, scenarios=Impossible())
    for env in (single, many):
        with pytest.raises(ValueError, match=message) as caught:
            env.reset(seed=0, options={"scenario": name})
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__ is (
            env is single
        )
    with pytest.raises(gym.error.ResetNeeded):
        single.step(0)
    later = PowerGridEnv(scenarios=Impossible(first=5))
    with pytest.raises(ValueError, match="cannot start at row 7"):
        later.reset(options={"scenario": name, "first_step": 7})
    later.reset(options={"scenario": name})  # goes on after a refusal
    steps = 1
    while not later.step(0)[2]:
        steps += 1
    assert steps == 5
