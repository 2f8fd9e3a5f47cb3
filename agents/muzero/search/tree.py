"""B search trees as flat arrays, and the compiled loops that every search shares.

Shape letters: B roots, N nodes a tree (simulations + 1; node 0 is the root), A actions.

A node is one 64-byte record, a cache line: what a walk down the tree reads of a child lies together.
A node's visited children hang in a linked list (``first_child``, ``next_sibling``), so a search
scores the few children it has visited and the best action it has not, never all A: an unvisited
action's score rises with its prior alone, and ``best_unvisited`` names the highest prior left.
That keeps a selection independent of A; only growing a node looks at A numbers, twice.

Memory: B N (4 A + 64 + S) bytes, where S is the size of one of the model's states: 256 roots, 75
simulations, 487 actions and states of 256 numbers take 57 MiB.
"""

from __future__ import annotations

from typing import NamedTuple
from typing import Protocol

import numba
import numpy as np
import torch

from agents.muzero.search.base import Model
from agents.muzero.search.base import ModelOutput
from agents.muzero.search.base import TreeStatistics

NO_NODE = -1
NO_ACTION = -1
TAKEN = np.float32(-1.0)  # in place of the prior of an action that is visited or illegal

NODE = np.dtype(
    [
        ("value_sum", np.float64),  # of the returns backed up through the node
        ("edge_value", np.float64),  # r + discount V of the edge into the node
        ("visits", np.int32),
        ("parent", np.int32),  # NO_NODE for the root
        ("action", np.int32),  # of the edge into the node
        ("depth", np.int32),  # edges from the root
        ("first_child", np.int32),  # the newest visited child, NO_NODE for none
        ("next_sibling", np.int32),  # the next older child of the same parent
        ("best_unvisited", np.int32),  # unvisited action of the highest prior, NO_ACTION for none
        ("best_prior", np.float32),  # that prior
        ("reward", np.float32),  # of the edge into the node
        ("prior", np.float32),  # of the edge into the node
        ("raw_value", np.float32),  # the model's own value of the node
        ("inherited", np.int32),  # visits of a former search, where its subtree was kept
    ]
)
assert NODE.itemsize == 64


class Tree(NamedTuple):
    """B trees of N nodes."""

    nodes: np.ndarray  # [B, N] of NODE
    priors: np.ndarray  # [N, B, A] float32, prior; TAKEN where visited or (root) illegal
    lowest: np.ndarray  # [B] float64, smallest r + discount V seen on an edge of the tree
    highest: np.ndarray  # [B] float64, largest one

    @staticmethod
    def allocate(num_roots: int, num_nodes: int, num_actions: int) -> Tree:
        """Return arrays for trees of ``num_nodes``; ``plant`` gives them their roots."""
        return Tree(
            nodes=np.empty((num_roots, num_nodes), NODE),
            priors=np.empty((num_nodes, num_roots, num_actions), np.float32),
            lowest=np.empty(num_roots, np.float64),
            highest=np.empty(num_roots, np.float64),
        )


class Edges(NamedTuple):
    """The edges that the next simulation grows, one a tree."""

    parents: np.ndarray  # [B] int64, node
    actions: np.ndarray  # [B] int64
    state_rows: np.ndarray  # [B] int64, row of the parent's state among the N B states


class Leaves(NamedTuple):
    """What the model says of the edges' ends, ready for the compiled loops."""

    reward: np.ndarray  # [B] float32
    value: np.ndarray  # [B] float32
    logits: np.ndarray  # [B, A] float32


@numba.njit(cache=True, nogil=True)
def _is_finite(numbers):
    """Return whether no number of ``[A]`` float32 is NaN or infinite."""
    # On the bits: whole numbers have a maximum that compiles to vector instructions.
    exponents = numbers.view(np.int32)
    most = np.int32(0)
    for index in range(exponents.shape[0]):
        most = max(most, exponents[index] & np.int32(0x7F800000))
    return most < np.int32(0x7F800000)


@numba.njit(cache=True, nogil=True)
def _highest_prior(priors):
    """Return the action of the highest prior >= 0, lowest index first; NO_ACTION for none."""
    # Floats >= 0 are ordered as their bits are, and TAKEN's bits are below all of theirs.
    bits = priors.view(np.int32)
    top = np.int32(-1)
    for action in range(bits.shape[0]):
        top = max(top, bits[action])
    if top < 0:
        return np.int32(NO_ACTION)
    first = np.int32(bits.shape[0])
    for action in range(bits.shape[0]):
        candidate = np.int32(action) if bits[action] == top else first
        first = min(first, candidate)
    return first


@numba.njit(cache=True, nogil=True)
def find_best_unvisited(tree, b, node):
    """Write ``best_unvisited`` and ``best_prior`` of a node."""
    priors = tree.priors[node, b]
    best = _highest_prior(priors)
    record = tree.nodes[b, node]
    record.best_unvisited = best
    record.best_prior = priors[best] if best != NO_ACTION else TAKEN


@numba.njit(cache=True, nogil=True)
def plant(tree, raw_value, root_visits):
    """Make the B roots of ``raw_value [B]``; their priors are written already."""
    for b in range(raw_value.shape[0]):
        root = tree.nodes[b, 0]
        root.visits = root_visits
        root.value_sum = root_visits * np.float64(raw_value[b])
        root.edge_value = 0.0
        root.raw_value = raw_value[b]
        root.reward = 0.0
        root.prior = 1.0
        root.parent = NO_NODE
        root.action = NO_ACTION
        root.depth = 0
        root.first_child = NO_NODE
        root.next_sibling = NO_NODE
        root.inherited = 0
        find_best_unvisited(tree, b, 0)
        tree.lowest[b] = np.inf
        tree.highest[b] = -np.inf


@numba.njit(cache=True, nogil=True)
def grow(tree, b, node, edges, leaves, discount):
    """Hang ``node`` below the chosen edge of tree ``b`` and back its value up.

    The return of the leaf is the model's value; one edge up it is ``reward + discount * return``.
    The node's priors are written already.

    Returns:
        Whether the model's numbers are finite; if not, the tree is left as it was.
    """
    raw_value = leaves.value[b]
    reward = leaves.reward[b]
    if not (np.isfinite(raw_value) and np.isfinite(reward) and _is_finite(leaves.logits[b])):
        return False
    parent = edges.parents[b]
    action = edges.actions[b]
    above = tree.nodes[b, parent]
    leaf = tree.nodes[b, node]
    leaf.visits = 0
    leaf.value_sum = 0.0
    leaf.raw_value = raw_value
    leaf.reward = reward
    leaf.prior = tree.priors[parent, b, action]
    leaf.parent = parent
    leaf.action = action
    leaf.depth = above.depth + 1
    leaf.first_child = NO_NODE
    leaf.next_sibling = above.first_child
    leaf.inherited = 0
    above.first_child = node
    tree.priors[parent, b, action] = TAKEN
    find_best_unvisited(tree, b, parent)
    find_best_unvisited(tree, b, node)

    value = np.float64(raw_value)
    lowest = tree.lowest[b]
    highest = tree.highest[b]
    at = node
    while at != NO_NODE:
        record = tree.nodes[b, at]
        record.visits += 1
        record.value_sum += value
        if record.parent != NO_NODE:
            edge_value = record.reward + discount * (record.value_sum / record.visits)
            record.edge_value = edge_value
            lowest = min(lowest, edge_value)
            highest = max(highest, edge_value)
        value = record.reward + discount * value
        at = record.parent
    tree.lowest[b] = lowest
    tree.highest[b] = highest
    return True


@numba.njit(cache=True, nogil=True)
def choose_edge(edges, b, parent, action):
    """Write the edge that tree ``b`` grows next."""
    edges.parents[b] = parent
    edges.actions[b] = action
    edges.state_rows[b] = parent * edges.parents.shape[0] + b


@numba.njit(cache=True, nogil=True)
def root_visits(tree, visit_counts):
    """Fill ``visit_counts [B, A]`` of the roots' children."""
    visit_counts[:] = 0
    for b in range(visit_counts.shape[0]):
        child = tree.nodes[b, 0].first_child
        while child != NO_NODE:
            record = tree.nodes[b, child]
            visit_counts[b, record.action] = record.visits
            child = record.next_sibling


class Advance(Protocol):
    """The compiled step of a search over all trees."""

    def __call__(self, tree: Tree, edges: Edges, leaves: Leaves, node: int, select: bool) -> int:
        """Grow ``node`` (0: none) at the chosen edges; then, if ``select``, choose the next ones.

        Returns:
            The first row whose leaf is not finite, -1 for none.
        """
        ...


class Forest:
    """B trees and their models' states; reused from search to search while the shapes last."""

    def __init__(self) -> None:
        self._tree: Tree | None = None
        self._prior_rows: list[torch.Tensor] = []  # N views [B, A] of the tree's priors
        self._states: torch.Tensor | None = None  # [N B, ...]
        self._state_rows: list[torch.Tensor] = []  # N views [B, ...] of them
        self._chosen_states: torch.Tensor | None = None  # [B, ...] of the edges' upper ends
        self._edges: Edges | None = None

    def __getstate__(self) -> dict[str, object]:
        """Pickle as an empty one: the arrays are scratch space."""
        return Forest().__dict__

    @property
    def tree(self) -> Tree:
        """The trees of the last search.

        Raises:
            ValueError: there was none.
        """
        if self._tree is None:
            raise ValueError("no tree yet: run the search first")
        return self._tree

    def plant(
        self, output: ModelOutput, priors: np.ndarray, num_nodes: int, root_visits: int
    ) -> Tree:
        """Start B trees at ``output``, the roots, with ``priors [B, A]`` (TAKEN = illegal)."""
        num_roots, num_actions = priors.shape
        tree = self._tree
        if tree is None or tree.priors.shape != (num_nodes, num_roots, num_actions):
            tree = Tree.allocate(num_roots, num_nodes, num_actions)
            self._tree = tree
            self._prior_rows = list(torch.from_numpy(tree.priors))
            self._edges = Edges(*(np.zeros(num_roots, np.int64) for _ in Edges._fields))
        self._keep_room(output.states, num_nodes)
        self._state_rows[0].copy_(output.states)
        tree.priors[0] = priors
        plant(tree, _rows(output.value), root_visits)
        return tree

    def simulate(self, model: Model, advance: Advance) -> None:
        """Grow all nodes: one model call each, all trees at once.

        Args:
            model: what to plan in.
            advance: the search's compiled step.
        """
        tree, edges, states = self._tree, self._edges, self._states
        assert tree is not None and edges is not None and states is not None
        num_nodes, num_roots, num_actions = tree.priors.shape
        expected = ((num_roots,), (num_roots,), (num_roots, num_actions))
        rows = torch.from_numpy(edges.state_rows)
        on_host = states.device.type == "cpu"
        nothing = Leaves(*(np.empty(shape, np.float32) for shape in expected))
        advance(tree, edges, nothing, 0, True)
        for node in range(1, num_nodes):
            chosen = rows if on_host else rows.to(states.device)
            torch.index_select(states, 0, chosen, out=self._chosen_states)
            output = model.step(self._chosen_states, edges.actions)
            leaves = Leaves(_rows(output.reward), _rows(output.value), _rows(output.policy_logits))
            shapes = (leaves.reward.shape, leaves.value.shape, leaves.logits.shape)
            if shapes != expected or len(output.states) != num_roots:
                check_output(output, num_roots, num_actions)
            self._state_rows[node].copy_(output.states)
            torch.softmax(torch.from_numpy(leaves.logits), dim=-1, out=self._prior_rows[node])
            if advance(tree, edges, leaves, node, node + 1 < num_nodes) >= 0:
                check_output(output, num_roots, num_actions)

    def _keep_room(self, states: torch.Tensor, num_nodes: int) -> None:
        """Have room for the states of all nodes of trees whose roots have ``states [B, ...]``."""
        kept = self._states
        shape = (num_nodes * len(states), *states.shape[1:])
        if (
            kept is not None
            and kept.shape == shape
            and kept.dtype == states.dtype
            and kept.device == states.device
            and self._chosen_states is not None
            and len(self._chosen_states) == len(states)
        ):
            return
        self._states = torch.empty(shape, dtype=states.dtype, device=states.device)
        self._state_rows = list(self._states.unflatten(0, (num_nodes, len(states))))
        self._chosen_states = torch.empty_like(self._state_rows[0])


def _rows(numbers: np.ndarray) -> np.ndarray:
    """Return ``numbers`` as the compiled loops take them: float32, contiguous, writable."""
    return np.require(numbers, np.float32, ["C", "W"])


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
        depth=tree.nodes["depth"].max(axis=1),
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
