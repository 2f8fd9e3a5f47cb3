"""Copies of MuZero's parts go on like the originals, and leave them alone."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from agents.environments import EnvironmentFactory
from agents.muzero.decision import Field
from agents.muzero.learner import Learner
from agents.muzero.model import LearnedModel
from agents.muzero.networks import MLPNetwork
from agents.muzero.pools import LocalPool, Round
from agents.muzero.search import GumbelSearch, PUCTSearch
from agents.muzero.self_play import SelfPlayGroup
from agents.muzero.training_metrics import TrainingMetrics
from agents.power_grid.lookahead_teacher import LookaheadTeacher
from agents.power_grid.simulator_model import SimulatorPlanning
from tests.copies import WAYS, by_shared_memory, same
from tests.muzero.search_reference import TableModel
from tests.muzero.test_learner import network, random_batch
from tests.muzero.test_replay import ACTIONS, make, put
from tests.muzero.test_workers import make_group

pytestmark = pytest.mark.filterwarnings("error")
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
@pytest.mark.parametrize("kind", [GumbelSearch, PUCTSearch])
def test_searches_and_their_trees(way: Callable[[Any], Any], kind: Any):
    model = TableModel(num_actions=18, seed=3)
    search = kind(num_simulations=9)
    mask = np.ones((4, 18), np.int8)
    search.run(model, np.arange(4), mask, np.random.default_rng(2))
    twin = way(search)
    tree = by_shared_memory(search.last_tree())
    search.run(model, np.arange(4, 8), mask, np.random.default_rng(2))
    assert same(twin.last_tree().nodes, tree.nodes)
    assert not same(search.last_tree().nodes, tree.nodes)
    found = twin.run(model, np.arange(9, 13), mask, np.random.default_rng(3))
    assert same(found, search.run(model, np.arange(9, 13), mask, np.random.default_rng(3)))
    assert same(twin.last_tree().nodes, search.last_tree().nodes)


@every_way
def test_a_model_reads_the_weights_of_its_own_network(way: Callable[[Any], Any]):
    """Steps keep buffers and views of the weights."""
    model = LearnedModel(network(), discount=0.9)
    observations, actions = np.ones((2, 3), np.float32), np.array([0, 1])
    model.step(model.root(observations).states, actions)
    twin = way(model)
    with torch.no_grad():
        for parameter in twin.network.parameters():
            parameter.mul_(2.0)
    found = twin.step(twin.root(observations).states, actions)
    expected = LearnedModel(twin.network, discount=0.9)
    expected = expected.step(expected.root(observations).states, actions)
    assert same(found, expected)


@every_way
@pytest.mark.parametrize(
    "options",
    [
        {"priority_alpha": 1.0, "store_action_masks": True},
        {"extras": {"cost": Field((2, 4), np.float16)}},
    ],
    ids=["prioritised", "extras"],
)
def test_replays(way: Callable[[Any], Any], options: dict[str, Any]):
    more: dict[str, Any] = {"extras": {"cost": np.ones((1, 2, 4), np.float16)}}
    more["action_mask"] = np.ones((1, ACTIONS), np.int8)
    replay = make(**options)
    for number in range(8):
        put(replay, 0, number, **more)
    twin = way(replay)
    for one in (twin, replay):  # what is appended comes as Ray delivers it
        put(one, 1, 0, **by_shared_memory(more))
        one.update_priorities(np.array([2, 4]), np.array([3.0, 0.5]))
    put(twin, 1, 1, **more)  # of which the original knows nothing
    assert replay.num_decisions == 9 and twin.num_decisions == 10
    put(replay, 1, 1, **more)
    assert same(twin.state_dict(), replay.state_dict())
    batches = [one.sample(32, np.random.default_rng(0)) for one in (twin, replay)]
    assert same(*batches)
    again = make(**options)
    again.load_state_dict(twin.state_dict())  # what is sampled from is what is saved
    assert same(again.sample(32, np.random.default_rng(0)), batches[0])


@every_way
@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_learners(way: Callable[[Any], Any], averaging: float):
    learner = Learner(
        network(), partial(torch.optim.Adam, lr=1e-2), unroll_steps=2, averaging=averaging
    )
    learner.update(random_batch(seed=1))
    twin = way(learner)
    before = {name: weight.clone() for name, weight in learner.averaged_weights.items()}
    found = [twin.update(by_shared_memory(random_batch(seed=seed))) for seed in (2, 3)]
    assert same(dict(learner.averaged_weights), before)
    assert same(found, [learner.update(random_batch(seed=seed)) for seed in (2, 3)])
    assert same(dict(twin.averaged_weights), dict(learner.averaged_weights))
    assert twin.num_updates == learner.num_updates == 3


def rounds(pool: Any, weights: Any, count: int) -> list[Any]:
    played = []
    for _ in range(count):
        pool.start(range(2), Round(weights=weights, num_decisions=9, temperature=1.0))
        played += pool.finished() + pool.finished()
    return [vars(experience) for experience in played]


@every_way
def test_self_play_between_two_rounds(way: Callable[[Any], Any]):
    pool = LocalPool(make_group, 2)
    weights = pool._groups[0]._learned.network.state_dict()
    rounds(pool, weights, 2)
    twin = way(pool)
    found = rounds(twin, weights, 2)
    assert same(found, rounds(pool, weights, 2))
    assert any(experience["episodes"] for experience in found)
    pool.close()


@every_way
def test_self_play_in_the_simulator_with_a_teacher(way: Callable[[Any], Any]):
    options = {"scenarios": "bundled", "start": "random", "idle_gate": 0.9}
    group = SelfPlayGroup(
        group=0,
        make_environment=EnvironmentFactory("PowerGrid-v0", options, vector=True),
        num_envs=2,
        network=partial(MLPNetwork, observation_shape=(417,), num_actions=487, hidden_size=8),
        search=partial(GumbelSearch, num_simulations=3, max_considered=2),
        seed=1,
        discount=0.9,
        model=SimulatorPlanning,
        teacher=LookaheadTeacher,
    )
    group.play(2, 1.0, taught=True)
    twin = way(group)
    found = vars(twin.play(3, 1.0, taught=True))
    assert same(found, vars(group.play(3, 1.0, taught=True)))
    group.close()


def test_a_copied_teacher_has_met_no_environment():
    with pytest.raises(ValueError, match=r"was not bound: call bind\(env\)"):
        LookaheadTeacher().advise(np.ones((1, 487)))


def test_meters_count_seconds_on_the_clock_of_their_process(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    metrics = TrainingMetrics(num_actions=3)
    metrics.decisions = 30
    now[0] += 10.0
    data = pickle.dumps(metrics)
    now[0] = 5.0  # in another process
    twin = pickle.loads(data)
    now[0] += 5.0
    assert twin.metrics()["time/decisions_per_s"] == pytest.approx(2.0)
    twin.action_counts += 1
    assert not metrics.action_counts.any()
