"""What every search promises: counts, masks, independence of rows, repeatability, clear errors."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from agents.muzero.search import GumbelSearch
from agents.muzero.search import PUCTSearch
from tests.muzero.search_reference import TableModel

SEARCHES = [PUCTSearch, GumbelSearch]


@pytest.fixture(params=SEARCHES, ids=["puct", "gumbel"])
def make_search(request):
    return request.param


def masks(rng, num_roots, num_actions):
    mask = (rng.random((num_roots, num_actions)) < 0.5).astype(np.int8)
    mask[np.arange(num_roots), rng.integers(num_actions, size=num_roots)] = 1
    return mask


def test_visits_sum_and_masks_hold(make_search):
    rng = np.random.default_rng(0)
    model = TableModel(num_actions=30, seed=0)
    mask = masks(rng, 12, 30)
    result = make_search(num_simulations=20).run(model, np.arange(12), mask, rng)
    assert (result.visit_counts.sum(axis=1) == 20).all()
    assert (result.visit_counts[mask == 0] == 0).all()
    assert (result.policy[mask == 0] == 0).all()
    np.testing.assert_allclose(result.policy.sum(axis=1), 1.0, rtol=1e-5)
    assert mask[np.arange(12), result.action].all()
    assert (result.statistics.width == (result.visit_counts > 0).sum(axis=1)).all()


def test_rows_do_not_depend_on_their_neighbours(make_search):
    model = TableModel(num_actions=25, seed=3)
    mask = masks(np.random.default_rng(1), 6, 25)
    search = make_search(num_simulations=16)

    def rngs(rows):
        return [np.random.default_rng([9, row]) for row in rows]

    together = search.run(model, np.arange(6), mask, rngs(range(6)))
    for row in range(6):
        alone = search.run(model, np.array([row]), mask[row : row + 1], rngs([row]))
        np.testing.assert_array_equal(alone.visit_counts[0], together.visit_counts[row])
        np.testing.assert_array_equal(alone.policy[0], together.policy[row])
        assert alone.action[0] == together.action[row]


def test_same_seed_same_result_also_after_pickling(make_search):
    model = TableModel(num_actions=10, seed=3)
    search = make_search(num_simulations=9)
    mask = np.ones((4, 10), np.int8)
    first = search.run(model, np.arange(4), mask, np.random.default_rng(2))
    again = pickle.loads(pickle.dumps(search))
    second = again.run(model, np.arange(4), mask, np.random.default_rng(2))
    np.testing.assert_array_equal(first.visit_counts, second.visit_counts)
    np.testing.assert_array_equal(first.action, second.action)


def test_a_perfect_model_yields_the_optimal_action(make_search):
    """A chain of five states: only four times "right" pays, so the tree must look four ahead."""
    model = TableModel(num_actions=2, seed=0, num_states=6)
    model.next_state[:] = [[0, 1], [0, 2], [0, 3], [0, 4], [5, 5], [5, 5]]
    model.reward[:] = 0.0
    model.reward[3, 1] = 1.0
    model.value[:] = 0.0
    model.logits[:] = 0.0
    options = {"num_simulations": 200, "discount": 0.95}
    if make_search is PUCTSearch:
        options["first_play"] = "parent"
    result = make_search(**options).run(
        model, np.arange(4), np.ones((4, 2), np.int8), np.random.default_rng(0), explore=False
    )
    assert result.action.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("bad", [0, -3, 2.5, True])
def test_simulations_must_be_a_positive_whole_number(make_search, bad):
    with pytest.raises(ValueError, match="num_simulations must be a whole number of at least 1"):
        make_search(num_simulations=bad)


def test_a_row_without_legal_action_is_named(make_search):
    model = TableModel(num_actions=4, seed=0)
    mask = np.ones((3, 4), np.int8)
    mask[1] = 0
    with pytest.raises(ValueError, match="row 1 of action_mask has no legal action"):
        make_search(num_simulations=2).run(model, np.arange(3), mask, np.random.default_rng(0))


def test_disagreeing_shapes_are_named(make_search):
    model = TableModel(num_actions=4, seed=0)
    mask = np.ones((3, 5), np.int8)
    with pytest.raises(ValueError, match=r"policy_logits of shape \(3, 4\), expected \(3, 5\)"):
        make_search(num_simulations=2).run(model, np.arange(3), mask, np.random.default_rng(0))


@pytest.mark.parametrize("head", ["value", "reward", "policy_logits"])
def test_nan_is_named_with_head_and_row(make_search, head):
    class Diverged(TableModel):
        def step(self, states: torch.Tensor, actions: np.ndarray):
            output = super().step(states, actions)
            broken = getattr(output, head).copy()
            broken[2] = np.nan
            return output._replace(**{head: broken})

    model = Diverged(num_actions=4, seed=0)
    with pytest.raises(ValueError, match=f"{head} is not finite in row 2"):
        make_search(num_simulations=2).run(
            model, np.arange(3), np.ones((3, 4), np.int8), np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    ("option", "given", "nearest"),
    [("first_play", "parents", "parent"), ("selection", "sofmax", "softmax")],
)
def test_unknown_options_name_the_nearest_right_one(option, given, nearest):
    with pytest.raises(ValueError, match=f"unknown {option} '{given}'; did you mean '{nearest}'"):
        PUCTSearch(**{option: given})
