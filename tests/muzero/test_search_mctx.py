"""Both searches against DeepMind's mctx on hundreds of random problems, ties among them.

mctx calculates in float32 and these searches partly in float64, so a problem in which two scores
agree to seven digits may end differently. The seeds leave out such problems: each one's result is
the same when its tables are disturbed by a millionth.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from agents.muzero.search import GumbelSearch, PUCTSearch, SearchResult
from agents.muzero.search.tree import Tree
from tests.conftest import skip_without
from tests.muzero import mctx_process
from tests.muzero.search_reference import TableModel, every_kind_of_mask

# mctx is compiled anew for each of these, for seconds; hence many problems in one size, and the
# others in `make test-slow`. Searches as narrow and as wide meet plain references of ours anyway.
SIZES = [  # actions, simulations
    (20, 32),
    *(
        pytest.param(*size, marks=pytest.mark.slow)
        for size in ((2, 1), (7, 50), (20, 128), (487, 32))
    ),
]
DISCOUNTS = [0.9, 1.0, -1.0, -0.7]  # a negative one is a game of two players
ROWS = 16
STATES = 32

MctxSearch = Callable[..., Any]
Problem = tuple[TableModel, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def mctx_search() -> Iterator[MctxSearch]:
    """``mctx_searches.search`` in another process, because JAX must not be forked."""
    installed = importlib.util.find_spec("mctx") is not None
    skip_without("" if installed else "compares with mctx: pip install '.[test]'")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:

        def search(kind: str, model: TableModel, *args: Any, **options: Any) -> Any:
            tables = mctx_process.Tables(
                *(getattr(model, name) for name in mctx_process.Tables._fields)
            )
            return pool.submit(mctx_process.search, kind, tables, *args, **options).result()

        yield search


def problems(num_actions: int, seed: int) -> Problem:
    """Return (model, roots, mask): ROWS unconnected random problems in one model.

    Values and rewards are of every size from 0.01 to 100, some shifted to one sign; priors range
    from flat to peaked.
    """
    rng = np.random.default_rng([seed, num_actions])
    models = []
    for _ in range(ROWS):
        scale = 10.0 ** rng.uniform(-2, 2)
        model = TableModel(
            num_actions=num_actions,
            seed=int(rng.integers(2**31)),
            num_states=STATES,
            scale=scale,
        )
        model.logits *= np.float32(rng.uniform(0.1, 4.0))
        model.value += np.float32(scale * rng.choice([-2.0, 0.0, 2.0]))
        model.reward += np.float32(scale * rng.choice([-2.0, 0.0, 2.0]))
        models.append(model)
    mask = every_kind_of_mask(rng, ROWS, num_actions)
    return TableModel.joined(models), np.arange(ROWS) * STATES, mask


def search(
    kind: str,
    model: TableModel,
    roots: np.ndarray,
    mask: np.ndarray,
    *,
    num_simulations: int,
    max_considered: int = 1,
) -> tuple[SearchResult, Tree]:
    """Plan as ``mctx_searches.search`` does, with mctx's normalisation."""
    planner: PUCTSearch | GumbelSearch
    if kind == "puct":
        planner = PUCTSearch(
            num_simulations=num_simulations, normalization="siblings", initial_root_visits=1
        )
    else:
        raw = kind == "gumbel-raw"
        planner = GumbelSearch(
            num_simulations=num_simulations,
            max_considered=max_considered,
            normalization="none" if raw else "siblings",
        )
    result = planner.run(model, roots, mask, np.random.default_rng(0), explore=False)
    return result, planner.last_tree()


def assert_same(
    kind: str, ours: tuple[SearchResult, Tree], theirs: mctx_process.MctxResult, size: np.ndarray
) -> None:
    """Compare row by row, node by node; ``size [B]`` is the scale that a row's values round at."""
    result, tree = ours
    np.testing.assert_array_equal(result.visit_counts, theirs.visit_counts)
    np.testing.assert_array_less(np.abs(result.value - theirs.value), 1e-6 * size)
    np.testing.assert_allclose(result.policy, theirs.weights, rtol=1e-4, atol=1e-6)
    if kind != "puct":  # puct's is one of the most visited, drawn at random by mctx
        np.testing.assert_array_equal(result.action, theirs.action)
    nodes = tree.nodes
    for name in ("parent", "action", "visits"):
        np.testing.assert_array_equal(nodes[name], getattr(theirs.tree, name), err_msg=name)
    values = nodes["value_sum"] / nodes["visits"]
    for found, expected in ((values, theirs.tree.value), (nodes["edge_value"], theirs.tree.q)):
        np.testing.assert_array_less(np.abs(found - expected) / size[:, None], 2e-6)


def magnitude(model: TableModel, roots: np.ndarray) -> np.ndarray:
    """Return ``[B]``: the largest value or reward of each row's own states."""
    rows = roots[:, None] + np.arange(STATES)
    return np.maximum(
        np.abs(model.value[rows]).max(axis=1), np.abs(model.reward[rows]).max(axis=(1, 2))
    )


def compare(mctx_search: MctxSearch, kind: str, problem: Problem, num_simulations: int) -> None:
    """Search here and there."""
    model, roots, mask = problem
    options = {"num_simulations": num_simulations}
    if kind != "puct":
        options["max_considered"] = min(model.num_actions, 16)
    ours = search(kind, model, roots, mask, **options)
    theirs = mctx_search(kind, model, roots, mask, **options)
    # Returns add up to as many rewards as the tree is deep.
    depth = 1 + ours[0].statistics.depth
    assert_same(kind, ours, theirs, (1e-6 + magnitude(model, roots)) * depth)


@pytest.mark.parametrize(("num_actions", "num_simulations"), SIZES)
@pytest.mark.parametrize("kind", ["puct", "gumbel", "gumbel-raw"])
def test_random_problems_end_as_in_mctx(
    mctx_search: MctxSearch, kind: str, num_actions: int, num_simulations: int
) -> None:
    """Visits, root values, targets, gumbel's choice and whole trees agree."""
    for number, discount in enumerate(DISCOUNTS):
        problem = problems(num_actions, seed=number)
        problem[0].discount[:] = discount
        compare(mctx_search, kind, problem, num_simulations)


def endings(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """0.9, and an end on three edges in ten."""
    return np.where(rng.random(shape) < 0.3, 0.0, 0.9)


def durations(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """0.999 to the power of 1 to 2000 steps, and an end on one edge in ten."""
    steps = np.exp(rng.uniform(0.0, np.log(2000.0), shape)).round()
    return np.where(rng.random(shape) < 0.1, 0.0, 0.999**steps)


def anything(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """From -1 to 1, a fifth of them 0."""
    return np.where(rng.random(shape) < 0.2, 0.0, rng.uniform(-1.0, 1.0, shape))


@pytest.mark.parametrize("discounts", [endings, durations, anything])
@pytest.mark.parametrize(("num_actions", "num_simulations"), SIZES)
@pytest.mark.parametrize("kind", ["puct", "gumbel", "gumbel-raw"])
def test_every_edge_is_discounted_by_its_own_as_in_mctx(
    mctx_search: MctxSearch,
    kind: str,
    num_actions: int,
    num_simulations: int,
    discounts: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
) -> None:
    problem = problems(num_actions, seed=10)
    model = problem[0]
    model.discount[:] = discounts(np.random.default_rng(num_actions), model.discount.shape)
    compare(mctx_search, kind, problem, num_simulations)


def equal_priors(model: TableModel) -> None:
    model.logits[:] = 0.0


def equal_values(model: TableModel) -> None:
    model.value[:] = 0.0
    model.reward[:] = 0.0


def everything_equal(model: TableModel) -> None:
    equal_priors(model)
    equal_values(model)


def equal_pairs(model: TableModel) -> None:
    """Actions 0 and 1 are the same, and 2 and 3, and so on."""
    for table in (model.logits, model.reward, model.discount, model.next_state):
        table[:, 1::2] = table[:, : 2 * (table.shape[1] // 2) : 2]


@pytest.mark.parametrize("make_ties", [equal_priors, equal_values, everything_equal, equal_pairs])
@pytest.mark.parametrize(("num_actions", "num_simulations"), SIZES)
@pytest.mark.parametrize("kind", ["puct", "gumbel"])
def test_exact_ties_end_as_in_mctx(
    mctx_search: MctxSearch,
    kind: str,
    num_actions: int,
    num_simulations: int,
    make_ties: Callable[[TableModel], None],
) -> None:
    """The lowest of equal actions comes first, here and there."""
    problem = problems(num_actions, seed=100)
    make_ties(problem[0])
    compare(mctx_search, kind, problem, num_simulations)
