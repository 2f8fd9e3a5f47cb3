"""The door to ``mctx_searches``, which must stay in a process of its own.

JAX starts threads, which a fork does not survive, and brings absl, whose logging handler closes the
streams of tests when logging is set up again. So nothing here imports either.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Tables(NamedTuple):
    """A ``TableModel`` without its class: S states, A actions."""

    value: np.ndarray  # [S] float32
    reward: np.ndarray  # [S, A] float32
    discount: np.ndarray  # [S, A] float32
    logits: np.ndarray  # [S, A] float32
    next_state: np.ndarray  # [S, A] int64


class MctxTree(NamedTuple):
    """B trees of N nodes, in order of the simulations; the root is node 0."""

    parent: np.ndarray  # [B, N] int32; -1 for the root
    action: np.ndarray  # [B, N] int32, of the edge into the node; -1 for the root
    visits: np.ndarray  # [B, N] int32
    value: np.ndarray  # [B, N] float32, mean return
    q: (
        np.ndarray
    )  # [B, N] float32, reward + discount * value of the edge into the node; 0 for the root


class MctxResult(NamedTuple):
    """What mctx says of B roots."""

    visit_counts: np.ndarray  # [B, A] int32
    value: np.ndarray  # [B] float32, of the root after the search
    weights: np.ndarray  # [B, A] float32, mctx's action weights: the learner's target
    action: np.ndarray  # [B] int32, mctx's choice; of puct one of the most visited
    tree: MctxTree


def search(*args: Any, **options: Any) -> MctxResult:
    """Return ``mctx_searches.search(...)``; to be called in the other process."""
    from tests.muzero import mctx_searches

    return mctx_searches.search(*args, **options)


def outcome_visits(*args: Any, **options: Any) -> np.ndarray:
    """Return ``mctx_searches.outcome_visits(...)``; to be called in the other process."""
    from tests.muzero import mctx_searches

    return mctx_searches.outcome_visits(*args, **options)
