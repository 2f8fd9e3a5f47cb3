"""Gumbel: sequential halving, completed Q-values and the interior rule against hand computation."""

from __future__ import annotations

import numpy as np
import pytest

from agents.muzero.search import GumbelSearch
from agents.muzero.search.gumbel import considered_visits
from tests.muzero.search_reference import TableModel, softmax


def run(search, model, roots, mask=None, *, seed=0, **options):
    roots = np.asarray(roots)
    if mask is None:
        mask = np.ones((len(roots), model.num_actions), np.int8)
    return search.run(model, roots, mask, np.random.default_rng(seed), **options)


def test_sequential_halving_schedule_by_hand():
    # 4 actions, 8 simulations: log2(4) = 2 phases of 4. First: 8 // (2 * 4) = 1 visit each of 4.
    # Second: 8 // (2 * 2) = 2 visits each of the better 2.
    assert considered_visits(4, 8).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    # One action takes them all; fewer simulations than actions visit each at most once.
    assert considered_visits(1, 3).tolist() == [0, 1, 2]
    assert considered_visits(16, 5).tolist() == [0] * 5
    # 16 actions, 64 simulations: 4 phases of 16; halves of 16, 8, 4, 2 get 1, 2, 4, 8 visits each.
    counts = np.bincount(considered_visits(16, 64))
    assert counts.tolist() == [16, 8, 8, 4, 4, 4, 4] + [2] * 8
    # 3 actions, 12 simulations: 2 phases; 12 // (2 * 3) = 2 visits each, then pairs till the end.
    assert considered_visits(3, 12).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]


def test_completed_q_policy_by_hand():
    """One visit to each of two of three actions: pi' = softmax(logits + sigma(completed Q))."""
    model = TableModel(num_actions=3, seed=11)
    search = GumbelSearch(num_simulations=2, max_considered=2)
    result = run(search, model, [0], explore=False)

    logits = model.logits[0].astype(np.float64)
    first, second = np.argsort(-logits)[:2]
    prior = softmax(logits)
    q = {a: model.reward[0, a] + 0.9 * model.value[model.next_state[0, a]] for a in (first, second)}
    weighted = (prior[first] * q[first] + prior[second] * q[second]) / (
        prior[first] + prior[second]
    )
    mixed = (model.value[0] + 2 * weighted) / (1 + 2)
    completed = np.array([q.get(a, mixed) for a in range(3)])
    scaled = (completed - completed.min()) / (completed.max() - completed.min())
    expected = softmax(logits + (50 + 1) * 0.1 * scaled)

    assert result.visit_counts[0, first] == result.visit_counts[0, second] == 1
    np.testing.assert_allclose(result.policy[0], expected, rtol=1e-4)
    # Root value: its own value and the two returns, each counted once.
    assert result.value[0] == pytest.approx((model.value[0] + q[first] + q[second]) / 3, rel=1e-5)
    # Both were visited once, so the final choice is by logits + sigma(Q).
    best = max((first, second), key=lambda a: logits[a] + (50 + 1) * 0.1 * scaled[a])
    assert result.action[0] == best


def test_illegal_actions_take_part_in_the_rescaling_as_in_mctx():
    """Both legal actions are visited, and the mixed value of the third stretches the scale."""
    model = TableModel(num_actions=3, seed=0)
    model.logits[:] = 0.0
    model.value[:] = 0.0
    model.value[0] = 10.0
    model.next_state[0] = 1
    model.reward[0] = [1.0, 0.0, 7.0]
    search = GumbelSearch(num_simulations=2, max_considered=2)
    result = run(search, model, [0], np.array([[1, 1, 0]], np.int8), explore=False)
    # Mixed value (10 + 2 * (1 + 0) / 2) / 3 = 11 / 3, so Q in [0, 11 / 3]: 3 / 11 and 0.
    difference = (50 + 1) * 0.1 * 3 / 11
    expected = 1 / (1 + np.exp(-difference))
    np.testing.assert_allclose(result.policy[0], [expected, 1 - expected, 0.0], rtol=1e-5)


def test_interior_rule_by_hand():
    """Below the root the visits follow argmax pi'(a) - N(a) / (1 + sum N)."""
    model = TableModel(num_actions=3, seed=4)
    mask = np.array([[0, 1, 0]], np.int8)  # one root action: every later visit is interior
    search = GumbelSearch(num_simulations=3, max_considered=3)
    result = run(search, model, [0], mask, explore=False)
    assert result.visit_counts.tolist() == [[0, 3, 0]]

    # Second simulation, at node s1 with no visited child: all completed Q are equal, so the
    # highest prior a. Third: pi' over completed Q with one visited child, minus N / 2.
    s1 = model.next_state[0, 1]
    r1, v1 = model.reward[0, 1], model.value[s1]
    prior = softmax(model.logits[s1])
    a = int(prior.argmax())
    s2 = model.next_state[s1, a]
    q_a = model.reward[s1, a] + 0.9 * model.value[s2]
    mixed = (v1 + 1 * q_a) / 2
    completed = np.full(3, mixed)
    completed[a] = q_a
    scaled = (completed - completed.min()) / max(completed.max() - completed.min(), 1e-8)
    improved = softmax(model.logits[s1] + (50 + 1) * 0.1 * scaled)
    visits = np.zeros(3)
    visits[a] = 1
    b = int((improved - visits / 2).argmax())
    if b == a:  # it descends to s2 and takes the highest prior there
        c = int(model.logits[s2].argmax())
        deeper = model.reward[s2, c] + 0.9 * model.value[model.next_state[s2, c]]
        third = r1 + 0.9 * (model.reward[s1, a] + 0.9 * deeper)
    else:
        q_b = model.reward[s1, b] + 0.9 * model.value[model.next_state[s1, b]]
        third = r1 + 0.9 * q_b
    returns = [model.value[0], r1 + 0.9 * v1, r1 + 0.9 * q_a, third]
    assert result.value[0] == pytest.approx(np.mean(returns), rel=1e-5)


def test_gumbel_top_k_considers_without_replacement():
    """16 of 487 actions get visits, drawn by gumbel + logits of the row's own generator."""
    model = TableModel(num_actions=487, seed=0)
    search = GumbelSearch(num_simulations=16, max_considered=16)
    seeds = [np.random.default_rng(5), np.random.default_rng(6)]
    mask = np.ones((2, 487), np.int8)
    result = search.run(model, np.array([0, 1]), mask, seeds)
    assert (result.visit_counts.max(axis=1) == 1).all()
    for row, seed in enumerate((5, 6)):
        draws = np.random.default_rng(seed).standard_exponential(487, np.float32)
        noisy = model.logits[row] - np.log(draws)
        expected = set(np.argsort(-noisy)[:16].tolist())
        assert set(np.flatnonzero(result.visit_counts[row]).tolist()) == expected


def test_finds_the_better_arm_with_two_simulations():
    model = TableModel(num_actions=2, seed=0)
    model.logits[:] = 0.0
    model.value[:] = 0.0
    model.reward[:] = [0.0, 1.0]
    result = run(
        GumbelSearch(num_simulations=2, max_considered=2), model, np.arange(5), explore=False
    )
    assert (result.action == 1).all()
    assert (result.policy[:, 1] > 0.99).all()
