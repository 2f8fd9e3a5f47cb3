"""B search trees as flat arrays, and the compiled loops that every search shares.

Shape letters: B roots, N nodes a tree (simulations + 1; node 0 is the root), A actions.

A node's visited children hang in a linked list (``first_child``, ``next_sibling``), so a search
scores the few children it has visited and the best action it has not, never all A: an unvisited
action's score rises with its prior alone, and ``best_unvisited`` names the highest prior left.
That keeps a selection independent of A; only expanding a node looks at A numbers, once.

Memory: 4 B N A bytes for the priors, 44 B N bytes for the rest, and the model's states.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch

from agents.muzero.search.base import Model
from agents.muzero.search.base import ModelOutput
from agents.muzero.search.base import TreeStatistics

NO_NODE = -1
NO_ACTION = -1


class Tree(NamedTuple):
    """Structure of arrays: one row a tree, one column a node."""

    visits: np.ndarray  # [B, N] int32
    value_sum: np.ndarray  # [B, N] float64, sum of the returns backed up through the node
    raw_value: np.ndarray  # [B, N] float32, the model's own value of the node
    reward: np.ndarray  # [B, N] float32, reward of the edge into the node
    prior: np.ndarray  # [B, N] float32, prior of the edge into the node
    parent: np.ndarray  # [B, N] int32, NO_NODE for the root
    action: np.ndarray  # [B, N] int32, action of the edge into the node
    depth: np.ndarray  # [B, N] int32, edges from the root
    first_child: np.ndarray  # [B, N] int32, the newest visited child, NO_NODE for none
    next_sibling: np.ndarray  # [B, N] int32, the next older child of the same parent
    unvisited: np.ndarray  # [B, N, A] float32, prior; -1 where visited or (root) illegal
    best_unvisited: np.ndarray  # [B, N] int32, action of the highest prior there, NO_ACTION = none
    lowest: np.ndarray  # [B] float64, smallest r + discount V seen on an edge of the tree
    highest: np.ndarray  # [B] float64, largest one

    @staticmethod
    def allocate(num_roots: int, num_nodes: int, num_actions: int) -> Tree:
        """Return arrays for trees of ``num_nodes``; ``plant`` gives them their roots."""
        nodes = (num_roots, num_nodes)
        return Tree(
            visits=np.empty(nodes, np.int32),
            value_sum=np.empty(nodes, np.float64),
            raw_value=np.empty(nodes, np.float32),
            reward=np.empty(nodes, np.float32),
            prior=np.empty(nodes, np.float32),
            parent=np.empty(nodes, np.int32),
            action=np.empty(nodes, np.int32),
            depth=np.empty(nodes, np.int32),
            first_child=np.empty(nodes, np.int32),
            next_sibling=np.empty(nodes, np.int32),
            unvisited=np.empty((*nodes, num_actions), np.float32),
            best_unvisited=np.empty(nodes, np.int32),
            lowest=np.empty(num_roots, np.float64),
            highest=np.empty(num_roots, np.float64),
        )


@numba.njit(cache=True, nogil=True, inline="always")
def _highest_prior(priors):
    """Return the action of the highest prior >= 0, lowest index first; NO_ACTION for none."""
    best = NO_ACTION
    best_prior = np.float32(-0.5)
    for action in range(priors.shape[0]):
        if priors[action] > best_prior:
            best_prior = priors[action]
            best = action
    return best


@numba.njit(cache=True, nogil=True)
def plant(tree, raw_value, priors, root_visits):
    """Make the B roots: ``raw_value [B]``, ``priors [B, A]`` with -1 for illegal actions."""
    for b in range(priors.shape[0]):
        tree.visits[b, 0] = root_visits
        tree.value_sum[b, 0] = root_visits * np.float64(raw_value[b])
        tree.raw_value[b, 0] = raw_value[b]
        tree.reward[b, 0] = 0.0
        tree.prior[b, 0] = 1.0
        tree.parent[b, 0] = NO_NODE
        tree.action[b, 0] = NO_ACTION
        tree.depth[b, 0] = 0
        tree.first_child[b, 0] = NO_NODE
        tree.next_sibling[b, 0] = NO_NODE
        tree.unvisited[b, 0] = priors[b]
        tree.best_unvisited[b, 0] = _highest_prior(priors[b])
        tree.lowest[b] = np.inf
        tree.highest[b] = -np.inf


@numba.njit(cache=True, nogil=True)
def grow(tree, node, parents, actions, reward, raw_value, priors, discount):
    """Hang ``node`` below ``parents [B]`` by ``actions [B]`` in every tree and back its value up.

    The return of the leaf is ``raw_value``; one edge up it is ``reward + discount * return``.
    """
    for b in range(parents.shape[0]):
        parent = parents[b]
        action = actions[b]
        tree.visits[b, node] = 0
        tree.value_sum[b, node] = 0.0
        tree.raw_value[b, node] = raw_value[b]
        tree.reward[b, node] = reward[b]
        tree.prior[b, node] = tree.unvisited[b, parent, action]
        tree.parent[b, node] = parent
        tree.action[b, node] = action
        tree.depth[b, node] = tree.depth[b, parent] + 1
        tree.first_child[b, node] = NO_NODE
        tree.next_sibling[b, node] = tree.first_child[b, parent]
        tree.first_child[b, parent] = node
        tree.unvisited[b, parent, action] = -1.0
        tree.best_unvisited[b, parent] = _highest_prior(tree.unvisited[b, parent])
        tree.unvisited[b, node] = priors[b]
        tree.best_unvisited[b, node] = _highest_prior(priors[b])

        value = np.float64(raw_value[b])
        at = node
        while at != NO_NODE:
            tree.visits[b, at] += 1
            tree.value_sum[b, at] += value
            if tree.parent[b, at] != NO_NODE:
                mean = tree.value_sum[b, at] / tree.visits[b, at]
                edge_value = tree.reward[b, at] + discount * mean
                tree.lowest[b] = min(tree.lowest[b], edge_value)
                tree.highest[b] = max(tree.highest[b], edge_value)
            value = tree.reward[b, at] + discount * value
            at = tree.parent[b, at]


@numba.njit(cache=True, nogil=True)
def root_children(tree, discount, visit_counts, values):
    """Fill ``visit_counts`` and ``values`` (r + discount V) ``[B, A]`` of the roots' children."""
    visit_counts[:] = 0
    values[:] = 0.0
    for b in range(visit_counts.shape[0]):
        child = tree.first_child[b, 0]
        while child != NO_NODE:
            action = tree.action[b, child]
            visit_counts[b, action] = tree.visits[b, child]
            mean = tree.value_sum[b, child] / tree.visits[b, child]
            values[b, action] = tree.reward[b, child] + discount * mean
            child = tree.next_sibling[b, child]


class Forest:
    """B trees and their models' states; reused from search to search while the shapes last."""

    def __init__(self) -> None:
        self.tree: Tree | None = None
        self._states: torch.Tensor | None = None
        self._rows: torch.Tensor | None = None

    def __getstate__(self) -> dict[str, object]:
        """Pickle as an empty one: the arrays are scratch space."""
        return {"tree": None, "_states": None, "_rows": None}

    def plant(
        self, output: ModelOutput, priors: np.ndarray, num_nodes: int, root_visits: int
    ) -> Tree:
        """Start B trees at ``output``, the roots, with ``priors [B, A]`` (-1 = illegal)."""
        num_roots, num_actions = priors.shape
        tree = self.tree
        if tree is None or tree.unvisited.shape != (num_roots, num_nodes, num_actions):
            tree = Tree.allocate(num_roots, num_nodes, num_actions)
            self.tree = tree
        states = output.states
        shape = (num_nodes, *states.shape)
        if (
            self._states is None
            or self._states.shape != shape
            or (self._states.dtype != states.dtype or self._states.device != states.device)
        ):
            self._states = torch.empty(shape, dtype=states.dtype, device=states.device)
            self._rows = torch.arange(num_roots, device=states.device)
        self._states[0] = states
        plant(tree, output.value, priors, root_visits)
        return tree

    def step(
        self, model: Model, node: int, parents: np.ndarray, actions: np.ndarray, discount: float
    ) -> None:
        """Ask ``model`` for the B leaves below ``parents`` by ``actions`` and back them up."""
        assert self.tree is not None and self._states is not None and self._rows is not None
        nodes = torch.from_numpy(parents).to(self._states.device)
        states = self._states[nodes, self._rows]
        output = model.step(states, actions)
        check_output(output, len(parents), self.tree.unvisited.shape[2])
        self._states[node] = output.states
        priors = softmax(output.policy_logits)
        grow(self.tree, node, parents, actions, output.reward, output.value, priors, discount)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis of ``[B, A]`` float32."""
    return torch.softmax(torch.from_numpy(logits), dim=-1).numpy()


def check_output(output: ModelOutput, num_roots: int, num_actions: int) -> None:
    """Raise ValueError, naming head and row, unless the model returned B finite rows."""
    shapes: dict[str, tuple[int, ...]] = {
        "value": (num_roots,),
        "reward": (num_roots,),
        "policy_logits": (num_roots, num_actions),
    }
    for head, shape in shapes.items():
        array = getattr(output, head)
        if array.shape != shape:
            raise ValueError(
                f"the model returned {head} of shape {array.shape}, expected {shape}: "
                "one row per root, one logit per action"
            )
        if not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise ValueError(
                f"the model's {head} is not finite in row {row}: {array[row].ravel()[:5]}. "
                "Training has diverged: lower the learning rate or clip gradients"
            )
    if len(output.states) != num_roots:
        raise ValueError(f"the model returned {len(output.states)} states for {num_roots} roots")


def check_roots(output: ModelOutput, action_mask: np.ndarray) -> None:
    """Raise ValueError unless mask and model agree and every row has a legal action."""
    if action_mask.ndim != 2:
        raise ValueError(f"action_mask must be [B, A], got shape {action_mask.shape}")
    check_output(output, *action_mask.shape)
    empty = np.flatnonzero(~action_mask.astype(bool).any(axis=1))
    if len(empty):
        raise ValueError(
            f"row {empty[0]} of action_mask has no legal action; give at least one 1 per row"
        )


def summarise(tree: Tree, visit_counts: np.ndarray) -> TreeStatistics:
    """Return depth, root width and root visit entropy (nats) of finished searches."""
    total = np.maximum(visit_counts.sum(axis=1, keepdims=True), 1)
    share = visit_counts / total
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return TreeStatistics(
        depth=tree.depth.max(axis=1),
        width=(visit_counts > 0).sum(axis=1),
        visit_entropy=-(share * logs).sum(axis=1),
    )


def row_generators(
    rng: np.random.Generator | list[np.random.Generator], num_roots: int
) -> list[np.random.Generator]:
    """Return one generator per row; a single one is split, so rows stay independent of B."""
    if isinstance(rng, np.random.Generator):
        return rng.spawn(num_roots)
    if len(rng) != num_roots:
        raise ValueError(f"{len(rng)} generators given for {num_roots} roots; give one per row")
    return rng


def require_positive(name: str, value: int) -> None:
    """Raise ValueError unless the whole number ``value`` is at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
