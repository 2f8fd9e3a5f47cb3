"""A sum tree in one flat array: weighted sampling and updates in O(log N) passes."""

from __future__ import annotations

import numpy as np

from powergrid_muzero.copies import Copyable


class SumTree(Copyable):
    """Non-negative weights of N leaves, ``16 N`` bytes where N is a power of two.

    Node 1 is the root, node i has children 2i and 2i + 1. Parents are added up anew from their
    children, so rounding does not drift.
    """

    def __init__(self, num_leaves: int) -> None:
        self.num_leaves = num_leaves
        self.depth = max(num_leaves - 1, 1).bit_length()
        self._base = 1 << self.depth
        self._nodes = np.zeros(2 * self._base, dtype=np.float64)

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self._nodes[1])

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return self._nodes.nbytes

    @property
    def leaves(self) -> np.ndarray:
        """Weights ``[N]`` float64, a view; change them with ``set``."""
        return self._nodes[self._base : self._base + self.num_leaves]

    def set(self, leaves: np.ndarray, weights: np.ndarray | float) -> None:
        """Give ``leaves [n]`` new ``weights``; of a leaf named twice the last one counts."""
        nodes = leaves + self._base
        self._nodes[nodes] = weights
        for _ in range(self.depth):
            nodes = nodes >> 1
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def draw(self, shares: np.ndarray) -> np.ndarray:
        """Return the leaves ``[n]`` int64 at ``shares [n]`` in [0, 1) of the total weight."""
        remaining = shares * self._nodes[1]
        nodes = np.ones(len(shares), dtype=np.int64)
        for _ in range(self.depth):
            left = self._nodes[2 * nodes]
            # The second condition keeps rounding from leading to a leaf without weight.
            right = (remaining >= left) & (self._nodes[2 * nodes + 1] > 0.0)
            remaining = np.where(right, remaining - left, remaining)
            nodes = 2 * nodes + right
        return nodes - self._base
