"""A network that predicts discounts: searches discount each edge by what is predicted of it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.muzero.agent import MuZeroAgent
from agents.muzero.model import LearnedModel
from agents.muzero.networks import CategoricalCodec, MLPNetwork, MuZeroNetwork, ResidualNetwork
from agents.muzero.search import GumbelSearch, PUCTSearch
from agents.muzero.search.drawing import Pruning, to_svg
from tests.muzero.cartpole import FACTORY, Memory, Rows, assert_same_weights, make_agent, make_run

ACTIONS = 9
ROOTS = 32
GAMMA = 0.83
SEARCHES = {
    "gumbel": lambda **options: GumbelSearch(num_simulations=30, max_considered=6, **options),
    "puct": lambda **options: PUCTSearch(
        num_simulations=30, normalization="siblings", first_play="parent", **options
    ),
}


def make_network(kind: type = MLPNetwork, **options: Any) -> MuZeroNetwork:
    torch.manual_seed(0)
    network = kind(
        observation_shape=(5,),
        num_actions=options.pop("num_actions", ACTIONS),
        hidden_size=16,
        value_codec=CategoricalCodec(num_bins=21, support_size=10.0),
        zero_init_heads=False,
        **options,
    )
    with torch.no_grad():  # values, rewards and policies that differ
        for name, weight in network.named_parameters():
            if name.startswith(("value_output", "reward_output", "policy_output")):
                weight.mul_(8.0)
    return network


def last_layer(head: torch.nn.Module) -> torch.nn.Linear:
    layer = head[-1] if isinstance(head, torch.nn.Sequential) else head
    assert isinstance(layer, torch.nn.Linear)
    return layer


def always(network: MuZeroNetwork, discount: float) -> MuZeroNetwork:
    """Let ``network`` predict ``discount`` of every edge."""
    layer = last_layer(network.get_submodule("reward_output"))
    with torch.no_grad():
        layer.weight[-1] = 0.0
        layer.bias[-1] = math.log(discount) - math.log1p(-discount)
    return network


def without_discounts(network: MuZeroNetwork, kind: type) -> MuZeroNetwork:
    """Return the same network without the discount's output."""
    plain = make_network(kind)
    weights = network.state_dict()
    for name, weight in weights.items():
        if weight.shape != plain.state_dict()[name].shape:
            weights[name] = weight[:-1]
    plain.load_state_dict(weights)
    return plain


def observations(rows: int = ROOTS) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, 5)).astype(np.float32)


@pytest.mark.parametrize("network_class", [MLPNetwork, ResidualNetwork])
@pytest.mark.parametrize("kind", SEARCHES)
def test_a_constant_discount_gives_the_search_of_that_discount(
    kind: str, network_class: type
) -> None:
    network = always(make_network(network_class, predict_discount=True), GAMMA)
    predicted = LearnedModel(network, discount=0.1)
    constant = LearnedModel(without_discounts(network, network_class), discount=GAMMA)
    mask = (np.random.default_rng(2).random((ROOTS, ACTIONS)) < 0.8).astype(np.int8)
    mask[:, 0] = 1
    for explore in (False, True):
        ours, theirs = (
            SEARCHES[kind]().run(
                model, observations(), mask, np.random.default_rng(3), explore=explore
            )
            for model in (predicted, constant)
        )
        np.testing.assert_array_equal(ours.visit_counts, theirs.visit_counts)
        np.testing.assert_array_equal(ours.action, theirs.action)
        np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ours.policy, theirs.policy, rtol=1e-3, atol=1e-5)
        assert ours.statistics.depth.max() > 2  # more than one discount multiplied


@pytest.mark.parametrize("network_class", [MLPNetwork, ResidualNetwork])
def test_two_steps_by_hand(network_class: type) -> None:
    network = make_network(network_class, predict_discount=True)
    model = LearnedModel(network, discount=0.1)
    actions = np.arange(4), np.array([8, 1, 1, 0])
    with torch.no_grad():
        root = network.initial_inference(torch.from_numpy(observations(4)))
        first = network.recurrent_inference(root.hidden, torch.from_numpy(actions[0]))
        second = network.recurrent_inference(first.hidden, torch.from_numpy(actions[1]))
    given = model.root(observations(4))
    value = network.value_head_codec.decode(root.value)
    np.testing.assert_allclose(given.value, value, rtol=1e-5)
    assert not np.abs(given.reward).max() > 1e-6 and (given.discount == 1).all()
    for chosen, output in zip(actions, (first, second), strict=True):
        given = model.step(given.states.clone(), chosen)
        reward = network.reward_head_codec.decode(output.reward[:, :-1])
        np.testing.assert_allclose(given.reward, reward, rtol=1e-4, atol=1e-6)
        discount = torch.sigmoid(output.reward[:, -1])
        np.testing.assert_allclose(given.discount, discount, rtol=1e-4)
        assert given.discount.dtype == np.float32
        value = network.value_head_codec.decode(output.value)
        np.testing.assert_allclose(given.value, value, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(given.states, output.hidden, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_of_two_steps_by_hand(kind: str) -> None:
    """One action: a chain, whose root value is the mean of the backed-up returns."""
    network = make_network(num_actions=1, predict_discount=True)
    chain = torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        root = network.initial_inference(torch.from_numpy(observations(1)))
        first = network.recurrent_inference(root.hidden, chain)
        second = network.recurrent_inference(first.hidden, chain)
        value, reward = network.value_head_codec.decode, network.reward_head_codec.decode
        v0, v1, v2 = (value(output.value).item() for output in (root, first, second))
        r1, r2 = (reward(output.reward[:, :-1]).item() for output in (first, second))
        d1, d2 = (torch.sigmoid(output.reward[0, -1]).item() for output in (first, second))
    returns = [r1 + d1 * v1, r1 + d1 * (r2 + d2 * v2)]
    search: Any = (
        PUCTSearch(num_simulations=2)
        if kind == "puct"
        else GumbelSearch(num_simulations=2, max_considered=1)
    )
    mask = np.ones((1, 1), np.int8)
    model = LearnedModel(network, discount=0.1)
    result = search.run(model, observations(1), mask, np.random.default_rng(0))
    counted = returns if kind == "puct" else [v0, *returns]  # gumbel counts the root's own value
    assert result.value[0] == pytest.approx(np.mean(counted), rel=1e-4)


@pytest.mark.parametrize("kind", SEARCHES)
def test_what_follows_an_end_counts_nothing(kind: str) -> None:
    """Where every edge ends the episode, an action is worth its reward."""
    network = always(make_network(predict_discount=True), 1e-30)
    search = SEARCHES[kind]()
    mask = np.ones((ROOTS, ACTIONS), np.int8)
    result = search.run(
        LearnedModel(network, discount=0.99),
        observations(),
        mask,
        np.random.default_rng(0),
        explore=False,
    )
    nodes = search.last_tree().nodes[:, 1:]
    assert (nodes["depth"] > 1).any() and np.abs(nodes["reward"]).min() > 1e-6
    np.testing.assert_allclose(nodes["edge_value"], nodes["reward"], atol=1e-20)
    assert np.isfinite(result.policy).all()


# --------------------------------------------------------------------------------------- agents


def predicting(**options: Any) -> MuZeroAgent:
    return make_agent(network={"predict_discount": True}, **options)


def discount_losses(log: Rows) -> list[float]:
    return [row["train/discount"] for row in log.rows if "train/discount" in row]


@pytest.mark.slow
def test_training_repeats_and_resumes(tmp_path: Path) -> None:
    log, plain = Rows(), Rows()
    first, second = predicting(), predicting()
    first.train(make_run(tmp_path, logger=log))
    assert min(discount_losses(log)) > 0.0
    make_agent().train(make_run(tmp_path, logger=plain))
    assert len(discount_losses(plain)) == len(discount_losses(log))
    assert not any(discount_losses(plain))
    second.train(make_run(tmp_path, num_workers=2))
    assert_same_weights(first, second)
    store = Memory()
    predicting().train(make_run(tmp_path, total_env_steps=120, checkpoints=store))
    resumed = predicting()
    resumed.train(make_run(tmp_path, checkpoints=store))
    assert_same_weights(first, resumed)


def test_reanalysis_searches_in_the_same_way(tmp_path: Path) -> None:
    agent = predicting()
    agent._plan = dataclasses.replace(agent._plan, reanalyse_every=5)
    log = Rows()
    agent.train(make_run(tmp_path, logger=log))
    assert min(discount_losses(log)) > 0.0


def test_records_have_the_discount_of_each_edge() -> None:
    agent = predicting()
    env = FACTORY(2)
    seen, infos = env.reset(seed=0)
    agent.bind(env)
    agent.act(seen, infos)
    records = agent.explain(("left", "right"))
    env.close()
    for record in records.values():
        discounts = {node.discount for node in record.nodes[1:]}
        assert len(discounts) > 1 and min(discounts) > 0.0 and max(discounts) < 1.0
        for node, children in zip(record.nodes, record.children, strict=True):
            assert node.raw_value is not None  # a decision node
            returns = node.raw_value + sum(child.visits * child.q for child in children)
            assert node.value == pytest.approx(returns / node.visits, rel=1e-5, abs=1e-6)
        written = [node["discount"] for node in json.loads(record.to_json())["nodes"]]
        assert written == [node.discount for node in record.nodes]
        svg = to_svg(record, Pruning(min_visits=1))
        assert all(f"discount {discount:.4g} (of what follows)" in svg for discount in discounts)
