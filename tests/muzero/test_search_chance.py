"""Chance nodes in both searches: against a plain reference, known decision problems, and mctx."""

from __future__ import annotations

import importlib.util
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from agents.muzero.search import Afterstates, GumbelSearch, PUCTSearch, SearchResult
from agents.muzero.search.tree import Tree
from tests.conftest import skip_without
from tests.muzero import chance_reference as reference
from tests.muzero import mctx_process
from tests.muzero.chance_reference import ChanceTableModel
from tests.muzero.search_reference import TableModel, every_kind_of_mask

KINDS = ["puct", "gumbel"]
BACKUPS = ["expectation", "worst"]


def make_search(
    kind: str, *, num_actions: int, num_simulations: int, backup: str, **options: Any
) -> PUCTSearch | GumbelSearch:
    options |= {"num_simulations": num_simulations, "chance_backup": backup}
    if kind == "puct":
        return PUCTSearch(**options)
    return GumbelSearch(max_considered=min(num_actions, 8), **options)


def run(
    search: PUCTSearch | GumbelSearch,
    model: Any,
    roots: Any,
    mask: np.ndarray | None = None,
    **options: Any,
) -> SearchResult:
    roots = np.asarray(roots)
    if mask is None:
        mask = np.ones((len(roots), model.num_actions), np.int8)
    rng = options.pop("rng", np.random.default_rng(0))
    return search.run(model, roots, mask, rng, **{"explore": False, **options})


def assert_same_tree(tree: Tree, row: int, root: reference.Decision) -> int:
    """Compare node by node, links included; return how many nodes there are."""
    nodes = tree.nodes[row]
    count = 0
    waiting: list[tuple[int, reference.Decision | reference.Afterstate]] = [(0, root)]
    while waiting:
        index, expected = waiting.pop()
        node = nodes[index]
        count += 1
        assert (index < len(tree.priors)) == isinstance(expected, reference.Decision)
        assert node["visits"] == expected.visits
        assert node["value_sum"] / max(node["visits"], 1) == pytest.approx(expected.value, abs=1e-5)
        if index:
            assert node["edge_value"] == pytest.approx(expected.q, abs=1e-5)
            assert node["prior"] == pytest.approx(expected.prior, rel=1e-5)
            assert (node["reward"], node["discount"]) == (
                np.float32(expected.reward),
                np.float32(expected.discount),
            )
        below = np.flatnonzero((nodes["parent"] == index) & (nodes["visits"] > 0))
        children = {int(nodes[child]["action"]): int(child) for child in below}
        assert set(children) == set(expected.children) and len(children) == len(below)
        for edge, child in children.items():
            deeper = isinstance(expected, reference.Decision)
            assert nodes[child]["depth"] == node["depth"] + deeper
            waiting.append((child, expected.children[edge]))
    return count


@pytest.mark.parametrize("backup", BACKUPS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_actions", "num_outcomes"), [(1, 5), (3, 2), (7, 6), (4, 1)])
def test_whole_trees_are_those_of_the_plain_reference(
    kind: str, backup: str, num_actions: int, num_outcomes: int
) -> None:
    """Of random problems and masks, endings and certain afterstates among them."""
    model = ChanceTableModel(num_actions=num_actions, num_outcomes=num_outcomes, seed=num_actions)
    roots = np.arange(8)
    mask = every_kind_of_mask(np.random.default_rng(num_outcomes), 8, num_actions)
    simulations = 40
    search = make_search(kind, num_actions=num_actions, num_simulations=simulations, backup=backup)
    result = run(search, model, roots, mask)
    for row in range(8):
        root = reference.plant(model, int(roots[row]), mask[row] > 0, 0 if kind == "puct" else 1)
        rule: reference.PUCT | reference.Gumbel = reference.PUCT()
        if kind == "gumbel":
            considered = min(num_actions, 8)
            rule = reference.Gumbel(root, num_simulations=simulations, max_considered=considered)
        worst = backup == "worst"
        reference.plan(model, root, rule, num_simulations=simulations, worst=worst)
        assert_same_tree(search.last_tree(), row, root)
        visits = np.zeros(num_actions)
        for action, child in root.children.items():
            visits[action] = child.visits
        np.testing.assert_array_equal(result.visit_counts[row], visits)
        assert result.value[row] == pytest.approx(root.value, abs=1e-5)
        if isinstance(rule, reference.Gumbel):
            scores = root.logits + rule.completed(root)
            policy = reference.softmax(scores)
            np.testing.assert_allclose(result.policy[row], policy, rtol=1e-3, atol=1e-6)
            finalists = np.where(visits == visits.max(), scores, -np.inf)
            assert result.action[row] == finalists.argmax()
        else:
            assert result.action[row] == visits.argmax()


@pytest.mark.parametrize("kind", KINDS)
def test_afterstates_with_one_outcome_cost_no_simulations(kind: str) -> None:
    """Then the visits are those of a search in the deterministic model that they make together."""
    plain = TableModel(num_actions=6, seed=5)
    model = ChanceTableModel(num_actions=6, num_outcomes=3, seed=0, num_states=64)
    model.value, model.logits = plain.value, plain.logits
    model.probabilities[:] = 0.0
    certain = np.random.default_rng(1).integers(3, size=plain.reward.shape)
    edges = (*np.indices(plain.reward.shape), certain)
    model.probabilities[edges] = 1.0
    model.next_state[edges] = plain.next_state
    model.reward[edges] = plain.reward
    model.discount[edges] = plain.discount
    model.action_reward[:] = 0.0
    model.action_discount[:] = 1.0
    found = [
        run(make_search(kind, num_actions=6, num_simulations=60, backup=backup), one, np.arange(16))
        for one, backup in ((plain, "worst"), (model, "expectation"), (model, "worst"))
    ]
    for result in found[1:]:
        np.testing.assert_array_equal(result.visit_counts, found[0].visit_counts)
        np.testing.assert_array_equal(result.action, found[0].action)
        np.testing.assert_allclose(result.value, found[0].value, rtol=1e-5, atol=1e-6)
        for ours, theirs in zip(result.statistics, found[0].statistics, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def gamble(**outcomes: list[tuple[float, float]]) -> ChanceTableModel:
    """Return one decision among gambles, each a list of (probability, reward), and then the end."""
    most = max(len(gamble) for gamble in outcomes.values())
    count = len(outcomes)
    model = ChanceTableModel(num_actions=count, num_outcomes=most, seed=0, num_states=2)
    model.next_state[:] = 1
    model.value[:] = 0.0
    model.logits[:] = 0.0
    model.reward[:] = model.discount[:] = model.probabilities[:] = model.action_reward[:] = 0.0
    model.action_discount[:] = 1.0
    model.probabilities[1, :, 0] = 1.0
    for action, one in enumerate(outcomes.values()):
        for outcome, (probability, reward) in enumerate(one):
            model.probabilities[0, action, outcome] = probability
            model.reward[0, action, outcome] = reward
    return model


def outcome_visits(search: PUCTSearch | GumbelSearch, num_outcomes: int) -> list[int]:
    """Return the visits ``[C]`` of the outcomes of the root's newest action."""
    nodes = search.last_tree().nodes[0]
    counts = [0] * num_outcomes
    child = int(nodes[nodes[0]["first_child"]]["first_child"])
    while child >= 0:
        counts[int(nodes[child]["action"])] = int(nodes[child]["visits"])
        child = int(nodes[child]["next_sibling"])
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_the_expectation_and_the_worst_case_choose_differently(kind: str) -> None:
    """The likeliest outcome speaks for the second action, the mean for the third."""
    model = gamble(
        safe=[(1.0, 1.0)],
        tempting=[(0.6, 2.0), (0.4, -10.0)],
        risky=[(0.9, 3.0), (0.1, -5.0)],
    )
    options = {"first_play": "parent"} if kind == "puct" else {}
    for backup, best, value in (("expectation", 2, 2.2), ("worst", 0, 1.0)):
        search = make_search(kind, num_actions=3, num_simulations=120, backup=backup, **options)
        result = run(search, model, [0])
        assert result.action[0] == best
        nodes = search.last_tree().nodes[0]
        tried = nodes[(nodes["parent"] == 0) & (nodes["visits"] > 0)]
        q = {int(node["action"]): node["edge_value"] for node in tried}
        assert q[best] == pytest.approx(value)
        assert max(q, key=lambda action: q[action]) == best


def test_visits_of_outcomes_by_hand() -> None:
    """Those of the mean keep to the probabilities, those of the worst case go where it is."""
    model = gamble(only=[(0.5, 0.0), (0.3, -2.0), (0.2, 1.0)])
    expected = {
        # 0.5, 0.3, then 0.5 / 2 before 0.2 ...: as near to the shares as whole numbers come
        "expectation": {1: [1, 0, 0], 2: [1, 1, 0], 3: [2, 1, 0], 4: [2, 1, 1], 10: [5, 3, 2]},
        # each once, then in turn the worst and the least visited
        "worst": {1: [1, 0, 0], 2: [1, 1, 0], 3: [1, 1, 1], 4: [1, 2, 1], 5: [1, 3, 1]},
    }
    expected["worst"] |= {6: [2, 3, 1], 7: [2, 4, 1], 8: [2, 4, 2], 20: [5, 10, 5]}
    for backup, cases in expected.items():
        for simulations, visits in cases.items():
            search = make_search(
                "gumbel", num_actions=1, num_simulations=simulations, backup=backup
            )
            result = run(search, model, [0])
            assert outcome_visits(search, 3) == visits, (backup, simulations)
            seen = np.array(visits) > 0
            p, r = model.probabilities[0, 0][seen], model.reward[0, 0][seen]
            q = r.min() if backup == "worst" else (p * r).sum() / p.sum()
            assert result.value[0] == pytest.approx(simulations * q / (1 + simulations), abs=1e-6)


@pytest.mark.parametrize("backup", BACKUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_best_action_of_small_decision_processes(kind: str, backup: str) -> None:
    """By value iteration; leaves have the right values, priors know nothing."""
    options = {"first_play": "parent"} if kind == "puct" else {}
    search = make_search(kind, num_actions=3, num_simulations=250, backup=backup, **options)
    tried = 0
    for seed in range(6):
        model = ChanceTableModel(num_actions=3, num_outcomes=3, seed=seed, num_states=20)
        model.discount *= 0.6
        model.logits[:] = 0.0
        quality = model.solve(worst=backup == "worst")
        model.value[:] = quality.max(axis=1)
        ranked = np.sort(quality, axis=1)
        states = np.flatnonzero(ranked[:, -1] - ranked[:, -2] > 0.5)
        result = run(search, model, states)
        np.testing.assert_array_equal(result.action, quality.argmax(axis=1)[states])
        tried += len(states)
    assert tried > 40


@pytest.mark.parametrize("backup", BACKUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_repeat_alone_among_others_and_pickled(kind: str, backup: str) -> None:
    """To the last bit, noise included; also after a search of another shape, without chance."""
    model = ChanceTableModel(num_actions=9, num_outcomes=4, seed=3)
    mask = every_kind_of_mask(np.random.default_rng(0), 8, 9)
    search = make_search(kind, num_actions=9, num_simulations=30, backup=backup)

    def found(search: PUCTSearch | GumbelSearch, rows: list[int]) -> list[np.ndarray]:
        rng = [np.random.default_rng([4, row]) for row in rows]
        result = run(search, model, rows, mask[rows], rng=rng, explore=True)
        return [result.visit_counts, result.policy, result.value, result.action]

    together = found(search, list(range(8)))
    for rows in ([3], [6, 1, 1], [7, 6, 5, 4, 3, 2, 1, 0]):
        for one, all_ in zip(found(search, rows), together, strict=True):
            np.testing.assert_array_equal(one, all_[rows])
    run(search, TableModel(num_actions=9, seed=0), np.arange(8))
    again = pickle.loads(pickle.dumps(search))
    for one, first in zip(found(again, list(range(8))), together, strict=True):
        np.testing.assert_array_equal(one, first)
    assert (together[0].sum(axis=1) == 30).all() and not together[0][mask == 0].any()
    assert not together[1][mask == 0].any()


@pytest.mark.slow
def test_outcomes_are_visited_as_in_mctx() -> None:
    """One action: then all that mctx's stochastic search chooses are the outcomes.

    Elsewhere it plans otherwise: it spends a simulation on each afterstate and weighs by visits.
    """
    installed = importlib.util.find_spec("mctx") is not None
    skip_without("" if installed else "compares with mctx: pip install '.[test]'")
    simulations = 60
    rows, count = 24, 6
    model = ChanceTableModel(num_actions=1, num_outcomes=count, seed=8, num_states=rows)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        # its first simulation ends at the afterstate
        theirs = pool.submit(
            mctx_process.outcome_visits, model.probabilities[:, 0], num_simulations=1 + simulations
        ).result()
    search = make_search("puct", num_actions=1, num_simulations=simulations, backup="expectation")
    run(search, model, np.arange(rows))
    nodes = search.last_tree().nodes
    ours = np.zeros((rows, count), np.int64)
    for row in range(rows):
        for node in nodes[row, 1 : 1 + simulations]:
            if node["parent"] == 1 + simulations:
                ours[row, node["action"]] = node["visits"]
    assert (ours.sum(axis=1) == simulations).all()
    np.testing.assert_array_equal(ours, theirs)


# ------------------------------------------------------------------------------- wrong answers


class Breaking(ChanceTableModel):
    """Returns ``change(afterstates)`` at the second call for afterstates."""

    def __init__(self, change: Callable[[Afterstates], Afterstates]):
        super().__init__(num_actions=4, num_outcomes=3, seed=0)
        self.change = change
        self.calls = 0

    def afterstate(self, *args: Any) -> Afterstates:
        self.calls += 1
        after = super().afterstate(*args)
        return self.change(after) if self.calls == 2 else after


def written(head: str, number: float) -> Callable[[Afterstates], Afterstates]:
    """Return what writes ``number`` into the last row of a head."""

    def change(after: Afterstates) -> Afterstates:
        array = getattr(after, head).copy()
        array[-1, ...] = number
        return after._replace(**{head: array})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (written("reward", np.nan), r"reward of an afterstate is not finite in row 2"),
        (written("discount", np.inf), r"discount of an afterstate is not finite in row 2"),
        (
            written("probabilities", np.nan),
            r"probabilities of an afterstate is not finite in row 2",
        ),
        (written("probabilities", 0.0), r"row 2 are \[0. 0. 0.\], sum 0; expected .* a sum of 1"),
        (written("probabilities", -1.0), r"row 2 are .* expected none below 0"),
        (written("probabilities", 0.5), r"sum 1.5; expected none below 0, and a sum of 1"),
        (
            lambda after: after._replace(probabilities=after.probabilities[:, :2]),
            r"probabilities of shape \(3, 2\) for afterstates, expected \(3, 3\)",
        ),
        (lambda after: after._replace(states=after.states[:1]), "1 afterstates for 3 actions"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_afterstates_are_named(
    kind: str, change: Callable[[Afterstates], Afterstates], message: str
) -> None:
    search = make_search(kind, num_actions=4, num_simulations=6, backup="expectation")
    with pytest.raises(ValueError, match=message):
        run(search, Breaking(change), np.arange(3), explore=True)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_options_are_named(kind: str) -> None:
    with pytest.raises(ValueError, match="unknown chance_backup 'worse'; did you mean 'worst'"):
        make_search(kind, num_actions=4, num_simulations=6, backup="worse")
    model = ChanceTableModel(num_actions=4, num_outcomes=3, seed=0)
    model.num_outcomes = 0
    search = make_search(kind, num_actions=4, num_simulations=6, backup="worst")
    with pytest.raises(ValueError, match=r"num_outcomes of the model must be .* at least 1, got 0"):
        run(search, model, np.arange(3))
