"""B trees grown together: one model call per simulation for all of them, two with chance."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
import torch

from agents.muzero.search.base import ChanceModel, Model, ModelOutput, TreeStatistics
from agents.muzero.search.chance import Chances, add_afterstates, clear
from agents.muzero.search.checks import check_afterstates, check_output, require_positive
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

    def __init__(self, output: ModelOutput, num_simulations: int, num_outcomes: int) -> None:
        num_roots, num_actions = output.policy_logits.shape
        states = output.states
        num_afterstates = num_simulations if num_outcomes else 0
        self.tree = Tree.allocate(num_roots, 1 + num_simulations, num_actions, num_afterstates)
        self.chances = Chances.allocate(num_roots, num_afterstates, num_outcomes)
        shape = (self.tree.nodes.size, *states.shape[1:])
        self.states = torch.empty(shape, dtype=states.dtype, device=states.device)
        self.edges = Edges(*(np.zeros(num_roots, np.int64) for _ in Edges._fields))
        self._rebuild()

    def _rebuild(self) -> None:
        """See ``Copyable``: make views of the states, and scratch."""
        num_roots, num_nodes = self.tree.nodes.shape
        self.state_rows = list(self.states.unflatten(0, (num_nodes, num_roots)))  # N [B, ...]
        self.chosen_states = torch.empty_like(self.state_rows[0])  # of the edges' upper ends

    def fits(self, output: ModelOutput, num_outcomes: int) -> bool:
        """Return whether trees with these roots and so many outcomes (0: no chance) fit in here."""
        states = output.states
        return (
            self.tree.priors.shape[1:] == output.policy_logits.shape
            and self.chances.probabilities.shape[2] == num_outcomes
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

    def plant(
        self, model: Model | ChanceModel, output: ModelOutput, priors: np.ndarray, root_visits: int
    ) -> Tree:
        """Start B trees at ``output``, the roots.

        Args:
            model: what will be planned in.
            output: of it.
            priors: ``[B, A]``, TAKEN = illegal.
            root_visits: how often the roots' own values count.

        Raises:
            ValueError: a chance model without outcomes.
        """
        chance = _as_chance(model)
        if chance is not None:
            require_positive("num_outcomes of the model", chance.num_outcomes)
        num_outcomes = 0 if chance is None else chance.num_outcomes
        if self._room is None or not self._room.fits(output, num_outcomes):
            self._room = _Room(output, self._num_simulations, num_outcomes)
        room = self._room
        room.state_rows[0].copy_(output.states)
        room.tree.priors[0] = priors
        plant(room.tree, _rows(output.value), root_visits)
        if num_outcomes:
            clear(room.tree)
        return room.tree

    def chances(self, *, worst: bool) -> Chances | None:
        """Return what the planted trees hold of chance; None where nothing is left to it.

        Args:
            worst: see ``Chances``.
        """
        room = self._room
        assert room is not None
        chances = room.chances
        return chances._replace(worst=worst) if len(chances.probabilities) else None

    def simulate(self, model: Model | ChanceModel, advance: Advance) -> None:
        """Grow all decision nodes: one model call each, all trees at once.

        With chance there is one more call for the rows that try a new action.

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
        chance = _as_chance(model)
        follow = cast("Model", model).step if chance is None else chance.outcome
        nothing = Leaves(*(np.empty(shape, np.float32) for shape in expected))
        advance(tree, edges, nothing, 0, True)
        for node in range(1, self._num_simulations + 1):
            if chance is not None:
                _reach_outcomes(room, chance, node)
            chosen = rows if on_host else rows.to(states.device)
            torch.index_select(states, 0, chosen, out=room.chosen_states)
            output = follow(room.chosen_states, edges.actions)
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


def _as_chance(model: Model | ChanceModel) -> ChanceModel | None:
    """Return ``model`` if it leaves something to chance."""
    return cast("ChanceModel", model) if hasattr(model, "num_outcomes") else None


def _reach_outcomes(room: _Room, model: ChanceModel, simulation: int) -> None:
    """Lead chosen edges that are new actions on, over their afterstates, to the first outcome."""
    tree, edges = room.tree, room.edges
    num_decisions = len(tree.priors)
    rows = np.flatnonzero(edges.parents < num_decisions)
    if not len(rows):
        return
    device, count = room.states.device, len(rows)
    num_outcomes = room.chances.probabilities.shape[2]
    before = room.states.index_select(0, torch.from_numpy(edges.state_rows[rows]).to(device))
    after = model.afterstate(before, edges.actions[rows])
    numbers = _rows(after.reward), _rows(after.discount), _rows(after.probabilities)
    shapes = tuple(array.shape for array in numbers)
    if shapes != ((count,), (count,), (count, num_outcomes)) or len(after.states) != count:
        check_afterstates(after, rows, num_outcomes)
    kept = room.state_rows[num_decisions - 1 + simulation]
    if count == len(kept):
        kept.copy_(after.states)
    else:
        kept.index_copy_(0, torch.from_numpy(rows).to(device), after.states)
    if add_afterstates(tree, room.chances, edges, rows, numbers, simulation) >= 0:
        check_afterstates(after, rows, num_outcomes)


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
