"""Going on from the subtree that the last decision led to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from agents.muzero.search import GumbelSearch
from agents.muzero.search import PUCTSearch
from agents.muzero.search.gumbel import considered_visits
from agents.muzero.search.tree import NO_NODE
from agents.muzero.search.tree import Tree
from tests.muzero.cartpole import FACTORY
from tests.muzero.cartpole import Memory
from tests.muzero.cartpole import assert_same_weights
from tests.muzero.cartpole import make_agent
from tests.muzero.cartpole import make_run
from tests.muzero.cartpole import weights
from tests.muzero.search_reference import TableModel

SIMULATIONS = 20
ACTIONS = 9
SEARCHES = {
    "puct": lambda **options: PUCTSearch(
        num_simulations=SIMULATIONS, first_play="parent", **options
    ),
    "gumbel": lambda **options: GumbelSearch(
        num_simulations=SIMULATIONS, max_considered=4, **options
    ),
}


@pytest.fixture(params=SEARCHES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model() -> TableModel:
    return TableModel(num_actions=ACTIONS, seed=3)


def check_tree(tree: Tree, b: int, model: TableModel, mask: np.ndarray) -> None:
    """What holds of every tree, kept nodes or not."""
    nodes = tree.nodes[b]
    used = [0]
    for node in used:
        children = []
        child = nodes[node]["first_child"]
        while child != NO_NODE:
            assert nodes[child]["parent"] == node
            assert nodes[child]["depth"] == nodes[node]["depth"] + 1
            children.append(int(child))
            child = nodes[child]["next_sibling"]
        taken = {int(nodes[child]["action"]) for child in children}
        assert len(taken) == len(children)
        assert sum(int(nodes[child]["visits"]) for child in children) <= nodes[node]["visits"]
        priors = tree.priors[node, b]
        illegal = set(np.flatnonzero(mask == 0)) if node == 0 else set()
        assert set(np.flatnonzero(priors < 0)) == taken | illegal
        free = np.flatnonzero(priors >= 0)
        expected = free[priors[free].argmax()] if len(free) else -1
        assert nodes[node]["best_unvisited"] == expected
        used += children
    grown = nodes[[node for node in used if node > 0]]
    assert (grown["visits"] > 0).all()
    assert tree.lowest[b] <= grown["edge_value"].min()  # of all that was seen on the way
    assert tree.highest[b] >= grown["edge_value"].max()


def children_of(tree: Tree, b: int, node: int) -> dict[int, tuple[int, float]]:
    """Visits and r + discount V by action."""
    nodes, found = tree.nodes[b], {}
    child = nodes[node]["first_child"]
    while child != NO_NODE:
        record = nodes[child]
        found[int(record["action"])] = (int(record["visits"]), float(record["edge_value"]))
        child = record["next_sibling"]
    return found


def test_the_new_root_starts_with_what_was_known_below_the_action(
    kind: str, model: TableModel
) -> None:
    search = SEARCHES[kind](reuse_subtree=True)
    rng = np.random.default_rng(0)
    roots = np.arange(6)
    mask = np.ones((6, ACTIONS), np.int8)
    first = search.run(model, roots, mask, rng, explore=False)
    before = Tree(*(array.copy() for array in search.last_tree()))
    known = [
        children_of(
            before,
            b,
            next(
                node
                for node in range(1, SIMULATIONS + 1)
                if before.nodes[b, node]["parent"] == 0
                and before.nodes[b, node]["action"] == first.action[b]
            ),
        )
        for b in range(6)
    ]
    assert any(known)
    moved = model.next_state[roots, first.action]
    second = search.run(model, moved, mask, rng, explore=False, continues=np.arange(6))
    tree = search.last_tree()
    for b in range(6):
        check_tree(tree, b, model, mask[b])
        inherited = sum(visits for visits, _ in known[b].values())
        assert second.visit_counts[b].sum() == SIMULATIONS + inherited
        for action, (visits, _) in known[b].items():
            assert second.visit_counts[b, action] >= visits
        # the state of every kept node is its own: the model was asked with the right ones
        for node in range(1, SIMULATIONS + 1):
            record = tree.nodes[b, node]
            if record["parent"] > SIMULATIONS:
                assert record["raw_value"] in model.value


def test_rewards_and_values_below_kept_nodes_are_the_models(kind: str, model: TableModel) -> None:
    """Follows every path of the tree through the tables: a wrong state would show."""
    search = SEARCHES[kind](reuse_subtree=True)
    rng = np.random.default_rng(1)
    states = np.arange(5)
    mask = np.ones((5, ACTIONS), np.int8)
    continues = None
    for _ in range(6):
        result = search.run(model, states, mask, rng, continues=continues)
        tree = search.last_tree()
        for b in range(5):
            check_tree(tree, b, model, mask[b])
            state_of = {0: int(states[b])}
            order = np.argsort(tree.nodes[b]["depth"], kind="stable")
            for node in order.tolist():
                record = tree.nodes[b, node]
                if node == 0 or record["visits"] == 0:
                    continue
                state = state_of[int(record["parent"])]
                assert record["reward"] == model.reward[state, record["action"]]
                state_of[node] = int(model.next_state[state, record["action"]])
                assert record["raw_value"] == model.value[state_of[node]]
        states = model.next_state[states, result.action]
        continues = np.arange(5)


def test_rows_that_start_anew_are_as_without_the_option(kind: str, model: TableModel) -> None:
    search, plain = SEARCHES[kind](reuse_subtree=True), SEARCHES[kind]()
    roots = np.arange(4)
    mask = np.ones((4, ACTIONS), np.int8)
    result = search.run(model, roots, mask, np.random.default_rng(0))
    expected = plain.run(model, roots, mask, np.random.default_rng(0))
    assert (result.visit_counts == expected.visit_counts).all()
    moved = model.next_state[roots, result.action]
    continues = np.array([2, -1, -1, 0])
    again = search.run(model, moved, mask, np.random.default_rng(5), continues=continues)
    fresh = plain.run(model, moved, mask, np.random.default_rng(5))
    for b in (1, 2):
        assert (again.visit_counts[b] == fresh.visit_counts[b]).all()
        assert (again.policy[b] == fresh.policy[b]).all()
        assert again.value[b] == fresh.value[b]


def test_rows_may_move_and_their_number_may_change(kind: str, model: TableModel) -> None:
    """As in an evaluation whose episodes end one after the other."""
    search, other = SEARCHES[kind](reuse_subtree=True), SEARCHES[kind](reuse_subtree=True)
    states = np.arange(5)
    mask = np.ones((5, ACTIONS), np.int8)
    result = search.run(model, states, mask, np.random.default_rng(0), explore=False)
    other.run(model, states[[3]], mask[[3]], np.random.default_rng(0), explore=False)
    moved = model.next_state[states, result.action]
    few = search.run(
        model,
        moved[[1, 3]],
        mask[:2],
        np.random.default_rng(0),
        explore=False,
        continues=np.array([1, 3]),
    )
    one = other.run(
        model,
        moved[[3]],
        mask[:1],
        np.random.default_rng(0),
        explore=False,
        continues=np.array([0]),
    )
    assert (few.visit_counts[1] == one.visit_counts[0]).all()
    assert few.value[1] == one.value[0]


def test_an_action_that_became_illegal_is_left_behind(kind: str, model: TableModel) -> None:
    search = SEARCHES[kind](reuse_subtree=True)
    mask = np.ones((3, ACTIONS), np.int8)
    roots = np.arange(3)
    for _ in range(3):  # until something is known below the choice
        result = search.run(model, roots, mask, np.random.default_rng(0), explore=False)
    moved = model.next_state[roots, result.action]
    known = search.run(
        model, moved, mask, np.random.default_rng(0), explore=False, continues=np.arange(3)
    )
    banned = known.visit_counts.argmax(axis=1)
    search.run(model, roots, mask, np.random.default_rng(0), explore=False)
    mask[np.arange(3), banned] = 0
    result = search.run(
        model, moved, mask, np.random.default_rng(0), explore=False, continues=np.arange(3)
    )
    assert (result.visit_counts[np.arange(3), banned] == 0).all()
    assert (result.policy[np.arange(3), banned] == 0).all()
    for b in range(3):
        check_tree(search.last_tree(), b, model, mask[b])


def test_a_long_line_of_play_stays_within_its_room() -> None:
    """PUCT with flat priors puts all visits on one line, and would keep ever more of it."""
    model = TableModel(num_actions=2, seed=0, num_states=8)
    model.logits[:] = 0
    search = PUCTSearch(num_simulations=SIMULATIONS, reuse_subtree=True)
    states, continues = np.zeros(1, np.int64), None
    mask = np.ones((1, 2), np.int8)
    for _ in range(12):
        result = search.run(
            model, states, mask, np.random.default_rng(0), explore=False, continues=continues
        )
        tree = search.last_tree()
        assert tree.nodes.shape == (1, 1 + 2 * SIMULATIONS)
        check_tree(tree, 0, model, mask[0])
        states = model.next_state[states, result.action]
        continues = np.zeros(1, np.int64)
    assert result.visit_counts.sum() > 2 * SIMULATIONS


def test_sequential_halving_counts_new_visits_alone(model: TableModel) -> None:
    search = SEARCHES["gumbel"](reuse_subtree=True)
    roots = np.arange(4)
    mask = np.ones((4, ACTIONS), np.int8)
    result = search.run(model, roots, mask, np.random.default_rng(0))
    moved = model.next_state[roots, result.action]
    search.run(model, moved, mask, np.random.default_rng(1), continues=np.arange(4))
    nodes = search.last_tree().nodes
    schedule = considered_visits(4, SIMULATIONS)
    for b in range(4):
        children = nodes[b][(nodes[b]["parent"] == 0) & (nodes[b]["visits"] > 0)]
        new = np.sort(children["visits"] - children["inherited"])[::-1]
        counts = [0, 0, 0, 0]
        for wanted in schedule.tolist():
            counts[counts.index(wanted)] += 1
        assert new[:4].tolist() == sorted(counts, reverse=True)
        assert (new[4:] == 0).all()


@pytest.mark.parametrize(
    ("continues", "message"),
    [
        (np.zeros(3, np.int64), "continues has shape (3,); expected (2,)"),
        (np.array([0, 2]), "row 1 of continues is 2, but the last search had 2 rows"),
        (np.array([-2, 0]), "row 0 of continues is -2"),
    ],
)
def test_rows_that_are_none_are_named(
    kind: str, model: TableModel, continues: np.ndarray, message: str
) -> None:
    search = SEARCHES[kind](reuse_subtree=True)
    mask = np.ones((2, ACTIONS), np.int8)
    search.run(model, np.arange(2), mask, np.random.default_rng(0))
    with pytest.raises(ValueError) as error:
        search.run(model, np.arange(2), mask, np.random.default_rng(0), continues=continues)
    assert message in str(error.value)


def test_nothing_goes_on_from_a_search_that_failed(kind: str, model: TableModel) -> None:
    search, fresh = SEARCHES[kind](reuse_subtree=True), SEARCHES[kind](reuse_subtree=True)
    mask = np.ones((4, ACTIONS), np.int8)
    search.run(model, np.arange(4), mask, np.random.default_rng(0))
    broken = TableModel(num_actions=ACTIONS, seed=3)
    broken.value[broken.next_state[:2]] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        search.run(broken, np.arange(2), mask[:2], np.random.default_rng(0))
    with pytest.raises(ValueError, match="but the last search had 0 rows"):
        search.run(model, np.arange(4), mask, np.random.default_rng(0), continues=np.arange(4))
    anew = np.full(4, -1)
    again = search.run(model, np.arange(4), mask, np.random.default_rng(1), continues=anew)
    expected = fresh.run(model, np.arange(4), mask, np.random.default_rng(1))
    assert (again.visit_counts == expected.visit_counts).all()


def test_it_is_off_by_default(kind: str, model: TableModel) -> None:
    search = SEARCHES[kind]()
    mask = np.ones((2, ACTIONS), np.int8)
    search.run(model, np.arange(2), mask, np.random.default_rng(0))
    with pytest.raises(ValueError, match="reuse_subtree=true"):
        search.run(model, np.arange(2), mask, np.random.default_rng(0), continues=np.arange(2))


def test_training_repeats_and_resumes_exactly(tmp_path: Path) -> None:
    """No tree outlasts a round, so an interrupted run goes on as if it never stopped."""
    whole = make_agent(reuse_subtree=True)
    whole.train(make_run(tmp_path))
    plain = make_agent()
    plain.train(make_run(tmp_path))
    assert any(not torch.equal(now, weights(plain)[name]) for name, now in weights(whole).items())
    store = Memory()
    make_agent(reuse_subtree=True).train(make_run(tmp_path, total_env_steps=120, checkpoints=store))
    resumed = make_agent(reuse_subtree=True)
    resumed.train(make_run(tmp_path, checkpoints=store))
    assert_same_weights(whole, resumed)


def test_the_agent_goes_on_per_environment_and_starts_anew_after_an_end() -> None:
    agent = make_agent(reuse_subtree=True)
    env = FACTORY(3)
    observations, infos = env.reset(seed=0)
    agent.bind(env)
    kept = []

    def act(active: list[bool] | None = None) -> np.ndarray:
        rows = None if active is None else np.array(active)
        actions = agent.act(observations, infos, rows)
        kept.append([int(record.num_simulations) for record in agent.explain().values()])
        return actions

    observations, _, _, _, infos = env.step(act())
    act([True, False, True])
    act()  # environment 1 was not searched last time
    infos = {"_final_obs": np.array([True, True, True])}
    act()
    env.close()
    assert kept[0] == [4, 4, 4]
    assert kept[1] > [4, 4]
    assert kept[2][1] == 4 and kept[2][0] > 4 and kept[2][2] > 4
    assert kept[3] == [4, 4, 4]
