"""Attacks left to chance in the simulator as a model: what an operator knows, and no more."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from agents.muzero.model import LearnedModel
from agents.muzero.networks.mlp import MLPNetwork
from agents.muzero.search import GumbelSearch, PUCTSearch
from agents.power_grid.simulator_model import (
    AttackedSimulatorModel,
    SimulatorPlanning,
    attack_odds,
)
from envs.fast.grids import GridSave
from envs.fast.vector import PowerGridVectorEnv
from tests.agents.test_planners import other_future
from tests.muzero.test_simulator_model import make_agent

NOTHING = np.zeros(1, np.int64)


@pytest.fixture(scope="module")
def env() -> PowerGridVectorEnv:
    env = PowerGridVectorEnv(
        1, autoreset="disabled", opponent="rl4pnc", split="val", reward="margin"
    )
    env.reset(seed=3, options={"attack_seed": 3})
    return env


@pytest.fixture(scope="module")
def learned(env: PowerGridVectorEnv) -> LearnedModel:
    torch.manual_seed(0)
    shape = env.single_observation_space.shape
    assert shape is not None
    network = MLPNetwork(observation_shape=shape, num_actions=487, hidden_size=16, state_size=16)
    return LearnedModel(network, discount=0.9)


@pytest.fixture(scope="module")
def states(env: PowerGridVectorEnv) -> dict[str, GridSave]:
    """Before an attack, in it, and after it, when its line is still open."""
    env.reset(seed=3, options={"attack_seed": 3})
    found = {"before": env.save_state(0)}
    while not (env.state.attack_steps > 0).any():
        found["just before"] = env.save_state(0)
        assert not env.step(NOTHING)[2].any()
    found["in it"] = env.save_state(0)
    for _ in range(50):
        assert not env.step(NOTHING)[2].any()
    assert not (env.state.attack_steps > 0).any() and not env.state.line_status.all()
    return found | {"after": env.save_state(0)}


def planned(
    env: PowerGridVectorEnv, learned: LearnedModel, state: GridSave, **options: Any
) -> tuple[AttackedSimulatorModel, torch.Tensor]:
    """Return the model and its root at ``state``."""
    env.load_state(0, state)
    options = {"guidance": "none", "chance": "attacks"} | options
    planning = SimulatorPlanning(learned=learned, **options)
    planning.bind(env)
    model = planning.at(np.array([0]))
    assert isinstance(model, AttackedSimulatorModel)
    observations = np.zeros((1, *learned.network.observation_shape), np.float32)
    return model, model.root(observations).states


def test_odds_are_those_of_the_opponents_statistics(env: PowerGridVectorEnv) -> None:
    odds = attack_odds(env)
    assert odds.names == ("line 3-4", "line 11-12", "line 3-6", "line 3-8", "line 6-8")
    assert odds.probability == pytest.approx(1 / (144 - 48)) and odds.duration == 48
    lines = [env.layout.line_names[line] for line in odds.lines]
    assert lines == ["3_4_6", "11_12_13", "3_6_15", "3_8_16", "6_8_19"]
    assert attack_odds(env, 0.3).probability == 0.3


def test_outcomes_are_nothing_or_one_of_the_closed_lines_lost(
    env: PowerGridVectorEnv, learned: LearnedModel, states: dict[str, GridSave]
) -> None:
    odds = attack_odds(env)
    model, root = planned(env, learned, states["before"], attack_probability=0.3)
    assert model.num_outcomes == 6 and model.outcome_names is not None
    assert model.outcome_names[0] == "nothing happens"
    assert model.outcome_names[5] == "line 6-8 is lost"
    after = model.afterstate(root, NOTHING)
    np.testing.assert_allclose(after.probabilities[0], [0.7] + [0.06] * 5, rtol=1e-6)
    assert not after.reward.any() and (after.discount == 1).all()
    planner = model._planner
    for outcome in range(6):
        output = model.outcome(after.states, np.array([outcome]))
        state = planner.state(output.states.numpy())
        lost = [] if outcome == 0 else [int(odds.lines[outcome - 1])]
        assert np.flatnonzero(state.attack_steps[0] == 47).tolist() == lost
        assert np.flatnonzero(~state.line_status[0]).tolist() == lost
        assert output.discount[0] == np.float32(0.9) and np.isfinite(output.reward).all()
        # while it is held out, nothing else is lost
        certain = model.afterstate(output.states, NOTHING).probabilities[0]
        assert (certain[0] == 1.0) == (outcome > 0)
    # another action of the same state is another afterstate
    other = model.afterstate(root, np.flatnonzero(planner.legal(root.numpy())[0])[[50]])
    assert other.states[0] != after.states[0]
    np.testing.assert_array_equal(other.probabilities, after.probabilities)


def test_no_attack_follows_on_one_under_way_nor_on_open_lines(
    env: PowerGridVectorEnv, learned: LearnedModel, states: dict[str, GridSave]
) -> None:
    model, root = planned(env, learned, states["in it"])
    assert model.afterstate(root, NOTHING).probabilities[0].tolist() == [1, 0, 0, 0, 0, 0]
    model, root = planned(env, learned, states["after"], attack_probability=0.4)
    found = model.afterstate(root, NOTHING).probabilities[0]
    closed = env.state.line_status[0, attack_odds(env).lines]
    assert closed.sum() == 4
    np.testing.assert_allclose(found[1:], np.where(closed, 0.1, 0.0), rtol=1e-6)


@pytest.mark.parametrize("kind", [PUCTSearch, partial(GumbelSearch, max_considered=8)])
@pytest.mark.parametrize("backup", ["expectation", "worst"])
def test_searches_with_chance_know_nothing_of_the_future(
    env: PowerGridVectorEnv,
    learned: LearnedModel,
    states: dict[str, GridSave],
    kind: Any,
    backup: str,
) -> None:
    """In another future other lines are lost at other times; the searches are the same."""
    search = kind(num_simulations=40, chance_backup=backup)
    mask = np.ones((1, 487), np.int8)
    observations = np.zeros((1, *learned.network.observation_shape), np.float32)
    seen = set()
    for name in ("just before", "in it", "after"):
        results = []
        for future in (states[name], other_future(states[name])):
            model, _ = planned(env, learned, future, attack_probability=0.5)
            mask[0] = env.catalogue.legal(env.state)[0]
            found = search.run(model, observations, mask, np.random.default_rng(0), explore=False)
            nodes = search.last_tree().nodes[0]
            results.append((found.visit_counts, found.value, nodes[nodes["visits"] > 0].copy()))
            seen |= set(nodes["action"][1:41].tolist()) if name == "just before" else set()
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(seen) > 2  # losses were among what was looked at


def test_an_agent_plays_under_attack_with_chance_nodes() -> None:
    """A few decisions on rl4pnc's opponent; the worst case counts in what it thinks of actions."""
    env = PowerGridVectorEnv(
        2, autoreset="disabled", opponent="rl4pnc", split="val", action_mask="distinct"
    )
    chosen = {}
    for backup in ("expectation", "worst"):
        make = partial(
            SimulatorPlanning, guidance="network", chance="attacks", attack_probability=0.2
        )
        agent = make_agent(env, make, num_simulations=24, chance_backup=backup)
        agent.bind(env)
        observations, infos = env.reset(seed=3, options={"attack_seed": [3, 4]})
        values = []
        for _ in range(3):
            actions = agent.act(observations, infos)
            assert (np.take_along_axis(infos["action_mask"], actions[:, None], axis=1) == 1).all()
            values.append([tree.value for tree in agent.explain().values()])
            observations, *_, infos = env.step(actions)
        chosen[backup] = values
    assert chosen["expectation"] != chosen["worst"]


def test_what_cannot_be_left_to_chance_is_refused(
    env: PowerGridVectorEnv, learned: LearnedModel
) -> None:
    make: Any = partial(SimulatorPlanning, learned=learned)
    with pytest.raises(ValueError, match="unknown chance 'attack'; did you mean 'attacks'"):
        make(chance="attack")
    for wrong in (1.5, -0.1, "often", True):
        with pytest.raises(ValueError, match=r"attack_probability must be from 0 to 1, or null"):
            make(chance="attacks", attack_probability=wrong)
    calm = PowerGridVectorEnv(1)
    with pytest.raises(ValueError, match=r"chance=attacks needs somebody who attacks: set opp"):
        make(chance="attacks").bind(calm)
    areas: Any = {"kind": "areas", "lines": [["3_4_6"], ["6_8_19"]], "duration": 60, "period": 0}
    with pytest.raises(ValueError, match=r"one line at a time, not for kind 'areas'"):
        make(chance="attacks").bind(PowerGridVectorEnv(1, opponent=areas | {"budget": 100}))
