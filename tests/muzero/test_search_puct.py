"""PUCT: each formula of the specification by hand, then whole trees against a plain reference."""

from __future__ import annotations

import inspect
import math
from itertools import product

import numpy as np
import pytest
import torch

from agents.muzero.search import ModelOutput, PUCTSearch
from agents.muzero.search.puct import visit_policy
from tests.muzero.search_reference import TableModel, puct


class TwoArms:
    """Two actions; the root's priors are 0.6 and 0.4; action 0 pays 1, action 1 pays 3, then 0."""

    num_actions = 2

    def root(self, observations: np.ndarray, legal: np.ndarray | None = None) -> ModelOutput:
        """Every root is state 0."""
        return self._output(np.zeros(len(observations), np.int64), np.zeros(len(observations)))

    def step(self, states: torch.Tensor, actions: np.ndarray) -> ModelOutput:
        """Only the first step pays."""
        pays = np.where(states.numpy() == 0, np.where(actions == 0, 1.0, 3.0), 0.0)
        return self._output(np.ones(len(actions), np.int64), pays)

    def _output(self, states: np.ndarray, reward: np.ndarray) -> ModelOutput:
        logits = np.log(np.tile([0.6, 0.4], (len(states), 1)))
        zeros = np.zeros(len(states), np.float32)
        return ModelOutput(
            value=zeros,
            reward=reward.astype(np.float32),
            discount=zeros + np.float32(0.9),
            policy_logits=logits.astype(np.float32),
            states=torch.from_numpy(states),
        )


def run(search: PUCTSearch, model, roots, mask=None, *, seed=0, **options):
    roots = np.asarray(roots)
    if mask is None:
        mask = np.ones((len(roots), model.num_actions), np.int8)
    return search.run(model, roots, mask, np.random.default_rng(seed), **options)


def test_ucb_formula_by_hand():
    """Five simulations of ``TwoArms`` followed on paper with gamma 0.9."""
    # With N_p = 0 at the root, sqrt(N_p) = 0 and all scores are 0: the higher prior, action 0.
    # 1: action 0: r = 1, V = 0: edge value 1; min = max = 1, so it stands unnormalised.
    # 2: N_p = 1, e = log((1 + 19652 + 1) / 19652) + 1.25 = 1.2501018
    #    action 0: e * 1 / 2 * 0.6 + 1 = 1.3750;  action 1: e * 1 / 1 * 0.4 + 0 = 0.5000 -> 0.
    #    Below it the state pays 0; its own edge stays 1 + 0.9 * 0 = 1; the new edge's is 0.
    # 3: min 0, max 1. N_p = 2, e = log(19655 / 19652) + 1.25 = 1.2501527, sqrt 2 = 1.4142136
    #    action 0: e 1.4142136 / 3 * 0.6 + 1 = 1.3536; action 1: e 1.4142136 * 0.4 = 0.7072 -> 0.
    # 4: sqrt 3 = 1.7320508: action 0: 1.2502 * 1.7320508 / 4 * 0.6 + 1 = 1.3248;
    #    action 1: 1.2502 * 1.7320508 * 0.4 = 0.8662 -> 0.
    # 5: sqrt 4 = 2: action 0: 1.25025 * 2 / 5 * 0.6 + 1 = 1.3000; action 1: 1.0002 -> 0.
    # 6: sqrt 5: action 0: 1.2503 * 2.2360680 / 6 * 0.6 + 1 = 1.2796; action 1: 1.1183 -> 0.
    # 7: sqrt 6: action 0: 1.25036 * 2.4494897 / 7 * 0.6 + 1 = 1.2625; action 1: 1.2251 -> 0.
    # 8: sqrt 7: action 0: 1.25041 * 2.6457513 / 8 * 0.6 + 1 = 1.2481; action 1: 1.3233 -> 1!
    search = PUCTSearch(num_simulations=7)
    assert run(search, TwoArms(), [0], explore=False).visit_counts.tolist() == [[7, 0]]
    search = PUCTSearch(num_simulations=8)
    assert run(search, TwoArms(), [0], explore=False).visit_counts.tolist() == [[7, 1]]
    # 9: action 1 pays 3, so max = 3: action 0: 1.25046 * sqrt 8 / 8 * 0.6 + 1/3 = 0.5986;
    #    action 1: 1.25046 * 2.8284271 / 2 * 0.4 + 1 = 1.7074 -> 1 from now on.
    search = PUCTSearch(num_simulations=10)
    assert run(search, TwoArms(), [0], explore=False).visit_counts.tolist() == [[7, 3]]


def test_constants_are_the_specifications():
    options = inspect.signature(PUCTSearch).parameters
    defaults = {name: option.default for name, option in options.items()}
    expected = {
        "num_simulations": 75,
        "c_base": 19652.0,
        "c_init": 1.25,
        "dirichlet_alpha": 0.3,
        "exploration_fraction": 0.25,
        "normalization": "tree",
        "first_play": "zero",
        "selection": "softmax",
    }
    assert {name: defaults[name] for name in expected} == expected


def test_backup_by_hand():
    """Two simulations down one line: the root's value is the mean of the discounted returns."""
    # First: r 1, leaf 0: return of the root 1 + 0.9 * 0 = 1. Second, one deeper: r 0, leaf 0:
    # return of the root 1 + 0.9 * (0 + 0.9 * 0) = 1. Mean 1.
    result = run(PUCTSearch(num_simulations=2), TwoArms(), [0], explore=False)
    assert result.value[0] == pytest.approx(1.0)
    # Tables: state 0 -a-> s1 (r1, v1) -b-> s2 (r2, v2); single action, so the line is forced.
    model = TableModel(num_actions=1, seed=3)
    s1, r1 = model.next_state[0, 0], model.reward[0, 0]
    s2, r2 = model.next_state[s1, 0], model.reward[s1, 0]
    v1, v2 = model.value[s1], model.value[s2]
    expected = ((r1 + 0.9 * v1) + (r1 + 0.9 * (r2 + 0.9 * v2))) / 2
    result = run(PUCTSearch(num_simulations=2), model, [0], explore=False)
    assert result.value[0] == pytest.approx(expected, rel=1e-6)


def test_dirichlet_noise_by_hand():
    """prior = (1 - 0.25) prior + 0.25 noise, noise over the legal actions, from the row's rng."""
    model = TableModel(num_actions=5, seed=1)
    mask = np.array([[1, 0, 1, 1, 1]], np.int8)
    search = PUCTSearch(num_simulations=1)
    legal = mask[0].astype(bool)
    logits = np.where(legal, model.logits[0], -np.inf)
    weights = np.exp(logits - logits.max())
    gamma = np.random.default_rng(7).standard_gamma(0.3, 5, np.float32)[legal]
    noise = gamma / gamma.sum()
    expected = 0.75 * (weights / weights.sum())[legal] + 0.25 * noise
    priors = search._root_priors(model.logits[:1], mask, [np.random.default_rng(7)])
    np.testing.assert_allclose(priors[0, legal], expected, rtol=1e-5)
    assert priors[0, 1] == -1.0


def test_action_distribution_by_hand():
    """p = softmax(visits), then p^(1/tau) normalised; illegal actions never."""
    counts = np.array([[3, 1, 0, 0]])
    mask = np.array([[1, 1, 1, 0]])
    p = [math.exp(3), math.exp(1), 1.0]
    p = [x / sum(p) for x in p]
    tau = 0.5
    sharpened = [x ** (1 / tau) for x in p]
    expected = [x / sum(sharpened) for x in sharpened] + [0.0]
    np.testing.assert_allclose(visit_policy(counts, mask, tau, "softmax")[0], expected, rtol=1e-12)
    np.testing.assert_allclose(
        visit_policy(counts, mask, tau, "power")[0], [0.9, 0.1, 0.0, 0.0], rtol=1e-12
    )


def test_actions_are_drawn_from_that_distribution():
    model = TableModel(num_actions=4, seed=5)
    search = PUCTSearch(num_simulations=12, exploration_fraction=0.0)
    roots = np.zeros(4000, np.int64)
    result = run(search, model, roots, temperature=4.0)
    assert (result.visit_counts == result.visit_counts[0]).all()
    mask = np.ones((1, 4))
    expected = visit_policy(result.visit_counts[:1], mask, 4.0, "softmax")[0]
    drawn = np.bincount(result.action, minlength=4) / len(roots)
    np.testing.assert_allclose(drawn, expected, atol=0.03)
    assert (run(search, model, roots[:3], temperature=0.0).action == expected.argmax()).all()


def test_policy_target_is_the_visit_share():
    result = run(PUCTSearch(num_simulations=10), TableModel(num_actions=6, seed=2), [0, 1])
    np.testing.assert_allclose(result.policy, result.visit_counts / 10, rtol=1e-6)


@pytest.mark.parametrize(
    ("num_actions", "discount"),
    [
        *product((2, 7), (0.9, 1.0, None)),
        (487, None),
        *(pytest.param(487, discount, marks=pytest.mark.slow) for discount in (0.9, 1.0)),
    ],
)
def test_whole_trees_equal_the_reference(num_actions, discount):
    """Visit counts and root values of batches, with masks of every kind, against plain trees."""
    rng = np.random.default_rng(num_actions)
    for problem in range(8 if num_actions < 100 else 3):  # the reference scores every action
        model = TableModel(num_actions=num_actions, seed=problem, scale=10.0 ** (problem - 4))
        if discount is None:  # another one on every edge, a quarter of them the end
            model.discount[:] = np.maximum(rng.uniform(-0.3, 1.0, model.discount.shape), 0.0)
        else:
            model.discount[:] = discount
        roots = rng.integers(64, size=5)
        mask = (rng.random((5, num_actions)) < 0.7).astype(np.int8)
        mask[0] = 0
        mask[0, rng.integers(num_actions)] = 1  # one legal action
        mask[1] = 1
        mask[np.arange(5), rng.integers(num_actions, size=5)] = 1
        simulations = int(rng.integers(1, 60))
        search = PUCTSearch(num_simulations=simulations)
        result = run(search, model, roots, mask, explore=False)
        for row in range(5):
            root = puct(
                model,
                int(roots[row]),
                mask[row].astype(bool),
                num_simulations=simulations,
            )
            counts = np.zeros(num_actions, int)
            for action, child in root.children.items():
                counts[action] = child.visits
            np.testing.assert_array_equal(result.visit_counts[row], counts)
            assert result.value[row] == pytest.approx(root.value, rel=1e-5, abs=1e-6)


def test_first_play_urgency_widens_the_search():
    """With near-uniform priors the specification stays on an action or two; "parent" does not."""
    model = TableModel(num_actions=487, seed=0, scale=0.1)
    model.logits *= 0.01
    narrow = run(PUCTSearch(num_simulations=75), model, np.arange(8), explore=False)
    wide = run(
        PUCTSearch(num_simulations=75, first_play="parent"), model, np.arange(8), explore=False
    )
    assert narrow.statistics.width.mean() < wide.statistics.width.mean() / 2
