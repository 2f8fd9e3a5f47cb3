"""The vector environment as Gymnasium and the agents see it, beside environments side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from agents.environments import EnvironmentFactory, ResumableVectorEnv
from envs.fast import grid_template
from envs.fast.cascade import Cascade
from envs.fast.effects import Effects
from envs.fast.forecast_planner import hold_forecast
from envs.fast.memory import ScenarioRows
from envs.fast.power_flow import Columns, PowerFlow
from envs.fast.rules import DEAD, QUIET, TRIPS, StepRules
from envs.fast.template import GridTemplate
from envs.fast.vector import PowerGridVectorEnv
from envs.reference.power_grid import PARAMETERS
from envs.scenarios import BundledSource, Scenario, make_source
from tests.envs.conftest import stack

OPTIONS: dict[str, Any] = {
    "scenarios": "bundled",
    "idle_gate": 0.9,
    "reconnect_lines": True,
    "text_infos": True,
}


def side_by_side(count: int, **options: Any) -> ResumableVectorEnv:
    return ResumableVectorEnv([EnvironmentFactory("PowerGrid-v0", options).make] * count)


def assert_same_infos(expected: dict[str, Any], given: dict[str, Any]) -> None:
    assert expected.keys() == given.keys()
    for key, value in expected.items():
        other = given[key]
        if isinstance(value, dict):
            assert_same_infos(value, other)
        elif key == "final_obs":
            for one, two in zip(value, other, strict=True):
                assert (one is None) == (two is None)
                assert one is None or np.allclose(one, two, atol=1e-5)
        else:
            assert value.dtype == other.dtype, key
            if value.dtype.kind == "f":
                assert np.allclose(value, other, rtol=1e-5), key
            else:
                assert np.array_equal(value, other), key


def test_make_vec():
    env = gym.make_vec(
        "PowerGrid-v0", num_envs=3, vectorization_mode="vector_entry_point", split="val"
    )
    assert isinstance(env.unwrapped, PowerGridVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observations, infos = env.reset(seed=5)
    assert env.observation_space.contains(observations)
    assert env.action_space.contains(np.array([0, 1, 486]))
    assert infos["action_mask"].shape == (3, 487) and infos["action_mask"].dtype == np.int8
    assert env.spec is not None and json.loads(env.spec.to_json())["id"] == "PowerGrid-v0"
    env.close()
    env.close()
    with pytest.raises(gym.error.ClosedEnvironmentError, match="closed"):
        env.step([0, 0, 0])


@pytest.mark.parametrize("options", [OPTIONS, {"max_steps": 9, "start": "random"}])
def test_a_drop_in_for_environments_side_by_side(options: dict[str, Any]):
    slow = side_by_side(3, **options)
    fast = PowerGridVectorEnv(3, reset_reward="info", **options)  # as factories make them
    rng = np.random.default_rng(2)
    expected, given = slow.reset(seed=4), fast.reset(seed=4)
    ended = 0
    for _ in range(12):
        assert np.allclose(expected[0], given[0], atol=1e-5)
        assert_same_infos(expected[-1], given[-1])
        actions = np.where(rng.random(3) < 0.5, rng.integers(487, size=3), 0)
        expected, given = slow.step(actions), fast.step(actions)
        assert np.allclose(expected[1], given[1], rtol=1e-5)
        assert np.array_equal(expected[2], given[2]) and np.array_equal(expected[3], given[3])
        ended += int((given[2] | given[3]).sum())
    assert ended > 0
    mask = np.array([True, False, True])
    options = {"scenario": ["educ-2019-01-13", None, "educ-2019-01-14"], "reset_mask": mask}
    if fast.scenarios.names("train")[0].startswith("train"):
        options = {"first_step": [0, None, 700], "reset_mask": mask}
    expected, given = slow.reset(options=options), fast.reset(options=options)
    assert np.allclose(expected[0], given[0], atol=1e-5)
    assert_same_infos(expected[1], given[1])
    slow.close()


def test_without_autoreset_a_finished_grid_waits():
    env = PowerGridVectorEnv(2, autoreset="disabled", max_steps=2, text_infos=True)
    env.reset(seed=1)
    env.step([0, 0])
    *_, truncations, _ = env.step([0, 0])
    assert truncations.all()
    env.reset(options={"reset_mask": np.array([True, False])})
    before = env.state.rho[1].copy()
    observations, rewards, terminations, truncations, infos = env.step([0, 5])
    assert truncations.tolist() == [False, True] and not terminations.any()
    assert rewards[0] > 0 and rewards[1] == 0
    assert infos["end"].tolist() == ["", "time limit"] and infos["step"].tolist() == [1, 2]
    assert np.array_equal(env.state.rho[1], before)
    assert "final_obs" not in infos


@pytest.mark.parametrize(
    "options", [OPTIONS, {"max_steps": 15, "observation": "graph", "text_infos": True}]
)
def test_resumes_exactly(options: dict[str, Any]):
    first, second = PowerGridVectorEnv(3, **options), PowerGridVectorEnv(3, **options)
    first.reset(seed=11)
    rng = np.random.default_rng(0)
    for _ in range(20):
        first.step(np.where(rng.random(3) < 0.3, rng.integers(487, size=3), 0))
    first.simulate([[0, 1], None, [3]])
    state = json.loads(json.dumps(first.state_dict()))  # plain Python only
    _, infos = second.load_state_dict(state)
    assert second.simulator_calls.tolist() == [2, 0, 1]
    for _ in range(20):
        actions = np.where(rng.random(3) < 0.3, rng.integers(487, size=3), 0)
        expected, given = first.step(actions), second.step(actions)
        for one, two in zip(expected[:4], given[:4], strict=True):
            if isinstance(one, dict):
                assert all(np.array_equal(one[key], two[key]) for key in one)
            else:
                assert np.array_equal(one, two)
        assert expected[4]["scenario"].tolist() == given[4]["scenario"].tolist()


def test_a_state_that_leads_elsewhere_is_refused():
    env = PowerGridVectorEnv(1, scenarios="bundled")
    env.reset(seed=0)
    env.step([0])
    state = env.state_dict()
    with pytest.raises(ValueError, match="2 environments"):
        env.load_state_dict({**state, "episodes": state["episodes"] * 2})
    state["episodes"][0]["actions"] = [0, 0, 0]
    with pytest.raises(ValueError, match="another observation"):
        env.load_state_dict(state)


NO_STATES: list[tuple[Any, str]] = [
    (None, "the saved state is a NoneType"),
    (3, "the saved state is a int"),
    ({}, "lacks autoreset, simulator_calls, episodes"),
    ({"autoreset": "SameStep", "simulator_calls": [0], "episodes": 3}, "episodes are no list"),
    ({"autoreset": "SameStep", "simulator_calls": "x", "episodes": []}, "0 environments"),
]


@pytest.mark.parametrize(("state", "message"), NO_STATES)
@pytest.mark.parametrize("vector", [True, False])
def test_what_is_no_state_is_refused(state: Any, message: str, vector: bool):
    env: Any = EnvironmentFactory("PowerGrid-v0", {"scenarios": "bundled"}, vector=vector)(1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.load_state_dict(state)
    env.close()


@pytest.mark.parametrize("vector", [True, False])
def test_a_damaged_state_is_refused(vector: bool):
    env: Any = EnvironmentFactory("PowerGrid-v0", {"scenarios": "bundled"}, vector=vector)(1)
    env.reset(seed=0)
    env.step(np.array([0]))
    state = env.state_dict()
    [episode] = state["episodes"]
    for damage, message in (
        ({"episodes": [3]}, "episode 0 of the saved state is a int"),
        ({"episodes": [{"actions": []}]}, "episode 0 of the saved state lacks random_state, seed"),
        ({"episodes": [{**episode, "actions": ["a"]}]}, "other actions than integers"),
        ({"episodes": [{**episode, "random_state": 3}]}, "no state of a random generator"),
        ({"simulator_calls": "many"}, "simulator_calls are not 1 integers"),
    ):
        with pytest.raises(ValueError, match=message):
            env.load_state_dict({**state, **damage})
    observation, _ = env.load_state_dict(state)
    np.testing.assert_allclose(observation[0], np.asarray(episode["observation"]))
    env.close()


def test_load_state_takes_what_save_state_returned():
    env = PowerGridVectorEnv(1, scenarios="bundled")
    env.reset(seed=0)
    for wrong in (None, {}, env.state_dict()):
        with pytest.raises(ValueError, match="load_state takes what save_state returned"):
            env.load_state(0, wrong)  # pyright: ignore[reportArgumentType]
    env.load_state(0, env.save_state(0))


@pytest.mark.parametrize("options", [{"idle_gate": 0.9}, {"start": "random"}])
def test_grids_do_not_depend_on_each_other(options: dict[str, Any]):
    alone, many = PowerGridVectorEnv(1, **options), PowerGridVectorEnv(4, **options)
    alone.reset(seed=8)
    many.reset(seed=[5, 6, 7, 8])
    rng = np.random.default_rng(3)
    for _ in range(15):
        actions = rng.integers(487, size=4)
        expected, given = alone.step(actions[3:]), many.step(actions)
        assert np.array_equal(expected[0][0], given[0][3]) and expected[1][0] == given[1][3]
        for one, two in zip(alone.state, many.state, strict=True):
            assert np.array_equal(one[0], two[3])


@pytest.mark.parametrize("counting", [True, False])
@pytest.mark.parametrize("odd", [None, np.nan, np.inf, 0.0, -1.0, 2e6])
def test_compiled_rules_are_those_of_a_cascade(counting: bool, odd: float | None):
    template = _template()
    columns, rules = Columns(template), template.rules
    B, L = 40, template.layout.num_lines
    rng = np.random.default_rng(0)
    raw = rng.uniform(1, 100, size=(B, columns.count))
    raw[:, columns.a_or] = rng.uniform(0, 1.2, size=(B, L)) * rules.limit / 1000
    if odd is not None:
        for grid in range(B):
            raw[grid, rng.integers(columns.count)] = odd
    status = rng.random((B, L)) < 0.9
    steps = (rng.integers(4, size=(B, L)) * (rng.random((B, L)) < 0.05)).astype(np.int32)
    grids = np.sort(rng.choice(B, size=30, replace=False))
    solution = np.full((B, columns.count), 7, dtype=np.float32)
    rho = np.full((B, L), 7, dtype=np.float32)
    verdicts = StepRules(rules, columns).settle(
        raw, grids, status, steps, solution, rho, counting=counting
    )
    cascade = Cascade(template, columns)
    expected = cascade.convert(raw[grids])
    currents = expected[:, columns.a_or]
    dead = cascade.dead(expected)
    trips = cascade.trips(currents, status[grids], steps[grids], counting=counting).any(axis=1)
    assert np.array_equal(solution[grids], expected, equal_nan=True)
    assert np.array_equal(rho[grids], currents / rules.limit, equal_nan=True)
    assert np.array_equal(verdicts, np.where(dead, DEAD, np.where(trips, TRIPS, QUIET)))
    assert (np.delete(solution, grids, axis=0) == 7).all()
    assert set(verdicts.tolist()) >= {QUIET, TRIPS} if odd is None else DEAD in verdicts


def test_grids_share_the_series():
    env = PowerGridVectorEnv(3)
    name = env.scenarios.names("train")[0]
    env.reset(options={"scenario": name})
    first, *others = env._grids.simulator.scenarios
    assert first is env.scenarios.load(name) and all(other is first for other in others)


def _injections(scenario: Scenario, row: int) -> np.ndarray:
    """Return what a power flow is given at a row."""
    series = (scenario.prod_p, scenario.load_p, scenario.load_q, scenario.prod_v)
    return np.concatenate([values[row] for values in series])


def _solution(flow: PowerFlow, *injections: np.ndarray) -> np.ndarray:
    """Return the last solution of solving one after the other."""
    for given in injections:
        flow.set_injections(given)
        assert flow.solve() == ""
    out = np.empty(Columns(_template()).count)
    flow.read(out)
    return out


def _template() -> GridTemplate:
    return grid_template("l2rpn_case14_sandbox", PARAMETERS)


def test_a_power_flow_keeps_nothing_of_the_past():
    template = _template()
    source = make_source("recombined")
    scenario = source.load(source.names("train")[0])
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows = [_injections(scenario, row) for row in rng.integers(scenario.num_steps, size=3)]
        used, new = PowerFlow(template, template.topology), PowerFlow(template, template.topology)
        assert np.array_equal(_solution(used, *rows), _solution(new, rows[-1]))


@pytest.mark.parametrize("values", [(0.5, 0.5 + 6e-8), (3.0, 5e-8), (0.0, 5e-8), (1e-7, 0.0)])
def test_powers_that_are_nearly_the_same_or_0_leave_no_trace(values: tuple[float, float]):
    template = _template()
    source = make_source("recombined")
    row = _injections(source.load(source.names("train")[0]), 0)
    for place in (0, template.layout.num_generators):  # generation, load
        before, after = row.copy(), row.copy()
        before[place], after[place] = values
        assert before[place] != after[place]
        used, new = PowerFlow(template, template.topology), PowerFlow(template, template.topology)
        assert np.array_equal(_solution(used, before, after), _solution(new, after))


def test_rows_of_many_scenarios_are_read_as_they_are():
    names = ("recombined", "varied", "bundled")
    scenarios = [source.load(source.names("train")[0]) for source in map(make_source, names)]
    layout = _template().layout
    rows = ScenarioRows(layout, len(scenarios))
    for grid, scenario in enumerate(scenarios):
        rows.point(grid, hold_forecast(scenario, 5) if grid == 1 else scenario)
    present = rows.present(np.array([2, 0, 1]), np.array([7, 30, 11], dtype=np.int32))
    assert np.array_equal(present[0], _injections(scenarios[2], 7))
    assert np.array_equal(present[1], _injections(scenarios[0], 30))
    assert np.array_equal(present[2], _injections(hold_forecast(scenarios[1], 5), 0))
    rows.point(2, replace(scenarios[2], load_p=scenarios[2].load_p.astype(np.float64)))
    again = rows.present(np.array([2]), np.array([7], dtype=np.int32))
    assert np.array_equal(again[0], present[0])
    foreseen = rows.forecast(np.array([0]), np.array([3], dtype=np.int32))[0]
    assert np.array_equal(foreseen[rows.parts[1]], scenarios[0].load_p_forecast[3])


@pytest.mark.parametrize("options", [OPTIONS, {"start": "random", "text_infos": True}])
def test_goes_back_to_where_a_grid_stood(options: dict[str, Any]):
    env = PowerGridVectorEnv(2, autoreset="disabled", **options)
    env.reset(seed=9)
    env.step([0, 400])
    saved = env.save_state(1)
    first = [env.step([0, action]) for action in (300, 0, 420, 0)]
    env.load_state(1, saved)
    again = [env.step([0, action]) for action in (300, 0, 420, 0)]
    env.load_state(0, saved)  # and elsewhere
    elsewhere = [env.step([action, 0]) for action in (300, 0, 420, 0)]
    for one, two, three in zip(first, again, elsewhere, strict=True):
        assert np.array_equal(one[0][1], two[0][1]) and np.array_equal(one[0][1], three[0][0])
        assert one[1][1] == two[1][1] == three[1][0]
        assert one[4]["end"][1] == two[4]["end"][1] == three[4]["end"][0]
        assert np.array_equal(one[4]["action_mask"][1], three[4]["action_mask"][0])


def test_lookahead_leaves_the_grids_alone():
    with_it, without = PowerGridVectorEnv(2), PowerGridVectorEnv(2)
    with_it.reset(seed=3)
    without.reset(seed=3)
    for _ in range(3):
        result = with_it.simulate([np.arange(487), None])
        assert result[0] is not None and result[1] is None
        assert result[0].rho_max.shape == (487,) and result[0].game_over.any()
        assert np.array_equal(with_it.step([0, 0])[0], without.step([0, 0])[0])
    assert with_it.simulator_calls.tolist() == [3 * 487, 0]


def test_effects_are_the_catalogues():
    env = PowerGridVectorEnv(1)
    env.reset(seed=0)
    effects = Effects(env.catalogue)
    rng = np.random.default_rng(1)
    for _ in range(30):
        state = stack([env.state])
        expected = env.catalogue.results(state.topo_vect, state.last_busbar)[0]
        for action in rng.integers(487, size=40).tolist():
            after = effects.result(action, state.topo_vect[0], state.last_busbar[0])
            assert np.array_equal(after, expected[action])
        env.step([int(rng.integers(387, 487))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "at least 1"),
        ({"num_envs": 2.0}, "num_envs"),
        ({"autoreset": "same"}, "did you mean 'same_step'"),
        ({"split": "tain"}, "did you mean 'train'"),
        ({"observation": "featurs"}, "did you mean 'features'"),
        ({"reward": "EpisodeDurationReward"}, "PowerGridEnv"),
        ({"grid2op_options": {"opponent_class": object}}, "PowerGridEnv"),
        ({"render_mode": "rgb_array"}, "PowerGridEnv"),
        ({"parameters": {"ENV_DC": True}}, "ENV_DC.*PowerGridEnv"),
        ({"parameters": {"NB_TIMESTEP_COLDOWN_SUB": 1}}, "did you mean 'NB_TIMESTEP_COOLDOWN_SUB'"),
        ({"idle_gate": -1}, "above 0"),
        ({"n1_gate": "1"}, "N-1 gate's limit must be a number"),
        ({"ask_every": 0}, "ask_every must be an integer of at least 1"),
        ({"ask_at_attacks": True}, "needs an opponent"),
        ({"max_steps": 0}, "max_steps"),
        ({"grid": "l2rpn_case14_sandboxx"}, "did you mean 'l2rpn_case14_sandbox'"),
        ({"scenarios": "bundeld"}, "did you mean 'bundled'"),
        ({"action_mask": "leagl"}, "did you mean 'legal'"),
    ],
)
def test_refuses_what_it_does_not_cover(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        PowerGridVectorEnv(**{"num_envs": 1, **options})


@dataclass(frozen=True)
class Changed(BundledSource):
    """The bundled scenarios with something else in them."""

    change: str = ""

    def load(self, name: str) -> Scenario:
        scenario = super().load(name)
        if self.change == "loads":
            kinds = ("load_p", "load_q", "load_p_forecast", "load_q_forecast")
            return replace(scenario, **{kind: getattr(scenario, kind)[:, :5] for kind in kinds})
        outages = np.zeros((scenario.num_steps + 1, 19), dtype=np.bool_)
        return replace(scenario, **{self.change: outages})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("maintenance", "of another grid: its maintenance are of 19 lines, but the grid has 20"),
        ("hazards", "of another grid: its hazards are of 19 lines, but the grid has 20"),
        ("loads", "of another grid: it has 5 loads .* 11 loads|5 loads and 6 generators"),
    ],
)
def test_refuses_scenarios_of_another_grid(change: str, message: str):
    env = PowerGridVectorEnv(1, scenarios=Changed(change=change))
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0)


def test_refuses_wrong_calls():
    env = PowerGridVectorEnv(2, scenarios="bundled")
    with pytest.raises(ValueError, match="never reset"):
        env.step([0, 0])
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        env.simulate([[0], None])
    for options, message in (
        ({"scenario": ["sandbox-0000"]}, "1 entries; expected 2"),
        ({"scenario": "sandbox-000"}, "did you mean 'sandbox-000"),
        ({"scenario": "sandbox-0000", "first_step": 1.5}, "first_step' must be an integer"),
        ({"scenarioo": "sandbox-0000"}, "did you mean 'scenario'"),
        (
            {"scenario": "sandbox-0000", "first_step": 575},
            "has 575 steps: first_step must be in 0..574",
        ),
        ({"reset_mask": [1, 0]}, "expected bool"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)
    with pytest.raises(ValueError, match="3 seeds"):
        env.reset(seed=[1, 2, 3])
    env.reset(seed=0)
    for actions, message in (
        ([0], "shape"),
        (0, "shape"),
        ([[0, 0]], "shape"),
        ([0, 487], "from 0 to 486, but is 487"),
        ([0, -1], "from 0 to 486, but is -1"),
        ([0.0, 1.0], "integer"),
        ([True, False], "integer"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(actions)
    with pytest.raises(ValueError, match="2, one per"):
        env.simulate([[0]])
    with pytest.raises(ValueError, match="486"):
        env.simulate([[500], None])
