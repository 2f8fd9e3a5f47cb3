"""B search trees as flat arrays, and the compiled loops that every search shares.

Shape letters: B roots, D = 1 + simulations decision nodes a tree, N nodes a tree, A actions. Node 0
is the root. Without chance N = D. With it, simulation s adds decision node s and, where it tries a
new action, the action's afterstate as node D - 1 + s (``chance``); then N = 2 D - 1.

A node is one 64-byte record, a cache line: what a walk reads of a child lies together.
A node's visited children hang in a linked list (``first_child``, ``next_sibling``), so a search
scores the few children it has visited and the best action it has not, never all A: an unvisited
action's score rises with its prior alone, and ``best_unvisited`` names the highest prior left.
That keeps a selection independent of A; only growing a node looks at A numbers, twice.

Memory: B D 4 A + B N (64 + S) bytes, where S is the size of one of the model's states: 256 roots,
75 simulations, 487 actions and states of 256 numbers take 57 MiB.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

NO_NODE = -1
NO_ACTION = -1
TAKEN = np.float32(-1.0)  # in place of the prior of an action that is visited or illegal

NODE = np.dtype(
    [
        ("value_sum", np.float64),  # of the returns backed up through the node
        ("edge_value", np.float64),  # reward + discount * value of the edge into the node
        ("visits", np.int32),
        ("parent", np.int32),  # NO_NODE for the root
        ("action", np.int32),  # of the edge into the node
        ("depth", np.int32),  # actions from the root
        ("first_child", np.int32),  # the newest visited child, NO_NODE for none
        ("next_sibling", np.int32),  # the next older child of the same parent
        ("best_unvisited", np.int32),  # unvisited action of the highest prior, NO_ACTION for none
        ("best_prior", np.float32),  # that prior
        ("reward", np.float32),  # of the edge into the node
        ("discount", np.float32),  # of the edge into the node
        ("prior", np.float32),  # of the edge into the node
        ("raw_value", np.float32),  # the model's own value of the node; 0 of an afterstate
    ]
)
assert NODE.itemsize == 64


class Tree(NamedTuple):
    """B trees of N nodes, D of them decisions."""

    nodes: np.ndarray  # [B, N] of NODE
    priors: np.ndarray  # [D, B, A] float32, prior; TAKEN where visited or (root) illegal
    lowest: np.ndarray  # [B] float64, smallest edge_value seen on an edge of the tree
    highest: np.ndarray  # [B] float64, largest one

    @staticmethod
    def allocate(
        num_roots: int, num_decisions: int, num_actions: int, num_afterstates: int = 0
    ) -> Tree:
        """Return arrays for trees of so many nodes; ``plant`` gives them their roots."""
        return Tree(
            nodes=np.empty((num_roots, num_decisions + num_afterstates), NODE),
            priors=np.empty((num_decisions, num_roots, num_actions), np.float32),
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
    discount: np.ndarray  # [B] float32
    value: np.ndarray  # [B] float32
    logits: np.ndarray  # [B, A] float32


# Below, floats are compared by their bits: whole numbers have maxima that compile to vector
# instructions, and floats do not (NaN has no order).


@numba.njit(cache=True, nogil=True)
def _ordered(bits):
    """Return the whole number that orders as the float of these ``bits`` does; its own inverse."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@numba.njit(cache=True, nogil=True)
def first_of(bits, wanted):
    """Return the first index at which ``bits [A]`` int32 is ``wanted``, which it is somewhere."""
    first = np.int32(0x7FFFFFFF)
    for index in range(bits.shape[0]):
        candidate = np.int32(index) if bits[index] == wanted else np.int32(0x7FFFFFFF)
        first = min(first, candidate)
    return first


@numba.njit(cache=True, nogil=True)
def highest(numbers):
    """Return the index of the highest of ``[A]`` float32, none NaN; the lowest one of equals."""
    bits = numbers.view(np.int32)
    top = np.int32(-0x7FFFFFFF)
    for index in range(bits.shape[0]):
        top = max(top, _ordered(bits[index]))
    return first_of(bits, _ordered(top))


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def softmax_row(logits, out):
    """Write the softmax of ``logits [A]`` float32 to ``out [A]``; return the highest of it.

    NaN where a logit is not finite. The exponential's own error is below 3e-7, relative.
    """
    bits = logits.view(np.int32)
    exponent = np.int32(0)
    top_bits = np.int32(-0x7FFFFFFF)
    for action in range(bits.shape[0]):
        exponent = max(exponent, np.int32(bits[action] & np.int32(0x7F800000)))
        top_bits = max(top_bits, _ordered(bits[action]))
    if exponent == np.int32(0x7F800000):
        return np.float32(np.nan)
    top = np.int32(_ordered(top_bits)).view(np.float32)
    total = np.float32(0.0)
    for action in range(logits.shape[0]):
        # e^x = 2^n 2^f: n goes straight into the exponent's bits, a polynomial does |f| <= 1/2.
        power = (logits[action] - top) * np.float32(1.44269504)
        clamped = max(power, np.float32(-125.0))
        whole = np.int32(clamped - np.float32(0.5))
        f = clamped - np.float32(whole)
        value = np.float32(1.5403530e-4)
        value = value * f + np.float32(1.3333558e-3)
        value = value * f + np.float32(9.6181291e-3)
        value = value * f + np.float32(5.5504109e-2)
        value = value * f + np.float32(2.4022651e-1)
        value = value * f + np.float32(6.9314718e-1)
        value = value * f + np.float32(1.0)
        scaled = np.int32(np.float32(value).view(np.int32) + (whole << np.int32(23))).view(
            np.float32
        )
        weight = scaled if power > np.float32(-125.0) else np.float32(0.0)
        out[action] = weight
        total += weight
    inverse = np.float32(1.0) / total
    for action in range(out.shape[0]):
        out[action] *= inverse
    return inverse  # that of the highest logit, whose weight is 1


@numba.njit(cache=True, nogil=True)
def find_best_unvisited(tree, b, node):
    """Write ``best_unvisited`` and ``best_prior`` of a node."""
    priors = tree.priors[node, b]
    bits = priors.view(np.int32)
    top = np.int32(-1)
    for action in range(bits.shape[0]):
        top = max(top, bits[action])  # priors >= 0 are ordered as their bits, TAKEN is below
    record = tree.nodes[b, node]
    record.best_unvisited = NO_ACTION
    record.best_prior = TAKEN
    if top >= 0:
        record.best_prior = np.int32(top).view(np.float32)
        record.best_unvisited = first_of(bits, top)


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
        root.discount = 1.0
        root.prior = 1.0
        root.parent = NO_NODE
        root.action = NO_ACTION
        root.depth = 0
        root.first_child = NO_NODE
        root.next_sibling = NO_NODE
        find_best_unvisited(tree, b, 0)
        tree.lowest[b] = np.inf
        tree.highest[b] = -np.inf


@numba.njit(cache=True, nogil=True)
def grow(tree, b, node, edges, leaves):
    """Hang ``node`` below the chosen edge of tree ``b`` and back its value up.

    The return of the leaf is the model's value; one edge up it is ``reward + discount * return``,
    by the reward and the discount of that edge.

    Returns:
        Whether the model's numbers are finite; if not, the tree is left as it was.
    """
    raw_value = leaves.value[b]
    reward = leaves.reward[b]
    discount = leaves.discount[b]
    if not (np.isfinite(raw_value) and np.isfinite(reward) and np.isfinite(discount)):
        return False
    best_prior = softmax_row(leaves.logits[b], tree.priors[node, b])
    if np.isnan(best_prior):
        return False
    parent = edges.parents[b]
    action = edges.actions[b]
    above = tree.nodes[b, parent]
    leaf = tree.nodes[b, node]
    leaf.visits = 0
    leaf.value_sum = 0.0
    leaf.raw_value = raw_value
    leaf.reward = reward
    leaf.discount = discount
    leaf.prior = tree.priors[parent, b, action]
    leaf.parent = parent
    leaf.action = action
    leaf.depth = above.depth + 1
    leaf.first_child = NO_NODE
    leaf.next_sibling = above.first_child
    above.first_child = node
    tree.priors[parent, b, action] = TAKEN
    if above.best_unvisited == action:
        find_best_unvisited(tree, b, parent)
    leaf.best_prior = best_prior
    leaf.best_unvisited = first_of(
        tree.priors[node, b].view(np.int32), np.float32(best_prior).view(np.int32)
    )

    value = np.float64(raw_value)
    lowest = tree.lowest[b]
    highest = tree.highest[b]
    at = node
    while at != NO_NODE:
        record = tree.nodes[b, at]
        record.visits += 1
        record.value_sum += value
        if record.parent != NO_NODE:
            edge_value = record.reward + record.discount * (record.value_sum / record.visits)
            record.edge_value = edge_value
            lowest = min(lowest, edge_value)
            highest = max(highest, edge_value)
        value = record.reward + record.discount * value
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


@numba.njit(cache=True, nogil=True)
def measure(tree, depth, width, visit_entropy):
    """Fill, ``[B]`` each: the deepest node, the root's visited actions, their visits' entropy."""
    for b in range(depth.shape[0]):
        deepest = 0
        for node in range(tree.nodes.shape[1]):
            deepest = max(deepest, tree.nodes[b, node].depth)
        depth[b] = deepest
        # H = log V - sum v log v / V
        children = 0
        total = 0
        weighted = 0.0
        child = tree.nodes[b, 0].first_child
        while child != NO_NODE:
            visits = tree.nodes[b, child].visits
            children += 1
            total += visits
            weighted += visits * np.log(np.float64(visits))
            child = tree.nodes[b, child].next_sibling
        width[b] = children
        visit_entropy[b] = np.log(np.float64(total)) - weighted / total if total > 0 else 0.0
