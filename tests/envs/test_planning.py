"""Plans are what ``simulate`` says first, and what happens if the forecast comes true and stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs.fast.forecast_planner import ForecastPlanner, hold_forecast
from envs.fast.vector import PowerGridVectorEnv
from envs.scenarios import Scenario, make_source

B = 4
SANDBOX = "l2rpn_case14_sandbox"


@pytest.fixture(scope="module")
def env() -> PowerGridVectorEnv:
    return PowerGridVectorEnv(
        B, autoreset="disabled", start="random", idle_gate=0.95, text_infos=True
    )


class OneScenario:
    """A source of one scenario."""

    def __init__(self, scenario: Scenario):
        self._scenario = scenario

    def names(self, split: str) -> tuple[str, ...]:
        return (self._scenario.name,)

    def draw(self, split: str, rng: np.random.Generator) -> str:
        return self._scenario.name

    def load(self, name: str) -> Scenario:
        return self._scenario


def fulfilled(scenario: Scenario, row: int, steps: int) -> Scenario:
    """A scenario that starts at ``row`` of another; from then on its forecast there is true."""
    rows = slice(row, row + steps + 1)
    cut: dict[str, Any] = {
        name: getattr(scenario, name)[rows]
        for name in vars(scenario)
        if isinstance(getattr(scenario, name), np.ndarray)
    }
    cut = {name: values.copy() for name, values in cut.items()}
    for name in ("load_p", "load_q", "prod_p", "prod_v"):
        foreseen = cut[f"{name}_forecast"]
        foreseen[:] = foreseen[0]
        cut[name][1:] = foreseen[0]
    return replace(scenario, **cut)


@pytest.fixture(scope="module")
def stressed(env: PowerGridVectorEnv) -> tuple[Scenario, int]:
    """A scenario and a row of it at which doing nothing overloads a line."""
    _, infos = env.reset(seed=0)
    for _ in range(50):
        for grid in range(B):
            ahead = env.simulate([[0] if one == grid else None for one in range(B)])[grid]
            assert ahead is not None
            if infos["rho_max"][grid] > 1.0 and ahead.rho_max[0] > 1.0:
                scenario = env.scenarios.load(infos["scenario"][grid])
                return scenario, int(infos["step"][grid])
        *_, infos = env.step(np.zeros(B, dtype=int))
    raise AssertionError("no stressed state was found")


def of_one(scenario: Scenario, **options: Any) -> PowerGridVectorEnv:
    env = PowerGridVectorEnv(
        1, autoreset="disabled", scenarios=OneScenario(scenario), text_infos=True, **options
    )
    env.reset(seed=0)
    return env


def test_the_first_step_is_what_simulate_says(env: PowerGridVectorEnv):
    rng = np.random.default_rng(0)
    env.reset(seed=1)
    planner = env.planner()
    lost = refused = 0
    for _ in range(4):
        actions = rng.integers(env.num_actions, size=(B, 50))
        looks = env.simulate(list(actions))
        roots = planner.begin(np.arange(B))
        refused += B * 50 - int(np.take_along_axis(planner.legal(roots), actions, axis=1).sum())
        for number in range(actions.shape[1]):
            step = planner.step(roots, actions[:, number])
            rho_max = planner.state(step.slots).rho.max(axis=1)
            for grid, look in enumerate(looks):
                assert look is not None
                assert step.blackout[grid] == look.game_over[number]
                if not step.blackout[grid]:
                    assert rho_max[grid] == pytest.approx(look.rho_max[number], rel=1e-6)
            lost += int(step.blackout.sum())
        env.step(np.where(rng.random(B) < 0.5, 0, actions[:, 0]))
        if env.over.any():
            env.reset(options={"reset_mask": env.over})
    assert lost > 20 and refused > 100


@pytest.mark.parametrize("reward", ["blackout", "l2rpn", "margin", "near_reference", "survival"])
def test_a_plan_comes_true_if_the_forecast_does(stressed: tuple[Scenario, int], reward: str):
    env = of_one(fulfilled(*stressed, steps=9), reward=reward, reconnect_lines=reward == "margin")
    planner = env.planner()
    start = env.save_state(0)
    rng = np.random.default_rng(3)
    legal = np.flatnonzero(planner.legal(planner.begin(np.array([0])))[0])
    plans = [[0] * 9]  # the overload trips a line, and others follow
    plans += [[*rng.choice(legal, 1), *rng.integers(env.num_actions, size=2)] for _ in range(60)]
    ends: list[str] = []
    for plan in plans:
        env.load_state(0, start)
        slots = planner.begin(np.array([0]))
        for action in plan:
            step = planner.step(slots, np.array([action]))
            observations, rewards, terminations, truncations, infos = env.step(np.array([action]))
            assert step.reward[0] == pytest.approx(rewards[0], rel=1e-5, abs=1e-5)
            assert step.blackout[0] == terminations[0]
            assert step.over[0] == (terminations[0] or truncations[0])
            planned, present = planner.state(step.slots), env.state
            for name in ("rho", "p_or", "gen_p", "load_v"):
                assert np.allclose(getattr(planned, name), getattr(present, name), rtol=1e-5)
            for name in ("topo_vect", "overflow_steps", "line_cooldown", "substation_cooldown"):
                assert np.array_equal(getattr(planned, name), getattr(present, name))
            assert planned.clock == present.clock and planned.step == present.step
            assert np.allclose(planner.observations(step.slots), observations, atol=1e-5)
            assert np.array_equal(planner.legal(step.slots), infos["action_mask"])
            slots = step.slots
            if step.over[0]:
                ends.append(str(infos["end"][0]))
                break
    assert sum(end.startswith("blackout") for end in ends) > 5
    assert len(ends) < len(plans)  # most plans go on


@pytest.mark.parametrize("line", ["3_4_6", "6_8_19", "11_12_13"])
def test_attacks_that_a_plan_is_told_of_come_true(stressed: tuple[Scenario, int], line: str):
    """As the opponent makes them: after the action, before the power flow, and held out."""
    opponent = {"lines": [line], "duration": 3, "period": 4, "budget": 100}
    env = of_one(fulfilled(*stressed, steps=12), opponent=opponent)
    start = env.save_state(0)
    number = np.array([env.layout.line_names.index(line)])
    planner = env.planner()
    rng = np.random.default_rng(5)
    legal = np.flatnonzero(planner.legal(planner.begin(np.array([0])))[0])
    switch = env.catalogue.switch_line_action[number]  # opens it, closes it, or is refused
    attacks = ends = 0
    for _ in range(15):
        env.load_state(0, start)
        slots = planner.begin(np.array([0]))
        count = 0
        for action in [rng.choice(legal), *rng.choice([0, *switch, *legal[:3]], size=8)]:
            before = int(env.state.attack_steps.max())
            *_, terminations, _, infos = env.step(np.array([action]))
            began = infos["attacks"][0] > count
            count = infos["attacks"][0]
            step = planner.step(
                slots, np.array([action]), number if began else np.array([-1]), duration=3
            )
            assert before == 0 or not began
            attacks += began
            assert step.blackout[0] == terminations[0]
            planned, present = planner.state(step.slots), env.state
            assert np.allclose(planned.rho, present.rho, rtol=1e-5)
            for name in ("topo_vect", "overflow_steps", "line_cooldown", "attack_steps"):
                assert np.array_equal(getattr(planned, name), getattr(present, name)), name
            slots = step.slots
            if step.over[0]:
                ends += 1
                break
    assert attacks >= 15 and ends


def test_attacks_on_lines_that_do_not_exist_are_refused(env: PowerGridVectorEnv):
    env.reset(seed=1)
    planner = env.planner()
    slots = planner.begin(np.arange(B))
    for wrong in ([0, 1, 2, 20], [0, 1, -2, 3], [1]):
        with pytest.raises(ValueError, match="attacked must be 4 lines of 0 to 19, or -1 for none"):
            planner.step(slots, np.zeros(B, int), np.array(wrong))


def test_what_comes_later_changes_nothing(stressed: tuple[Scenario, int]):
    scenario, row = stressed
    other: dict[str, Any] = {}
    for name in ("load_p", "load_q", "prod_p", "prod_v"):
        for key in (name, f"{name}_forecast"):
            values = getattr(scenario, key).copy()
            values[row + 1 :] *= 1.3
            other[key] = values
    seen = []
    for one in (scenario, replace(scenario, **other)):
        env = PowerGridVectorEnv(1, scenarios=OneScenario(one))
        env.reset(seed=0, options={"first_step": row})
        planner = env.planner()
        slots = planner.begin(np.array([0]))
        shown = []
        for action in (0, 200, 0, 480, 0, 0):
            step = planner.step(slots, np.array([action]))
            shown += [planner.observations(step.slots), step.reward]
            slots = step.slots
        seen.append(shown)
        env.step(np.array([0]))  # what really comes does differ
        shown.append(env.state.load_p.copy())
    for one, two in zip(seen[0][:-1], seen[1][:-1], strict=True):
        assert np.array_equal(one, two)
    assert not np.allclose(seen[0][-1], seen[1][-1])


def test_a_held_forecast_keeps_what_is_planned_and_drops_what_is_not():
    source = make_source("recombined", grid=SANDBOX, folder=None)
    scenario = source.load(source.names("val")[0])
    outages = np.zeros((len(scenario.load_p), 20), dtype=bool)
    held = hold_forecast(replace(scenario, maintenance=outages, hazards=outages), 7)
    assert held.maintenance is outages and held.hazards is None
    assert held.num_steps == scenario.num_steps and held.start == scenario.start
    for name in ("load_p", "load_q", "prod_p", "prod_v"):
        expected = getattr(scenario, f"{name}_forecast")[7]
        for rows in (getattr(held, name), getattr(held, f"{name}_forecast")):
            assert np.array_equal(rows[0], expected) and np.array_equal(rows[-1], expected)


def test_copies_do_not_disturb_each_other_or_the_grids(env: PowerGridVectorEnv):
    env.reset(seed=2)
    before = [np.array(values) for values in env.state]
    rng = np.random.default_rng(1)
    narrow, wide = env.planner(), env.planner()
    wide.begin(np.zeros(64, dtype=int))  # has room for all that follows
    room = narrow.num_slots
    all_slots = [planner.begin(np.arange(B)) for planner in (narrow, wide)]
    known = [all_slots[0]]
    for _ in range(20):
        parents = np.array([rng.choice([slots[grid] for slots in known]) for grid in range(B)])
        actions = rng.integers(env.num_actions, size=B)
        shown = narrow.observations(parents)
        steps = [planner.step(parents, actions) for planner in (narrow, wide)]
        assert np.array_equal(narrow.observations(parents), shown)
        again = narrow.step(parents, actions)
        assert np.array_equal(again.reward, steps[0].reward)
        assert np.array_equal(narrow.observations(again.slots), narrow.observations(steps[0].slots))
        wide.step(parents, actions)
        assert np.array_equal(steps[0].slots, steps[1].slots)
        assert np.array_equal(
            narrow.observations(steps[0].slots), wide.observations(steps[1].slots)
        )
        known.append(steps[0].slots)
    assert room < narrow.num_slots <= 4 * 41 * B
    for values, now in zip(before, env.state, strict=True):
        assert np.array_equal(values, now)


def test_steps_are_counted(env: PowerGridVectorEnv):
    env.reset(seed=2)
    planner = env.planner()
    before = env.simulator_calls.copy()
    slots = planner.begin(np.array([2, 0]))
    slots = planner.step(slots, np.array([0, 0])).slots
    planner.step(slots[:1], np.array([0]))
    assert (env.simulator_calls - before).tolist() == [1, 0, 2, 0]


def test_calm_is_below_the_idle_gate(env: PowerGridVectorEnv):
    env.reset(seed=2)
    planner = env.planner()
    roots = planner.begin(np.arange(B))
    assert not planner.calm(roots).any()
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(30):
        step = planner.step(roots, rng.integers(env.num_actions, size=B))
        below = planner.state(step.slots).rho.max(axis=1) < 0.95
        assert np.array_equal(planner.calm(step.slots), below & ~step.over)
        found |= set(planner.calm(step.slots).tolist())
    assert found == {True, False}
    always = PowerGridVectorEnv(1)
    always.reset(seed=0)
    planner = always.planner()
    assert not planner.calm(planner.begin(np.array([0]))).any()


@pytest.mark.parametrize("limit", [None, 2])
def test_what_is_over_stays_as_it_is(stressed: tuple[Scenario, int], limit: int | None):
    scenario = fulfilled(*stressed, steps=2 if limit is None else 5)
    env = of_one(scenario, reward="survival", max_steps=limit)
    planner = env.planner()
    slots = planner.begin(np.array([0]))
    slots = planner.step(slots, np.array([0])).slots
    step = planner.step(slots, np.array([0]))
    assert step.over[0] and not step.blackout[0] and step.reward[0] == 1
    calls = env.simulator_calls.copy()
    after = planner.step(step.slots, np.array([0]))
    assert np.array_equal(after.slots, step.slots) and after.over[0]
    assert after.reward[0] == 0 and np.array_equal(env.simulator_calls, calls)


def test_what_cannot_be_planned_is_refused(stressed: tuple[Scenario, int]):
    env = of_one(fulfilled(*stressed, steps=1))
    planner: ForecastPlanner = env.planner()
    with pytest.raises(ValueError, match="grid 1 does not exist: there are 1"):
        planner.begin(np.array([1]))
    slots = planner.begin(np.array([0]))
    with pytest.raises(ValueError, match="from 0 to 486, but is 487"):
        planner.step(slots, np.array([487]))
    with pytest.raises(ValueError, match=r"shape \(2,\); expected \(1,\)"):
        planner.step(slots, np.array([0, 0]))
    last = planner.step(slots, np.array([0])).slots
    planner.begin(np.array([0]))
    with pytest.raises(ValueError, match="slot 1 is not of the present plan, which has 1"):
        planner.observations(last)
    env.step(np.array([0]))
    with pytest.raises(gym.error.ResetNeeded, match="environment 0: no episode is running"):
        planner.begin(np.array([0]))
    env.close()
    with pytest.raises(gym.error.ClosedEnvironmentError):
        env.planner()
