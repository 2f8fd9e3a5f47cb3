"""Keeps the subtree that a decision led to, as the start of the next search.

The new root is the model's fresh view of what really happened; below it hang the kept nodes with
the statistics, priors and states that the former search gave them. Those were imagined from the
former root, so in an environment with surprises they are stale: hence an option, off by default.

Shape letters as in ``tree``. Kept nodes lie behind those that the new search will grow, so that a
simulation's nodes have the same number in every tree.
"""

from __future__ import annotations

import numba
import numpy as np

from agents.muzero.search import tree as trees


@numba.njit(cache=True, nogil=True)
def transplant(old, new, continues, chosen, first_slot, targets, sources):
    """Hang what is worth keeping of ``old`` below the planted roots of ``new``.

    Children of the root whose action has become illegal are left behind, and so are the youngest
    nodes where there is no room; an action whose node was left behind is unvisited again.

    Args:
        old: the former trees.
        new: planted trees, of as many nodes.
        continues: ``[B]`` int64, row of ``old`` that a tree goes on from, -1 for none.
        chosen: ``[B of old]`` int64, action that each of ``old`` led to.
        first_slot: index of the first kept node in ``new``.
        targets: ``[B N]`` int64, filled with rows of the new states, node * B + tree, ...
        sources: ``[B N]`` int64, ... and the rows of the old states that go there.

    Returns:
        How many nodes were kept: the filled part of ``targets`` and ``sources``.
    """
    num_roots, num_nodes = new.nodes.shape
    slot_of = np.empty(old.nodes.shape[1], np.int32)
    count = 0
    for b in range(num_roots):
        row = continues[b]
        if row < 0:
            continue
        child = trees.root_child(old, row, chosen[row])
        if child == trees.NO_NODE:
            continue
        slot_of[:] = trees.NO_NODE
        slot_of[child] = 0
        slot = first_slot
        # A parent is older than its children: first what was kept last time, then what was grown.
        for place in range(1, old.nodes.shape[1]):
            node = (place - 1 + first_slot - 1) % (old.nodes.shape[1] - 1) + 1
            if not _is_child_of_kept(old, row, node, slot_of):
                continue
            if slot < num_nodes and _hang(old, new, row, b, node, slot, slot_of):
                targets[count] = slot * num_roots + b
                sources[count] = node * old.nodes.shape[0] + row
                count += 1
                slot += 1
        _credit_root(new, b)
        trees.find_best_unvisited(new, b, 0)
        for kept in range(first_slot, slot):
            trees.find_best_unvisited(new, b, kept)
            edge_value = new.nodes[b, kept].edge_value
            new.lowest[b] = min(new.lowest[b], edge_value)
            new.highest[b] = max(new.highest[b], edge_value)
    return count


@numba.njit(cache=True, nogil=True)
def _is_child_of_kept(old, row, node, slot_of):
    """Return whether ``node`` is used by the former search and hangs below a kept node."""
    record = old.nodes[row, node]
    if record.parent == trees.NO_NODE or record.visits == 0:
        return False
    return slot_of[node] == trees.NO_NODE and slot_of[record.parent] != trees.NO_NODE


@numba.njit(cache=True, nogil=True)
def _hang(old, new, row, b, node, slot, slot_of):
    """Copy ``node`` to ``slot`` below its kept parent; return False if its action is illegal now.

    The priors that go with it have the actions of all its former children free again: each child
    that is kept takes its own.
    """
    was = old.nodes[row, node]
    parent = slot_of[was.parent]
    prior = new.priors[parent, b, was.action]
    if prior < 0.0:
        return False
    slot_of[node] = slot
    new.priors[parent, b, was.action] = trees.TAKEN
    new.priors[slot, b] = old.priors[node, row]
    grandchild = was.first_child
    while grandchild != trees.NO_NODE:
        below = old.nodes[row, grandchild]
        new.priors[slot, b, below.action] = below.prior
        grandchild = below.next_sibling
    above = new.nodes[b, parent]
    record = new.nodes[b, slot]
    record.value_sum = was.value_sum
    record.edge_value = was.edge_value
    record.visits = was.visits
    record.inherited = was.visits
    record.reward = was.reward
    record.prior = prior
    record.raw_value = was.raw_value
    record.parent = parent
    record.action = was.action
    record.depth = above.depth + 1
    record.first_child = trees.NO_NODE
    record.next_sibling = above.first_child
    above.first_child = slot
    return True


@numba.njit(cache=True, nogil=True)
def _credit_root(new, b):
    """Count the returns that came through the kept children as the root's own."""
    root = new.nodes[b, 0]
    child = root.first_child
    while child != trees.NO_NODE:
        record = new.nodes[b, child]
        root.visits += record.visits
        root.inherited += record.visits
        root.value_sum += record.visits * record.edge_value
        child = record.next_sibling
