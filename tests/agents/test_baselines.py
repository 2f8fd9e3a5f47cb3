"""What the rule and look-ahead baselines choose, on the real grid."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator, EpisodeSpec
from agents.power_grid.baselines import ExpertAgent, Greedy2Agent, GreedyAgent, RevertAgent
from agents.power_grid.baselines.reference_topology import departures, rank
from envs.fast.vector import PowerGridVectorEnv
from envs.scenarios import make_source

# Its wind changes by 60 MW between steps 4031 and 4032, in a calm night.
WINDY = "val-l20.33.02.02-w11.11.33.20-s33.02.11.11"
SCENARIOS = make_source("recombined").names("val")
GATED = EnvironmentFactory("PowerGrid-v0", {"split": "val", "idle_gate": 0.95}, vector=True)
BARE = EnvironmentFactory("PowerGrid-v0", {"split": "val"}, vector=True)
KINDS = (GreedyAgent, Greedy2Agent, ExpertAgent, RevertAgent)


def make_agent(kind: Any, env: Any, **options: Any) -> Any:
    agent = kind(
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        **options,
    )
    agent.bind(env)
    return agent


@pytest.fixture
def stressed() -> Iterator[tuple[PowerGridVectorEnv, Any, dict[str, Any]]]:
    """Four grids at their first decision."""
    env = GATED(4, autoreset="disabled")
    assert isinstance(env, PowerGridVectorEnv)
    observations, infos = env.reset(seed=0, options={"scenario": list(SCENARIOS[:4])})
    assert (env.state.rho.max(axis=1) >= 0.95).all()
    yield env, observations, infos
    env.close()


def outlook(env: PowerGridVectorEnv, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Legal, distinct actions of one grid; their forecast loadings; how far they lead."""
    ids = np.flatnonzero(env.catalogue.distinct(env.state)[index])
    look = env.simulate([ids if i == index else None for i in range(env.num_envs)])[index]
    assert look is not None
    return ids, look.rho_max, departures(env.catalogue, env.state, index, ids)


def play(agent_kind: Any, scenario: str, **options: Any) -> Any:
    env = GATED(1)
    spaces = {
        "observation_space": env.single_observation_space,
        "action_space": env.single_action_space,
    }
    env.close()
    evaluator = EpisodeEvaluator(GATED, (EpisodeSpec(seed=0, scenario=scenario),))
    (episode,) = evaluator.evaluate(agent_kind(**spaces, **options), name="agent").episodes
    evaluator.close()
    return episode


def test_outcomes_are_ranked_by_safety_then_nearness_then_loading() -> None:
    rho = np.array([0.95, 0.80, 0.85, np.inf, 0.85, 0.92], np.float32)
    departed = np.array([0, 4, 2, 0, 2, 1])
    assert rank(rho, departed, 0.9).tolist() == [2, 4, 1, 5, 0, 3]
    assert rank(rho, departed, None).tolist() == [1, 2, 4, 5, 0, 3]
    assert rank(rho, departed, 0.5).tolist() == [1, 2, 4, 5, 0, 3]


def test_departures_count_element_ends_away_from_the_reference() -> None:
    env = BARE(1, autoreset="disabled")
    assert isinstance(env, PowerGridVectorEnv)
    env.reset(seed=0, options={"scenario": [SCENARIOS[0]]})
    catalogue = env.catalogue
    every = np.arange(catalogue.num_actions)
    departed = departures(catalogue, env.state, 0, every)
    assert departed[0] == 0
    assert departed[catalogue.switch_line_action].tolist() == [2] * 20  # both ends
    moved = catalogue.switch_busbar.sum(axis=1)
    switches = moved > 0
    assert (departed[switches] == moved[switches]).all()
    env.step(np.array([catalogue.switch_line_action[3]]))
    back = np.array([0, catalogue.switch_line_action[3]])
    assert departures(catalogue, env.state, 0, back).tolist() == [2, 0]
    env.close()


def test_greedy_takes_the_nearest_of_the_safe_and_else_the_least_loading(stressed: Any) -> None:
    env, observations, infos = stressed
    active = np.array([True, True, True, False])
    seen = {"safe": 0, "none": 0}
    for safe in (0.9, 0.7, None):
        actions = make_agent(GreedyAgent, env, safe=safe).act(observations, infos, active)
        assert actions[3] == 0
        for index in range(3):
            ids, rho, departed = outlook(env, index)
            place = int(np.flatnonzero(ids == actions[index])[0])
            holds = np.zeros(len(ids), bool) if safe is None else rho < safe
            if holds.any():
                seen["safe"] += 1
                assert holds[place]
                assert departed[place] == departed[holds].min()
                assert rho[place] == rho[holds & (departed == departed[place])].min()
            else:
                seen["none"] += 1
                assert rho[place] == rho.min()
    assert min(seen.values()) >= 2


def test_staying_near_the_reference_stands_a_sudden_change_of_wind() -> None:
    far = play(GreedyAgent, WINDY, safe=None)
    assert not far.completed
    assert far.steps == 4032
    near = play(GreedyAgent, WINDY)
    assert near.completed
    assert near.steps == 8064
    assert near.decisions < 15


def test_greedy2_finds_the_best_pair(stressed: Any) -> None:
    env, observations, infos = stressed
    agent = make_agent(Greedy2Agent, env, safe=None, width=3)
    active = np.array([True, True, False, False])
    actions = agent.act(observations, infos, active)
    assert actions[2:].tolist() == [0, 0]
    planner = env.planner()
    for index in range(2):
        ids, rho, _ = outlook(env, index)
        reached = {}
        for first in ids[np.argsort(rho, kind="stable")[:3]]:
            slots = planner.begin(np.array([index]))
            after = planner.step(slots, np.array([first]))
            seconds = np.flatnonzero(env.catalogue.distinct(planner.state(after.slots))[0])
            last = planner.step(np.repeat(after.slots, len(seconds)), seconds)
            ends = planner.state(last.slots).rho.max(axis=1)
            reached[int(first)] = float(ends[~last.blackout].min())
        assert reached[int(actions[index])] == pytest.approx(min(reached.values()), abs=1e-6)
        assert min(reached.values()) <= rho.min() + 0.02  # two actions do no worse than one


def test_greedy2_takes_a_single_action_where_that_is_safe(stressed: Any) -> None:
    env, observations, infos = stressed
    one = make_agent(GreedyAgent, env)
    two = make_agent(Greedy2Agent, env)
    first = one.act(observations, infos)
    calls = env.simulator_calls.copy()
    second = two.act(observations, infos)
    for index in range(4):
        _, rho, _ = outlook(env, index)
        if rho.min() < 0.9:
            assert second[index] == first[index]
    assert (env.simulator_calls > calls).all()


def test_greedy2_refuses_single_environments() -> None:
    factory = EnvironmentFactory("PowerGrid-v0", {"split": "val"})
    env = factory(1)
    with pytest.raises(ValueError, match="env.simulator=lightsim2grid, or take agent=greedy"):
        make_agent(Greedy2Agent, env)
    env.close()


@pytest.mark.parametrize("vector", [False, True])
def test_revert_undoes_a_split_and_an_outage_while_it_is_calm(vector: bool) -> None:
    factory = EnvironmentFactory(
        "PowerGrid-v0", {"split": "val", "action_mask": "distinct"}, vector=vector
    )
    env = factory(2, autoreset="disabled")
    agent = make_agent(RevertAgent, env)
    catalogue = agent.catalogue
    observations, infos = env.reset(seed=0, options={"scenario": list(SCENARIOS[:2])})
    assert agent.act(observations, infos).tolist() == [0, 0]
    splits = np.flatnonzero(catalogue.switch_busbar.sum(axis=1) == 3)
    (look, _) = env.simulate([splits, None])
    assert look is not None
    split = splits[look.rho_max.argmin()]
    observations, *_, infos = env.step(np.array([split, catalogue.switch_line_action[4]]))
    assert (agent.state.topo_vect[0] == 2).sum() == 3
    assert not agent.state.line_status[1, 4]
    acted = np.zeros(2, int)
    for _ in range(12):
        actions = agent.act(observations, infos)
        acted += actions != 0
        observations, *_, infos = env.step(actions)
        assert infos["illegal"].tolist() == [False, False]
    assert (agent.state.topo_vect == 1).all()
    assert acted.min() >= 1
    assert acted[1] == 1
    env.close()


def test_revert_leaves_what_the_forecast_calls_unsafe() -> None:
    env = BARE(1, autoreset="disabled")
    assert isinstance(env, PowerGridVectorEnv)
    env.reset(seed=0, options={"scenario": [SCENARIOS[0]], "first_step": 220})
    splits = np.flatnonzero(env.catalogue.switch_busbar.sum(axis=1) == 3)
    (look,) = env.simulate([splits])
    assert look is not None
    env.step(splits[[look.rho_max.argmin()]])  # better than the reference, for now
    for _ in range(4):  # the cooldown
        observations, *_, infos = env.step(np.array([0]))
    ids, rho, departed = outlook(env, 0)
    back = departed < departed[0]
    present, after = float(env.state.rho.max()), float(rho[back].min())
    assert present < after < 0.9
    assert make_agent(RevertAgent, env).act(observations, infos)[0] in ids[back]
    wary = make_agent(RevertAgent, env, threshold=(present + after) / 2)
    assert wary.act(observations, infos)[0] == 0
    env.close()


def test_expert_acts_near_the_overload_first_and_looks_at_less_than_greedy(stressed: Any) -> None:
    env, observations, infos = stressed
    make_agent(GreedyAgent, env).act(observations, infos)
    everything = env.simulator_calls.copy()
    env.simulator_calls[:] = 0
    actions = make_agent(ExpertAgent, env).act(observations, infos)
    looked = env.simulator_calls.copy()
    assert (looked <= everything).all()
    assert (looked < everything).any()
    state, layout = env.state, env.layout
    for index in range(4):
        ids, rho, _ = outlook(env, index)
        chosen = rho[ids == actions[index]][0]
        if looked[index] < everything[index]:
            assert chosen < 0.9
        else:
            assert chosen == rho.min()
        line = int(state.rho[index].argmax())
        ends = [layout.line_or_substation[line], layout.line_ex_substation[line]]
        moved = (env.catalogue.set_busbar > 0) | env.catalogue.switch_busbar
        at_ends = moved[ids][:, np.isin(layout.element_substation, ends)].any(axis=1)
        if (rho[at_ends] < 0.9).any():
            assert at_ends[ids == actions[index]][0]


def test_expert_outlives_doing_nothing() -> None:
    episode = play(ExpertAgent, WINDY)
    assert episode.steps > 3000
    assert episode.decisions < 60


@pytest.mark.parametrize("kind", KINDS)
def test_calm_or_inactive_grids_are_left_alone_and_agents_pickle(kind: Any) -> None:
    env = BARE(2, autoreset="disabled")
    observations, infos = env.reset(seed=0, options={"scenario": list(SCENARIOS[:2])})
    agent = make_agent(kind, env)
    assert agent.act(observations, infos).tolist() == [0, 0]
    copy = pickle.loads(pickle.dumps(agent))
    with pytest.raises(ValueError, match=r"was not bound: call bind\(env\)"):
        copy.act(observations, infos)
    copy.bind(env)
    nobody = np.zeros(2, bool)
    assert copy.act(observations, infos, nobody).tolist() == [0, 0]
    assert env.simulator_calls.tolist() == [0, 0]
    env.close()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (GreedyAgent, {"threshold": -1.0}, "threshold is -1.0; expected a loading of 0 or more"),
        (GreedyAgent, {"safe": "low"}, "safe is 'low'; expected a loading"),
        (Greedy2Agent, {"width": 0}, "width must be an integer of at least 1, but is 0"),
        (RevertAgent, {"threshold": float("nan")}, "threshold is nan"),
        (ExpertAgent, {"safe": None}, "safe is None; expected a loading"),
    ],
)
def test_wrong_options_are_named(kind: Any, options: dict[str, Any], message: str) -> None:
    env = BARE(1)
    with pytest.raises(ValueError, match=message):
        make_agent(kind, env, **options)
    env.close()
