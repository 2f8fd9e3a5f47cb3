"""What holds for every search on any problem: random tables, masks of every kind, known MDPs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from agents.muzero.search import GumbelSearch, ModelOutput, PUCTSearch, Search, SearchResult
from agents.muzero.search.gumbel import considered_visits
from agents.muzero.search.tree import NO_ACTION, NO_NODE
from tests.muzero.search_reference import TableModel, every_kind_of_mask

MakeSearch = Callable[..., Search]

SEARCHES = {
    "puct": PUCTSearch,
    "puct-mctx": partial(PUCTSearch, normalization="siblings", initial_root_visits=1),
    "puct-parent": partial(PUCTSearch, first_play="parent", selection="power"),
    "gumbel": GumbelSearch,
    "gumbel-tree": partial(GumbelSearch, normalization="tree"),
}


@pytest.fixture(params=SEARCHES, ids=list(SEARCHES))
def make_search(request: pytest.FixtureRequest) -> MakeSearch:
    """Return a maker of searches for a number of actions, with ``considered`` of them if gumbel."""
    cls = SEARCHES[request.param]

    def make(num_actions: int, *, considered: int = 16, **options: float) -> Search:
        if request.param.startswith("gumbel"):
            options["max_considered"] = min(considered, num_actions)
        return cls(**options)

    return make


def generators(*rows: int) -> list[np.random.Generator]:
    return [np.random.default_rng([9, row]) for row in rows]


def assert_equal(first: SearchResult, second: SearchResult) -> None:
    """To the last bit."""
    for name in ("visit_counts", "policy", "value", "action"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    for ours, theirs in zip(first.statistics, second.statistics, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def rows_of(result: SearchResult, rows: list[int]) -> SearchResult:
    """Return the result of some rows."""
    return SearchResult(
        visit_counts=result.visit_counts[rows],
        policy=result.policy[rows],
        value=result.value[rows],
        action=result.action[rows],
        statistics=type(result.statistics)(*(array[rows] for array in result.statistics)),
    )


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize(
    ("num_actions", "num_simulations"), [(1, 3), (2, 1), (5, 40), (30, 20), (487, 25)]
)
def test_counts_policies_and_choices_keep_to_the_mask(
    make_search: MakeSearch, num_actions: int, num_simulations: int, explore: bool
) -> None:
    rng = np.random.default_rng([num_actions, explore])
    for seed, temperature in enumerate((0.0, 0.5, 1.0)):
        model = TableModel(num_actions=num_actions, seed=seed, scale=10.0 ** (seed - 1))
        mask = every_kind_of_mask(rng, 12, num_actions)
        result = make_search(num_actions, num_simulations=num_simulations).run(
            model, rng.integers(64, size=12), mask, rng, temperature=temperature, explore=explore
        )
        assert (result.visit_counts.sum(axis=1) == num_simulations).all()
        assert (result.visit_counts[mask == 0] == 0).all()
        assert (result.policy[mask == 0] == 0).all()
        assert (result.policy >= 0).all()
        np.testing.assert_allclose(result.policy.sum(axis=1), 1.0, rtol=1e-5)
        assert mask[np.arange(12), result.action].all()
        assert np.isfinite(result.value).all()
        statistics = result.statistics
        np.testing.assert_array_equal(statistics.width, (result.visit_counts > 0).sum(axis=1))
        assert ((statistics.depth >= 1) & (statistics.depth <= num_simulations)).all()
        assert (statistics.visit_entropy >= -1e-9).all()
        assert (statistics.visit_entropy <= np.log(statistics.width) + 1e-6).all()


def test_trees_hold_what_the_model_says_along_every_path(make_search: MakeSearch) -> None:
    """Nodes, links, priors and the best unvisited action; each path followed through the tables."""
    model = TableModel(num_actions=9, seed=3)
    model.discount[:] = np.random.default_rng(2).choice([0.0, 0.5, 0.9, 0.99], (64, 9))
    mask = every_kind_of_mask(np.random.default_rng(0), 8, 9)
    roots = np.arange(8)
    search = make_search(9, num_simulations=40, considered=4)
    search.run(model, roots, mask, np.random.default_rng(1))
    assert isinstance(search, (PUCTSearch, GumbelSearch))
    tree = search.last_tree()
    for b, nodes in enumerate(tree.nodes):
        states = [int(roots[b])]
        for node in nodes[1:]:  # in order of the simulations: a parent comes first
            before = states[node["parent"]]
            states.append(int(model.next_state[before, node["action"]]))
            assert node["reward"] == model.reward[before, node["action"]]
            assert node["discount"] == model.discount[before, node["action"]]
            assert node["raw_value"] == model.value[states[-1]]
            assert node["depth"] == nodes[node["parent"]]["depth"] + 1
        for index, node in enumerate(nodes):
            children = np.flatnonzero(nodes["parent"] == index)
            linked = []
            child = node["first_child"]
            while child != NO_NODE:
                linked.append(child)
                child = nodes[child]["next_sibling"]
            assert sorted(linked) == children.tolist()
            taken = set(nodes["action"][children].tolist())
            assert len(taken) == len(children)
            below = nodes[children]
            worth = below["value_sum"] / below["visits"]
            returns = below["reward"].astype(float) + below["discount"] * worth
            np.testing.assert_allclose(below["edge_value"], returns, rtol=1e-12)
            own = node["visits"] - below["visits"].sum()
            assert own in ((0, 1) if index == 0 else (1,))
            total = own * float(node["raw_value"]) + below["visits"] @ returns
            np.testing.assert_allclose(node["value_sum"], total, rtol=1e-9, atol=1e-9)
            priors = tree.priors[index, b]
            illegal = set(np.flatnonzero(mask[b] == 0)) if index == 0 else set()
            assert set(np.flatnonzero(priors < 0)) == taken | illegal
            free = priors.max() >= 0
            assert node["best_unvisited"] == (priors.argmax() if free else NO_ACTION)
        values = nodes["edge_value"][1:]
        assert tree.lowest[b] <= values.min() and tree.highest[b] >= values.max()


@pytest.mark.parametrize("num_actions", [2, 25, 300])
def test_a_row_does_not_depend_on_its_neighbours(make_search: MakeSearch, num_actions: int) -> None:
    """Alone, in another order, among others or repeated: to the last bit the same."""
    model = TableModel(num_actions=num_actions, seed=3)
    mask = every_kind_of_mask(np.random.default_rng(1), 8, num_actions)
    search = make_search(num_actions, num_simulations=24)

    def run(rows: list[int]) -> SearchResult:
        return search.run(model, np.array(rows), mask[rows], generators(*rows))

    together = run(list(range(8)))
    for rows in ([0], [5], [7, 2], [6, 5, 4, 3, 2, 1, 0, 7], [4, 4, 4], [2, 0, 7, 2, 1]):
        assert_equal(run(rows), rows_of(together, rows))


def test_one_generator_gives_a_row_the_same_numbers_in_any_batch(make_search: MakeSearch) -> None:
    model = TableModel(num_actions=20, seed=1)
    mask = np.ones((9, 20), np.int8)
    search = make_search(20, num_simulations=12)
    large = search.run(model, np.arange(9), mask, np.random.default_rng(4))
    small = search.run(model, np.arange(3), mask[:3], np.random.default_rng(4))
    assert_equal(small, rows_of(large, [0, 1, 2]))


def test_the_same_rng_gives_the_same_result(make_search: MakeSearch) -> None:
    """Also by a search that has been used for other shapes in between."""
    model = TableModel(num_actions=40, seed=6)
    mask = every_kind_of_mask(np.random.default_rng(0), 8, 40)
    search = make_search(40, num_simulations=30)

    def run(seed: int, *, explore: bool = True) -> SearchResult:
        return search.run(model, np.arange(8), mask, np.random.default_rng(seed), explore=explore)

    first = run(1)
    small = TableModel(num_actions=17, seed=0)
    search.run(small, np.arange(3), np.ones((3, 17), np.int8), np.random.default_rng(8))
    assert_equal(run(1), first)
    assert (run(2).visit_counts != first.visit_counts).any()
    # Without exploration nothing is drawn.
    assert_equal(run(1, explore=False), run(2, explore=False))


def test_inputs_are_left_as_they_were(make_search: MakeSearch) -> None:
    model = TableModel(num_actions=12, seed=2)
    tables = [table.copy() for table in (model.value, model.reward, model.logits)]
    roots = np.arange(4)
    mask = every_kind_of_mask(np.random.default_rng(0), 4, 12)
    given = mask.copy()
    make_search(12, num_simulations=30).run(model, roots, mask, np.random.default_rng(0))
    np.testing.assert_array_equal(mask, given)
    np.testing.assert_array_equal(roots, np.arange(4))
    for table, before in zip((model.value, model.reward, model.logits), tables, strict=True):
        np.testing.assert_array_equal(table, before)


def test_a_result_outlives_the_next_search(make_search: MakeSearch) -> None:
    """What a search returns is not its scratch space."""
    model = TableModel(num_actions=12, seed=2)
    mask = np.ones((4, 12), np.int8)
    search = make_search(12, num_simulations=10)
    first = search.run(model, np.arange(4), mask, generators(*range(4)))
    kept = rows_of(first, [0, 1, 2, 3])
    search.run(model, np.arange(4) + 20, mask, generators(*range(4, 8)))
    assert_equal(first, kept)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_a_mask_of_another_dtype_means_the_same(make_search: MakeSearch, dtype: type) -> None:
    model = TableModel(num_actions=9, seed=2)
    mask = every_kind_of_mask(np.random.default_rng(3), 4, 9)
    search = make_search(9, num_simulations=10)
    expected = search.run(model, np.arange(4), mask, generators(*range(4)))
    given = search.run(model, np.arange(4), mask.astype(dtype), generators(*range(4)))
    assert_equal(given, expected)


@pytest.mark.parametrize(
    ("num_actions", "num_simulations"), [(3, 12), (10, 40), (60, 30), (487, 40)]
)
def test_permuting_actions_permutes_the_result(
    make_search: MakeSearch, num_actions: int, num_simulations: int
) -> None:
    rng = np.random.default_rng(num_actions)
    search = make_search(num_actions, num_simulations=num_simulations)
    for seed in range(3):
        model = TableModel(num_actions=num_actions, seed=seed)
        roots = rng.integers(64, size=8)
        mask = every_kind_of_mask(rng, 8, num_actions)
        order = rng.permutation(num_actions)
        plain = search.run(model, roots, mask, rng, explore=False)
        permuted = search.run(model.with_actions(order), roots, mask[:, order], rng, explore=False)
        np.testing.assert_array_equal(permuted.visit_counts, plain.visit_counts[:, order])
        np.testing.assert_allclose(permuted.policy, plain.policy[:, order], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(permuted.value, plain.value, rtol=1e-4, atol=1e-5)
        # PUCT's choice may be one of several most visited actions: then the lowest, here or there.
        top = plain.visit_counts.max(axis=1, keepdims=True)
        alone = (plain.visit_counts == top).sum(axis=1) == 1
        if isinstance(search, GumbelSearch):
            alone[:] = True
        assert alone.any()
        np.testing.assert_array_equal(order[permuted.action][alone], plain.action[alone])


def random_mdp(seed: int, discount: float) -> tuple[TableModel, np.ndarray, np.ndarray]:
    """Return a perfect model of 20 states and 4 actions, optimal actions [S], and their leads [S].

    The model's values are the optimal ones, by value iteration; its priors know nothing. The lead
    is the optimal action's Q less the next best's; rewards are normal with deviation 1.
    """
    model = TableModel(num_actions=4, seed=seed, num_states=20, discount=discount)
    model.logits[:] = 0.0
    value = np.zeros(20)
    for _ in range(200):
        quality = model.reward + discount * value[model.next_state]
        value = quality.max(axis=1)
    model.value[:] = value
    ranked = np.sort(quality, axis=1)
    return model, quality.argmax(axis=1), ranked[:, -1] - ranked[:, -2]


@pytest.mark.parametrize(
    ("discount", "num_simulations", "informed"),
    [(0.5, 32, True), (0.5, 200, True), (0.8, 200, True), (0.5, 200, False)],
)
def test_a_perfect_model_yields_the_optimal_action(
    make_search: MakeSearch, discount: float, num_simulations: int, informed: bool
) -> None:
    """In random MDPs, with the optimal values at the leaves or (short-sighted) none at all."""
    search = make_search(4, num_simulations=num_simulations)
    tried = 0
    for seed in range(8):
        model, optimal, lead = random_mdp(seed, discount)
        if not informed:
            model.value[:] = 0.0
        states = np.flatnonzero(lead > (1.0 if informed else 1.5))
        mask = np.ones((len(states), 4), np.int8)
        rng = np.random.default_rng(0)
        result = search.run(model, states, mask, rng, explore=False)
        np.testing.assert_array_equal(result.action, optimal[states])
        tried += len(states)
    assert tried >= 20


def test_gumbel_needs_one_look_at_each_action_with_perfect_values() -> None:
    """Then no lead is too small: Q-values are exact and the priors are equal."""
    for seed in range(8):
        model, optimal, _ = random_mdp(seed, 0.9)
        search = GumbelSearch(num_simulations=4, max_considered=4)
        result = search.run(
            model,
            np.arange(20),
            np.ones((20, 4), np.int8),
            np.random.default_rng(0),
            explore=False,
        )
        np.testing.assert_array_equal(result.action, optimal)


class Breaking(TableModel):
    """Gives one bad number at one call: 0 is the root, k the k-th simulation."""

    def __init__(self, *, head: str, call: int, row: int, number: float):
        super().__init__(num_actions=6, seed=0)
        self.bad = (head, call, row, number)
        self.calls = 0

    def _output(self, states: np.ndarray, reward: np.ndarray, discount: np.ndarray) -> ModelOutput:
        output = super()._output(states, reward, discount)
        head, call, row, number = self.bad
        if self.calls == call:
            broken = getattr(output, head).copy()
            broken[row, ...] = number
            output = output._replace(**{head: broken})
        self.calls += 1
        return output


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("call", [0, 1, 7])
@pytest.mark.parametrize("head", ["value", "reward", "discount", "policy_logits"])
def test_a_number_that_is_not_finite_is_named(
    make_search: MakeSearch, head: str, call: int, number: float
) -> None:
    """At the root and at any later step: the head and the row."""
    row = 2 + call % 2
    model = Breaking(head=head, call=call, row=row, number=number)
    search = make_search(6, num_simulations=8)
    with pytest.raises(ValueError, match=rf"{head} is not finite in row {row}"):
        search.run(model, np.arange(4), np.ones((4, 6), np.int8), np.random.default_rng(0))
    assert model.calls == call + 1  # at once, not at the end
    # The search is as good as new.
    model.calls = 8
    search.run(model, np.arange(4), np.ones((4, 6), np.int8), np.random.default_rng(0))


def test_halving_visits_the_considered_actions_and_halves_them() -> None:
    """A bandit, whose Q-values don't change: each phase goes on with the better half.

    Actions pay once; better is logits + sigma(Q) with the visits of the phase before.
    """
    model = TableModel(num_actions=50, seed=1, num_states=2)
    model.next_state[:] = 1
    model.value[:] = 0.0
    model.reward[1] = 0.0
    for considered, num_simulations, phases in [
        (8, 24, [(8, 1), (4, 2), (2, 4)]),
        (16, 64, [(16, 1), (8, 2), (4, 4), (2, 8)]),
        (4, 40, [(4, 5), (2, 10)]),
    ]:
        search = GumbelSearch(num_simulations=num_simulations, max_considered=considered)
        result = search.run(
            model,
            np.zeros(1, np.int64),
            np.ones((1, 50), np.int8),
            np.random.default_rng(0),
            explore=False,
        )
        logits = model.logits[0].astype(np.float64)
        quality = model.reward[0].astype(np.float64)
        visited = np.argsort(-logits)[:considered]
        prior = np.exp(logits - logits.max())
        expected = np.zeros(50, int)
        remaining = visited
        for size, visits in phases:
            total = expected.sum()
            if total:
                mixed = total / (total + 1) * np.average(quality[visited], weights=prior[visited])
                low = min(quality[visited].min(), mixed)
                spread = max(quality[visited].max(), mixed) - low
                sigma = (50 + expected.max()) * 0.1
                order = np.argsort(-(logits + sigma * (quality - low) / spread)[remaining])
                remaining = remaining[order[:size]]
            expected[remaining] += visits
        np.testing.assert_array_equal(result.visit_counts[0], expected)
        finalists = np.flatnonzero(expected == expected.max())
        assert result.action[0] in finalists
        assert len(finalists) == 2


@pytest.mark.parametrize("num_simulations", [1, 5, 16, 33, 100])
def test_halving_keeps_its_schedule_in_every_row(num_simulations: int) -> None:
    """As many actions as are legal, if fewer than ``max_considered``; visits by the schedule."""
    model = TableModel(num_actions=40, seed=8)
    mask = every_kind_of_mask(np.random.default_rng(0), 12, 40)
    mask[11] = 0
    mask[11, [3, 17, 29]] = 1
    search = GumbelSearch(num_simulations=num_simulations, max_considered=16)
    result = search.run(model, np.arange(12), mask, np.random.default_rng(0))
    for row in range(12):
        considered = min(16, int(mask[row].sum()))
        # The k-th visit of an action is one simulation that wanted k visits before it.
        schedule = considered_visits(considered, num_simulations)
        reached = np.bincount(schedule, minlength=num_simulations)
        counts = result.visit_counts[row]
        at_least = [(counts > visits).sum() for visits in range(num_simulations)]
        np.testing.assert_array_equal(at_least, reached)
        assert result.statistics.width[row] == min(considered, num_simulations)
