"""B trees grown together: one model call per simulation for all of them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from agents.muzero.search.base import Model
from agents.muzero.search.base import ModelOutput
from agents.muzero.search.base import TreeStatistics
from agents.muzero.search.checks import check_output
from agents.muzero.search.reuse import transplant
from agents.muzero.search.tree import Edges
from agents.muzero.search.tree import Leaves
from agents.muzero.search.tree import Tree
from agents.muzero.search.tree import measure
from agents.muzero.search.tree import plant
from envs.copies import Copyable


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


class Forest(Copyable):
    """B trees and their models' states; the arrays are reused from search to search.

    Args:
        num_simulations: nodes that a search adds to each tree.
        reuse_subtree: have room to keep what the last search knows, see ``reuse``: as many nodes
            again in each tree, and from the first search that goes on a second set of arrays, as
            one is read while the other is written.
    """

    _rebuilt = ("_other",)  # scratch, but for the moment between two searches

    def __init__(self, num_simulations: int, *, reuse_subtree: bool = False) -> None:
        self._num_simulations = num_simulations
        self._num_kept = num_simulations if reuse_subtree else 0
        self._room: _Room | None = None
        self._other: _Room | None = None  # of the search before, for what is kept of it
        self._actions: np.ndarray | None = None  # [B] that the last search led to, if it ended

    @property
    def tree(self) -> Tree:
        """The trees of the last search.

        Raises:
            ValueError: there was none.
        """
        if self._room is None:
            raise ValueError("no tree yet: run the search first")
        return self._room.tree

    def plant(
        self,
        output: ModelOutput,
        priors: np.ndarray,
        root_visits: int,
        continues: np.ndarray | None = None,
    ) -> Tree:
        """Start B trees at ``output``, the roots.

        Args:
            output: of the model.
            priors: ``[B, A]``, TAKEN = illegal.
            root_visits: how often the roots' own values count.
            continues: ``[B]`` row of the last search that a tree goes on from, -1 for none; None
                starts all of them anew.

        Raises:
            ValueError: ``continues`` without ``reuse_subtree``, or it names no row.
        """
        num_nodes = 1 + self._num_simulations + self._num_kept
        former, actions = self._room, self._actions
        if continues is not None:
            continues = self._checked(continues, len(priors))
        self._actions = None  # until this search is over: if it fails, none goes on from it
        if continues is not None:
            self._room, self._other = self._other, self._room
        if self._room is None or not self._room.fits(output, num_nodes):
            self._room = _Room(output, num_nodes)
        room = self._room
        room.state_rows[0].copy_(output.states)
        room.tree.priors[0] = priors
        plant(room.tree, _rows(output.value), root_visits)
        if continues is not None and former is not None and actions is not None:
            self._transplant(former, room, continues, actions)
        return room.tree

    def remember(self, actions: np.ndarray) -> None:
        """Know what the finished search chose, ``[B]``: the next may go on from there."""
        self._actions = actions.astype(np.int64)

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
        expected = ((num_roots,), (num_roots,), (num_roots, num_actions))
        rows = torch.from_numpy(edges.state_rows)
        on_host = states.device.type == "cpu"
        nothing = Leaves(*(np.empty(shape, np.float32) for shape in expected))
        advance(tree, edges, nothing, 0, True)
        for node in range(1, self._num_simulations + 1):
            chosen = rows if on_host else rows.to(states.device)
            torch.index_select(states, 0, chosen, out=room.chosen_states)
            output = model.step(room.chosen_states, edges.actions)
            leaves = Leaves(_rows(output.reward), _rows(output.value), _rows(output.policy_logits))
            shapes = (leaves.reward.shape, leaves.value.shape, leaves.logits.shape)
            if shapes != expected or len(output.states) != num_roots:
                check_output(output, num_roots, num_actions)
            room.state_rows[node].copy_(output.states)
            if advance(tree, edges, leaves, node, node < self._num_simulations) >= 0:
                check_output(output, num_roots, num_actions)

    def _checked(self, continues: np.ndarray, num_roots: int) -> np.ndarray:
        """Return ``continues`` as int64, or raise ValueError."""
        if not self._num_kept:
            raise ValueError("continues needs a search with reuse_subtree=true")
        if continues.shape != (num_roots,):
            raise ValueError(
                f"continues has shape {continues.shape}; expected ({num_roots},), a row each"
            )
        last = 0 if self._actions is None else len(self._actions)
        wrong = np.flatnonzero((continues < -1) | (continues >= last))
        if len(wrong):
            raise ValueError(
                f"row {wrong[0]} of continues is {continues[wrong[0]]}, but the last search had "
                f"{last} rows; give one of them, or -1 to start anew"
            )
        return continues.astype(np.int64)

    def _transplant(
        self, former: _Room, room: _Room, continues: np.ndarray, actions: np.ndarray
    ) -> None:
        """Move what is kept of the former trees and their states."""
        most = room.tree.nodes.size
        targets, sources = np.empty(most, np.int64), np.empty(most, np.int64)
        first_slot = 1 + self._num_simulations
        count = transplant(former.tree, room.tree, continues, actions, first_slot, targets, sources)
        device = room.states.device
        to, of = (torch.from_numpy(rows[:count]).to(device) for rows in (targets, sources))
        room.states.index_copy_(0, to, former.states.index_select(0, of))


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
