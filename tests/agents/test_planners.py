"""Agents that plan in the simulator under attack: what they see, choose, count and refuse."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml

from agents.environments import EnvironmentFactory
from agents.power_grid.baselines import Greedy2Agent, GreedyAgent
from agents.power_grid.baselines.reference_topology import departures
from agents.power_grid.beam import BeamSearch
from agents.power_grid.n1 import N1Agent
from agents.power_grid.planner import PlannerAgent
from agents.power_grid.screening import Screening
from benchmarks.planner_curve import DEFAULT
from envs.decision_gate import lines_at_risk
from envs.fast.grids import GridSave
from envs.fast.rollouts import ForecastRollouts, Rollouts
from envs.fast.vector import PowerGridVectorEnv
from envs.scenarios import Scenario
from tests.conftest import ROOT

ATTACKED = {"opponent": "rl4pnc", "split": "val", "idle_gate": 0.95, "ask_every": 6}
KINDS = (N1Agent, PlannerAgent, GreedyAgent, Greedy2Agent)


def attacked(num_envs: int = 1, **options: Any) -> PowerGridVectorEnv:
    return PowerGridVectorEnv(
        num_envs, autoreset="disabled", ask_at_attacks=True, **ATTACKED | options
    )


def make(kind: Any, env: Any, **options: Any) -> Any:
    agent = kind(
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        **options,
    )
    agent.bind(env)
    return agent


@pytest.fixture(scope="module")
def states() -> list[GridSave]:
    """Calm and stressed states of an attacked month, played by the planner."""
    env = attacked()
    agent = make(PlannerAgent, env, depth=2, width=5)
    observations, infos = env.reset(seed=3, options={"attack_seed": 3})
    found: list[GridSave] = []
    for _ in range(150):
        found.append(env.save_state(0))
        observations, _, terminated, _, infos = env.step(agent.act(observations, infos))
        assert not terminated.any()
    return found


@pytest.fixture(scope="module")
def env() -> PowerGridVectorEnv:
    env = attacked()
    env.reset(seed=3, options={"attack_seed": 3})
    return env


def stressed(states: list[GridSave], env: PowerGridVectorEnv, least: float = 1.0) -> list[GridSave]:
    found = []
    for state in states:
        env.load_state(0, state)
        if env.state.rho.max() >= least:
            found.append(state)
    assert found
    return found


def other_future(state: GridSave) -> GridSave:
    """The same grid, but all that comes later is another: rows, forecasts, attacks."""
    snapshot = state.episode.grid
    scenario, attacker = snapshot.scenario, snapshot.attacker
    assert scenario is not None and attacker is not None
    row = int(snapshot.arrays[0])

    def changed(name: str, first: int) -> np.ndarray:
        values = np.array(getattr(scenario, name))
        values[first:] *= np.float32(0.7)
        return values

    names = ("load_p", "load_q", "prod_p")
    later: Scenario = replace(
        scenario,
        **{name: changed(name, row + 1) for name in names},
        **{f"{name}_forecast": changed(f"{name}_forecast", row + 1) for name in names},
    )
    target = attacker["_target"] | {"_rng": np.random.RandomState(99).get_state(legacy=False)}
    grid = snapshot._replace(scenario=later, attacker=attacker | {"_target": target, "_next": None})
    return state._replace(episode=state.episode._replace(grid=grid))


@pytest.mark.parametrize("kind", KINDS)
def test_decisions_know_nothing_of_the_future(
    kind: Any, states: list[GridSave], env: PowerGridVectorEnv
) -> None:
    looked_at = 0
    for state in [*states[::25], *stressed(states, env)[:4]]:
        chosen, after = [], []
        for future in (state, other_future(state)):
            env.load_state(0, future)
            chosen.append(make(kind, env).act(None, {}).tolist())
            env.step(chosen[-1])
            after.append(env.state.load_p.copy())
        assert chosen[0] == chosen[1]
        assert not np.allclose(*after)  # it is another future
        looked_at += chosen[0][0] != 0
    assert looked_at >= 2


def test_copies_of_grids_know_nothing_of_the_future(
    states: list[GridSave], env: PowerGridVectorEnv
) -> None:
    for state in states[::50]:
        loadings = []
        for future in (state, other_future(state)):
            env.load_state(0, future)
            planner = env.planner()
            slots = planner.begin(np.zeros(1, dtype=int))
            for actions in ([0], [200], [0], [0]):
                slots = planner.step(slots, np.array(actions)).slots
            loadings.append(planner.state(slots).rho)
        np.testing.assert_array_equal(*loadings)


def begun(env: PowerGridVectorEnv, state: GridSave) -> tuple[ForecastRollouts, Rollouts]:
    env.load_state(0, state)
    rollouts = env.rollouts(unusual=False)
    return rollouts, rollouts.begin(0)


def beam(env: PowerGridVectorEnv, **options: Any) -> BeamSearch:
    settings: dict[str, Any] = {"depth": 2, "width": 10_000, "solved": 100_000, "expanded": 0}
    settings |= {"error": 0.01, "safe": 0.0, "endures": 2, "trips_at": 2.0}
    return BeamSearch(env.layout, **settings | options)


def test_a_beam_of_any_width_finds_the_best_pair(
    states: list[GridSave], env: PowerGridVectorEnv
) -> None:
    rollouts, root = begun(env, stressed(states, env)[-1])
    search = beam(env)
    best = search.search(rollouts, root)
    firsts = rollouts.choices(root)
    rng = np.random.default_rng(0)
    for first in rng.choice(firsts.actions, 10).tolist():
        after = rollouts.step(root, firsts.of(firsts.actions == first))
        if after.over[0]:
            continue
        for second in rng.choice(rollouts.choices(after).actions, 5).tolist():
            plan = search.follow(rollouts, root, (first, second))
            assert plan.score >= best.score
    found = search.follow(rollouts, root, best.actions)
    assert found.score == pytest.approx(best.score)
    assert found.actions == best.actions
    narrow = beam(env, width=20, solved=100).search(rollouts, root)
    assert best.score <= narrow.score


def test_expanding_the_best_plans_finds_answers_that_estimates_miss(
    states: list[GridSave], env: PowerGridVectorEnv
) -> None:
    answered = {0: 0, 2: 0}
    for state in states[::3]:
        rollouts, root = begun(env, state)
        nothing = rollouts.choices(root).of(np.array([0]))
        for line in lines_at_risk(env.layout, env.opponent):
            lost = rollouts.step(root, nothing, np.array([line]))
            if lost.over[0] or lost.rho.max() < 1:
                continue
            for expanded in answered:
                size = {"depth": 3, "width": 6, "solved": 24, "expanded": expanded}
                plan = beam(env, **size, safe=1.0).search(rollouts, lost)
                answered[expanded] += plan.risk < 0.02
    assert answered[2] > answered[0]


def test_the_risk_of_a_plan_is_that_lines_trip(
    states: list[GridSave], env: PowerGridVectorEnv
) -> None:
    rollouts, root = begun(env, stressed(states, env, 1.05)[0])
    line = int(root.rho[0].argmax())
    idle = (0, 0, 0)
    loaded = rollouts.loadings(root.topology)[0, line]
    assert loaded > 1.03  # and the forecast is held
    calm = root._replace(overload_steps=np.zeros_like(root.overload_steps))
    search = beam(env)
    assert search.follow(rollouts, calm, idle[:2]).risk < 0.01
    assert search.follow(rollouts, calm, idle).risk > 0.99
    # a forecast that says nothing: a line is over its limit every second time
    lightest = np.where(root.rho[0] > 0, root.rho[0], np.inf).argmin()
    counters = np.where(np.arange(len(root.rho[0])) == lightest, 2, 0)[None]
    even = root._replace(overload_steps=counters)
    blurred = beam(env, error=1000.0, trips_at=np.inf).follow(rollouts, even, (0,))
    assert blurred.risk == pytest.approx(0.5, abs=0.01)


def test_estimates_are_exact_for_single_changes_and_near_for_pairs(
    states: list[GridSave], env: PowerGridVectorEnv
) -> None:
    rollouts, root = begun(env, states[0])
    steps = rollouts.choices(root)
    rho = rollouts.loadings(steps.topology)

    screening = Screening(env.layout)
    screening.learn(root, steps.topology, rho)
    known = np.isfinite(rho).all(axis=1)
    found = screening.estimate(root._replace(rho=rho[:1]), steps)
    np.testing.assert_allclose(found[known], rho[known], atol=1e-4)
    assert np.isnan(found[~known]).any(axis=1).all()

    after = rollouts.step(root, steps.of(np.flatnonzero(known)[::20]))
    pairs = rollouts.choices(after)
    found = screening.estimate(after, pairs)
    truth = rollouts.loadings(pairs.topology)
    both = np.isfinite(found).all(axis=1) & np.isfinite(truth).all(axis=1)
    assert both.mean() > 0.5
    worst, expected = found[both].max(axis=1), truth[both].max(axis=1)
    assert np.median(np.abs(worst - expected)) < 0.05
    assert np.corrcoef(worst, expected)[0, 1] > 0.8


def test_plans_count_lines_that_trip_at_once(
    states: list[GridSave], env: PowerGridVectorEnv
) -> None:
    tripped = 0
    for state in states:
        rollouts, root = begun(env, state)
        assert rollouts.trips_at == pytest.approx(2.0)  # of grid2op's parameters
        steps = rollouts.choices(root)
        after = rollouts.step(root, steps)
        loaded = rollouts.loadings(steps.topology).max(axis=1)
        for place in np.flatnonzero((loaded > 2.1) & ~after.over)[:5]:
            plan = beam(env).follow(rollouts, root, (int(steps.actions[place]),))
            assert after.tripped[place] and plan.risk > 0.9
            tripped += 1
    assert tripped


def test_the_planner_outlives_greedy_under_attack() -> None:
    end = 0
    for kind in (GreedyAgent, PlannerAgent):
        env = attacked(max_steps=900)
        agent = make(kind, env)
        observations, infos = env.reset(seed=11, options={"attack_seed": 11})
        while not env.over[0] and (kind is GreedyAgent or infos["step"][0] <= end):
            observations, *_, infos = env.step(agent.act(observations, infos))
        assert infos["step"][0] > end
        assert env.simulator_calls[0] > 100  # what it costs is counted
        end = int(infos["step"][0])


def test_n1_chooses_alike_in_both_simulators(states: list[GridSave]) -> None:
    chosen = []
    for vector in (True, False):
        factory = EnvironmentFactory("envs:PowerGrid-v0", ATTACKED | {"idle_gate": 0.9}, (), vector)
        env = factory(1, autoreset="disabled")
        agent = make(N1Agent, env)
        observations, infos = env.reset(seed=5)
        actions = []
        for _ in range(12):
            actions.append(int(agent.act(observations, infos)[0]))
            observations, *_, infos = env.step(np.array(actions[-1:]))
        chosen.append(actions)
        env.close()
    assert chosen[0] == chosen[1]
    assert any(chosen[0])


def test_n1_chooses_as_if_all_losses_were_looked_at(
    states: list[GridSave], env: PowerGridVectorEnv
) -> None:
    agent = make(N1Agent, env, gain=0.02)
    lines = lines_at_risk(env.layout, env.opponent)
    chosen = []
    for state in [*states[::15], *stressed(states, env)[:3]]:
        env.load_state(0, state)
        ids = np.flatnonzero(env.catalogue.connected(env.state)[0])
        (ahead,) = env.simulate([ids], lines)
        assert ahead is not None
        rho, departed = ahead.rho_max[:, 0], departures(env.catalogue, env.state, 0, ids)
        for under_stress in (False, True):
            some = agent._losses(0, ids, rho < agent._safe, under_stress)
            best, expected = (
                agent._choose(rho, rho, losses, departed, stressed=under_stress)
                for losses in (some, agent._excess(ahead.rho_max))
            )
            assert best == expected
            chosen.append(best)
    assert len(set(chosen)) > 3


def test_n1_prevents_what_greedy_waits_for() -> None:
    env = attacked()
    agent = make(N1Agent, env)
    observations, infos = env.reset(seed=3, options={"attack_seed": 3})
    for _ in range(60):
        actions = agent.act(observations, infos)
        if actions[0] and env.state.rho.max() < 0.95 and env.state.line_status.all():
            lines = lines_at_risk(env.layout, env.opponent)
            (ahead,) = env.simulate([[0, int(actions[0])]], lines)
            assert ahead is not None
            excess = np.clip(ahead.rho_max[:, 1:] - 0.95, 0, 2).sum(axis=1)
            assert excess[1] < excess[0] - 0.05
            assert ahead.rho_max[1, 0] < 0.9
            return
        observations, *_, infos = env.step(actions)
    raise AssertionError("nothing was prevented")


@pytest.mark.parametrize("kind", (N1Agent, PlannerAgent))
def test_without_an_opponent_all_losses_that_can_be_stood_count(kind: Any) -> None:
    env = PowerGridVectorEnv(2, autoreset="disabled", ask_every=6, max_steps=30)
    agent = make(kind, env)
    observations, infos = env.reset(seed=0)
    while not env.over.all():
        active = ~env.over
        observations, *_, infos = env.step(agent.act(observations, infos, active))
    assert (env.simulator_calls > len(lines_at_risk(env.layout, None))).all()


def test_the_planner_begins_anew_in_another_episode_that_is_asked_later() -> None:
    """A plan and answers of one month are no help in another, whatever its step."""
    env = attacked()
    agent = make(PlannerAgent, env, depth=2, width=5)
    observations, infos = env.reset(seed=3, options={"attack_seed": 3})
    for _ in range(30):
        observations, *_, infos = env.step(agent.act(observations, infos))
    before = agent._planner._memories[0]
    observations, *_, infos = env.step(agent.act(observations, infos))
    assert agent._planner._memories[0] is before  # the same episode
    later = int(env.state.step[0]) + 500
    observations, infos = env.reset(seed=4, options={"first_step": later})
    assert env.state.step[0] > before.step
    chosen = agent.act(observations, infos)
    assert agent._planner._memories[0] is not before
    assert chosen.tolist() == make(PlannerAgent, env, depth=2, width=5).act(None, {}).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_month_is_played_the_same_alone_and_beside_others(kind: Any) -> None:
    options = {"depth": 2, "width": 5, "answer_depth": 1} if kind is PlannerAgent else {}

    def played(seeds: list[int]) -> list[list[tuple[int, int]]]:
        """Return step and action of the first decisions of each month."""
        env = attacked(len(seeds))
        agent = make(kind, env, **options)
        observations, infos = env.reset(seed=seeds)
        found: list[list[tuple[int, int]]] = [[] for _ in seeds]
        for _ in range(60):
            actions, steps = agent.act(observations, infos, ~env.over), env.state.step
            for grid in np.flatnonzero(~env.over):
                found[grid].append((int(steps[grid]), int(actions[grid])))
            observations, *_, infos = env.step(actions)
        return found

    together = played([3, 4, 5])
    assert all(any(action for _, action in month) for month in together)
    assert together == [played([seed])[0] for seed in (3, 4, 5)]


def test_copies_of_the_planner_go_on_alike(states: list[GridSave], env: PowerGridVectorEnv) -> None:
    env.load_state(0, stressed(states, env)[0])
    agent = make(PlannerAgent, env)
    agent.act(None, {})
    copy = pickle.loads(pickle.dumps(agent))
    copy.bind(env)
    for state in states[100:110]:
        env.load_state(0, state)
        assert agent.act(None, {}).tolist() == copy.act(None, {}).tolist()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (N1Agent, {"margin": -1.0}, "margin is -1.0; expected a loading of 0 or more"),
        (PlannerAgent, {"depth": 0}, "depth must be an integer of at least 1, but is 0"),
        (PlannerAgent, {"answer_width": 1.5}, "answer_width must be an integer of at least 1"),
        (PlannerAgent, {"error": 0.0}, "error is 0; expected more"),
        (PlannerAgent, {"safe": "low"}, "safe is 'low'; expected a loading"),
    ],
)
def test_wrong_options_are_named(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(kind, attacked(), **options)


def test_the_planner_needs_the_fast_simulator() -> None:
    env = EnvironmentFactory("envs:PowerGrid-v0", {})(1)
    with pytest.raises(ValueError, match=r"set env.simulator=lightsim2grid, or take agent=n1"):
        make(PlannerAgent, env)
    env.close()


def test_the_curve_of_the_planner_passes_its_defaults() -> None:
    defaults = yaml.safe_load((ROOT / "conf" / "agent" / "planner.yaml").read_text())
    assert DEFAULT._asdict() == {name: defaults[name] for name in DEFAULT._fields}
