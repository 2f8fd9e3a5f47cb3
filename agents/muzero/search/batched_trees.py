"""B trees grown together: one model call per simulation for all of them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from agents.muzero.search.base import Model, ModelOutput, TreeStatistics
from agents.muzero.search.checks import check_output
from agents.muzero.search.tree import Edges, Leaves, Tree, measure, plant
from powergrid_muzero.copies import Copyable


class Advance(Protocol):
    """The compiled step of a search over all trees."""

    def __call__(self, tree: Tree, edges: Edges, leaves: Leaves, node: int, select: bool) -> int:
        """Grow ``node`` (0: none) at the chosen edges; then, if ``select``, choose the next ones.

        Returns:
            The first row whose leaf is not finite, -1 for none.
        """
        ...


class _Room(Copyable):
    """The arrays of B trees and of their models' states; kept while the shapes last."""

    _rebuilt = ("state_rows", "chosen_states")

    def __init__(self, output: ModelOutput, num_nodes: int) -> None:
        num_roots, num_actions = output.policy_logits.shape
        states = output.states
        self.tree = Tree.allocate(num_roots, num_nodes, num_actions)
        shape = (num_nodes * num_roots, *states.shape[1:])
        self.states = torch.empty(shape, dtype=states.dtype, device=states.device)
        self.edges = Edges(*(np.zeros(num_roots, np.int64) for _ in Edges._fields))
        self._rebuild()

    def _rebuild(self) -> None:
        """See ``Copyable``: make views of the states, and scratch."""
        num_nodes, num_roots, _ = self.tree.priors.shape
        self.state_rows = list(self.states.unflatten(0, (num_nodes, num_roots)))  # N [B, ...]
        self.chosen_states = torch.empty_like(self.state_rows[0])  # of the edges' upper ends

    def fits(self, output: ModelOutput, num_nodes: int) -> bool:
        """Return whether trees of ``num_nodes`` with these roots have room here."""
        num_roots, num_actions = output.policy_logits.shape
        states = output.states
        return (
            self.tree.priors.shape == (num_nodes, num_roots, num_actions)
            and self.states.shape[1:] == states.shape[1:]
            and self.states.dtype == states.dtype
            and self.states.device == states.device
        )


class BatchedTrees(Copyable):
    """B trees and their models' states; the arrays are reused from search to search.

    Args:
        num_simulations: nodes that a search adds to each tree.
    """

    def __init__(self, num_simulations: int) -> None:
        self._num_simulations = num_simulations
        self._room: _Room | None = None

    @property
    def tree(self) -> Tree:
        """The trees of the last search.

        Raises:
            ValueError: there was none.
        """
        if self._room is None:
            raise ValueError("no tree yet: run the search first")
        return self._room.tree

    def plant(self, output: ModelOutput, priors: np.ndarray, root_visits: int) -> Tree:
        """Start B trees at ``output``, the roots.

        Args:
            output: of the model.
            priors: ``[B, A]``, TAKEN = illegal.
            root_visits: how often the roots' own values count.
        """
        num_nodes = 1 + self._num_simulations
        if self._room is None or not self._room.fits(output, num_nodes):
            self._room = _Room(output, num_nodes)
        room = self._room
        room.state_rows[0].copy_(output.states)
        room.tree.priors[0] = priors
        plant(room.tree, _rows(output.value), root_visits)
        return room.tree

    def simulate(self, model: Model, advance: Advance) -> None:
        """Grow all nodes: one model call each, all trees at once.

        Args:
            model: what to plan in.
            advance: the search's compiled step.
        """
        room = self._room
        assert room is not None
        tree, edges, states = room.tree, room.edges, room.states
        num_roots, num_actions = tree.priors.shape[1:]
        expected = ((num_roots,), (num_roots,), (num_roots,), (num_roots, num_actions))
        rows = torch.from_numpy(edges.state_rows)
        on_host = states.device.type == "cpu"
        nothing = Leaves(*(np.empty(shape, np.float32) for shape in expected))
        advance(tree, edges, nothing, 0, True)
        for node in range(1, self._num_simulations + 1):
            chosen = rows if on_host else rows.to(states.device)
            torch.index_select(states, 0, chosen, out=room.chosen_states)
            output = model.step(room.chosen_states, edges.actions)
            leaves = Leaves(
                reward=_rows(output.reward),
                discount=_rows(output.discount),
                value=_rows(output.value),
                logits=_rows(output.policy_logits),
            )
            if (
                tuple(array.shape for array in leaves) != expected
                or len(output.states) != num_roots
            ):
                check_output(output, num_roots, num_actions)
            room.state_rows[node].copy_(output.states)
            if advance(tree, edges, leaves, node, node < self._num_simulations) >= 0:
                check_output(output, num_roots, num_actions)


def _rows(numbers: np.ndarray) -> np.ndarray:
    """Return ``numbers`` as the compiled loops take them: float32, contiguous, writable."""
    flags = numbers.flags
    if numbers.dtype == np.float32 and flags.c_contiguous and flags.writeable:
        return numbers
    return np.array(numbers, np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis of ``[B, A]`` float32."""
    return torch.softmax(torch.from_numpy(logits), dim=-1).numpy()


def summarise(tree: Tree) -> TreeStatistics:
    """Return depth, root width and root visit entropy (nats) of finished searches."""
    num_roots = len(tree.nodes)
    statistics = TreeStatistics(
        depth=np.empty(num_roots, np.int64),
        width=np.empty(num_roots, np.int64),
        visit_entropy=np.empty(num_roots, np.float64),
    )
    measure(tree, *statistics)
    return statistics
