"""What users of the searches rely on: pickling, a chain solved, and clear errors for bad input."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from agents.muzero.search import GumbelSearch, ModelOutput, PUCTSearch
from tests.muzero.search_reference import TableModel

SEARCHES = [PUCTSearch, partial(GumbelSearch, max_considered=2)]


@pytest.fixture(params=SEARCHES, ids=["puct", "gumbel"])
def make_search(request):
    return request.param


class Misshapen(TableModel):
    """Returns ``shorten(output)`` at one call: 0 is the root, k the k-th simulation."""

    def __init__(self, shorten: Callable[[ModelOutput], ModelOutput], *, call: int):
        super().__init__(num_actions=4, seed=0)
        self.shorten = shorten
        self.call = call
        self.calls = 0

    def _output(self, states: np.ndarray, reward: np.ndarray, discount: np.ndarray) -> ModelOutput:
        output = super()._output(states, reward, discount)
        self.calls += 1
        return self.shorten(output) if self.calls == self.call + 1 else output


def test_same_seed_same_result_also_after_pickling(make_search):
    model = TableModel(num_actions=10, seed=3)
    search = make_search(num_simulations=9)
    mask = np.ones((4, 10), np.int8)
    first = search.run(model, np.arange(4), mask, np.random.default_rng(2))
    again = pickle.loads(pickle.dumps(search))
    second = again.run(model, np.arange(4), mask, np.random.default_rng(2))
    np.testing.assert_array_equal(first.visit_counts, second.visit_counts)
    np.testing.assert_array_equal(first.action, second.action)


def test_a_chain_is_looked_along_to_its_end(make_search):
    """A chain of five states: only four times "right" pays, so the tree must look four ahead."""
    model = TableModel(num_actions=2, seed=0, num_states=6, discount=0.95)
    model.next_state[:] = [[0, 1], [0, 2], [0, 3], [0, 4], [5, 5], [5, 5]]
    model.reward[:] = 0.0
    model.reward[3, 1] = 1.0
    model.value[:] = 0.0
    model.logits[:] = 0.0
    options: dict[str, Any] = {"num_simulations": 200}
    if make_search is PUCTSearch:
        options["first_play"] = "parent"
    result = make_search(**options).run(
        model, np.arange(4), np.ones((4, 2), np.int8), np.random.default_rng(0), explore=False
    )
    assert result.action.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("bad", [0, -3, 2.5, True, "8"])
def test_simulations_must_be_a_positive_whole_number(make_search, bad):
    with pytest.raises(ValueError, match="num_simulations must be a whole number of at least 1"):
        make_search(num_simulations=bad)


@pytest.mark.parametrize("bad", [0, -1, 1.5])
def test_considered_actions_must_be_a_positive_whole_number(bad):
    with pytest.raises(ValueError, match="max_considered must be a whole number of at least 1"):
        GumbelSearch(max_considered=bad)


def test_more_considered_actions_than_there_are_is_an_error():
    """But fewer legal ones in a row are an everyday state."""
    model = TableModel(num_actions=4, seed=0)
    search = GumbelSearch(num_simulations=6, max_considered=5)
    mask = np.ones((3, 4), np.int8)
    with pytest.raises(ValueError, match=r"max_considered is 5, .* 4 actions; set .* to 4 or less"):
        search.run(model, np.arange(3), mask, np.random.default_rng(0))
    mask[1, 1:] = 0
    search = GumbelSearch(num_simulations=6, max_considered=4)
    result = search.run(model, np.arange(3), mask, np.random.default_rng(0))
    assert result.visit_counts[1].tolist() == [6, 0, 0, 0]
    assert (result.statistics.width[[0, 2]] == 4).all()


def test_a_row_without_legal_action_is_named(make_search):
    model = TableModel(num_actions=4, seed=0)
    mask = np.ones((3, 4), np.int8)
    mask[1] = 0
    with pytest.raises(ValueError, match="row 1 of action_mask has no legal action"):
        make_search(num_simulations=2).run(model, np.arange(3), mask, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 5), r"policy_logits of shape \(3, 4\), expected \(3, 5\)"),
        ((2, 4), r"value of shape \(3,\), expected \(2,\)"),
        ((4, 4), r"value of shape \(3,\), expected \(4,\)"),
        ((4,), r"action_mask must be \[B, A\], got shape \(4,\)"),
        ((3, 4, 1), r"action_mask must be \[B, A\], got shape \(3, 4, 1\)"),
    ],
)
def test_a_mask_of_another_shape_is_named(make_search, shape, message):
    model = TableModel(num_actions=4, seed=0)
    mask = np.ones(shape, np.int8)
    with pytest.raises(ValueError, match=message):
        make_search(num_simulations=2).run(model, np.arange(3), mask, np.random.default_rng(0))


def test_generators_are_one_or_one_a_row(make_search):
    model = TableModel(num_actions=4, seed=0)
    with pytest.raises(ValueError, match="2 generators given for 3 roots; give one per row"):
        make_search(num_simulations=2).run(
            model, np.arange(3), np.ones((3, 4), np.int8), [np.random.default_rng(0)] * 2
        )


@pytest.mark.parametrize("call", [0, 1, 3])
@pytest.mark.parametrize(
    ("shorten", "message"),
    [
        (
            lambda output: ModelOutput(*(array[:2] for array in output)),
            r"value of shape \(2,\), expected \(3,\): one row per root",
        ),
        (
            lambda output: output._replace(reward=output.reward[:, None]),
            r"reward of shape \(3, 1\), expected \(3,\)",
        ),
        (
            lambda output: output._replace(discount=output.discount[:1]),
            r"discount of shape \(1,\), expected \(3,\)",
        ),
        (
            lambda output: output._replace(policy_logits=output.policy_logits[:, :3]),
            r"policy_logits of shape \(3, 3\), expected \(3, 4\): .* one logit per action",
        ),
        (
            lambda output: output._replace(states=output.states[:2]),
            r"2 states for 3 roots",
        ),
    ],
    ids=["rows", "reward", "discount", "logits", "states"],
)
def test_a_model_that_returns_another_number_of_rows_is_named(make_search, shorten, message, call):
    """At the root and in any later step; one row too few would otherwise be stretched over B."""
    model = Misshapen(shorten, call=call)
    with pytest.raises(ValueError, match=message):
        make_search(num_simulations=5).run(
            model, np.arange(3), np.ones((3, 4), np.int8), np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    ("option", "given", "nearest"),
    [
        ("first_play", "parents", "parent"),
        ("selection", "sofmax", "softmax"),
        ("normalization", "sibling", "siblings"),
    ],
)
def test_unknown_options_name_the_nearest_right_one(option, given, nearest):
    with pytest.raises(ValueError, match=f"unknown {option} '{given}'; did you mean '{nearest}'"):
        PUCTSearch(**{option: given})
