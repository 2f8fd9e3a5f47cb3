"""What searches are made of: the compiled softmax, the trees' memory, the rows' random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from agents.muzero.search import GumbelSearch, PUCTSearch, noise
from agents.muzero.search.tree import NODE, Tree, highest, softmax_row
from tests.muzero.search_reference import TableModel


@pytest.mark.parametrize("num_actions", [1, 2, 7, 8, 31, 487])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_softmax_is_as_accurate_as_float32_allows(num_actions: int, scale: float) -> None:
    rng = np.random.default_rng(num_actions)
    for _ in range(20):
        logits = (scale * rng.normal(size=num_actions)).astype(np.float32)
        out = np.empty(num_actions, np.float32)
        top = softmax_row(logits, out)
        exact = torch.softmax(torch.from_numpy(logits).double(), 0).numpy()
        # x - max is rounded to float32 before the exponential, here as in torch
        rounding = 1e-6 + 1.2e-7 * np.abs(logits - logits.max())
        assert (np.abs(out - exact) <= rounding * exact + 1e-37).all()
        assert top == out.max() == out[logits.argmax()]


def test_softmax_of_equal_logits_is_equal_and_of_very_low_ones_is_zero() -> None:
    logits = np.array([2.0, -1e9, 2.0, -3e38, 2.0], np.float32)
    out = np.empty(5, np.float32)
    softmax_row(logits, out)
    assert out[0] == out[2] == out[4] == pytest.approx(1 / 3)
    assert out[1] == out[3] == 0.0


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 5, 486])
def test_softmax_says_what_is_not_finite(wrong: float, place: int) -> None:
    logits = np.zeros(487, np.float32)
    logits[place] = wrong
    assert np.isnan(softmax_row(logits, np.empty(487, np.float32)))


def test_highest_is_argmax_the_first_of_equals() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 9, 487):
        for _ in range(30):
            numbers = rng.choice(np.array([-np.inf, -2.5, -0.0, 1e-40, 3.0], np.float32), size)
            numbers[numbers == 0] = 0.0  # -0.0 has other bits
            assert highest(numbers) == numbers.argmax()


def test_memory_is_what_the_docstring_says() -> None:
    B, A, S = 256, 487, 75
    tree = Tree.allocate(B, S + 1, A)
    assert NODE.itemsize == 64
    assert sum(array.nbytes for array in tree) == B * (S + 1) * (4 * A + 64) + 16 * B
    assert B * (S + 1) * (4 * A + 64 + 4 * 256) < 60 * 2**20


@pytest.mark.parametrize(
    "search",
    [PUCTSearch(num_simulations=3), GumbelSearch(num_simulations=3, max_considered=4)],
    ids=["puct", "gumbel"],
)
def test_one_generators_rows_do_not_depend_on_how_many_follow(
    search: PUCTSearch | GumbelSearch,
) -> None:
    model = TableModel(num_actions=9, seed=0)
    mask = np.ones((6, 9), np.int8)
    many = search.run(model, np.arange(6), mask, np.random.default_rng(4))
    few = search.run(model, np.arange(2), mask[:2], np.random.default_rng(4))
    assert (many.visit_counts[:2] == few.visit_counts).all()
    assert (many.action[:2] == few.action).all()


def test_noise_has_its_distribution() -> None:
    rng = np.random.default_rng(0)
    gumbel = noise.gumbel(rng, 200, 50)
    assert stats.kstest(gumbel.ravel(), stats.gumbel_r.cdf).pvalue > 0.01
    legal = np.ones((4000, 5), bool)
    legal[:, 3] = False
    dirichlet = noise.dirichlet(rng, legal, 0.3)
    assert (dirichlet[:, 3] == 0).all()
    np.testing.assert_allclose(dirichlet.sum(axis=1), 1.0, rtol=1e-5)
    # a component of a Dirichlet draw is beta distributed; float32 rounds its smallest to 0
    marginal = np.maximum(dirichlet[:, 1].astype(np.float64), 1e-30)
    assert stats.kstest(marginal, stats.beta(0.3, 0.9).cdf).pvalue > 0.01
    assert stats.kstest(noise.uniform(rng, 2000), stats.uniform.cdf).pvalue > 0.01
