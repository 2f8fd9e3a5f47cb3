"""Random numbers for B searches, from one generator or one per row.

Either way the rows are drawn in order and a row takes equally many whatever is legal in it, so
what a row gets does not depend on the rows after it, nor on what the others plan.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Randomness = np.random.Generator | list[np.random.Generator]

_TINY = np.finfo(np.float32).tiny  # in place of draws that were rounded to 0


def uniform(rng: Randomness, num_rows: int) -> np.ndarray:
    """Return ``[B]`` float64 in [0, 1)."""
    return _rows(rng, num_rows, lambda generator, count: generator.random(count))


def gumbel(rng: Randomness, num_rows: int, num_actions: int) -> np.ndarray:
    """Return standard Gumbel noise ``[B, A]`` float32: minus the log of exponential noise."""

    def draw(generator: np.random.Generator, count: int) -> np.ndarray:
        return generator.standard_exponential((count, num_actions), np.float32)

    return -np.log(np.maximum(_rows(rng, num_rows, draw), _TINY))


def dirichlet(rng: Randomness, legal: np.ndarray, alpha: float) -> np.ndarray:
    """Return Dirichlet noise ``[B, A]`` float32 over ``legal [B, A]`` bool, 0 elsewhere.

    Gamma draws, divided by their sum.
    """

    def draw(generator: np.random.Generator, count: int) -> np.ndarray:
        return generator.standard_gamma(alpha, (count, legal.shape[1]), np.float32)

    gamma = np.maximum(_rows(rng, len(legal), draw), _TINY)
    gamma *= legal
    return gamma / gamma.sum(axis=1, keepdims=True)


def split(rng: Randomness) -> tuple[Randomness, Randomness]:
    """Return the randomness of two purposes, so that neither moves the other's rows."""
    if isinstance(rng, np.random.Generator):
        first, second = rng.spawn(2)
        return first, second
    return rng, rng


def _rows(
    rng: Randomness, num_rows: int, draw: Callable[[np.random.Generator, int], np.ndarray]
) -> np.ndarray:
    """Return ``num_rows`` rows of ``draw(generator, rows)``.

    Raises:
        ValueError: another number of generators than of rows.
    """
    if isinstance(rng, np.random.Generator):
        return draw(rng, num_rows)
    if len(rng) != num_rows:
        raise ValueError(f"{len(rng)} generators given for {num_rows} roots; give one per row")
    return np.concatenate([draw(generator, 1) for generator in rng])
