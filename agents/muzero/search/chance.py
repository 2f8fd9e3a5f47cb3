"""Chance nodes: afterstates in a tree, whose outcomes chance chooses.

Below a decision node hang the afterstates of its actions, below an afterstate its outcomes, which
are decision nodes again. Every simulation ends in a new decision node: where it tries a new action,
it adds the afterstate and an outcome of it at once. Stochastic MuZero (Antonoglou et al. 2022) and
mctx stop at the afterstate, which costs every action a simulation more, and needs a value of it.

The outcome of a simulation is not drawn: like Stochastic MuZero's, the visits follow the
probabilities as closely as whole numbers can, so that a search repeats.

The value of an afterstate is calculated from its outcomes, reward + discount * value each, whenever
one of them changes; what its parent counts for earlier visits is replaced. So at any time

    value(decision) = (raw value + sum over actions of visits * Q) / visits,  Q = r + d * value.

Shape letters: B roots, D decision nodes a tree, S = D - 1 simulations, C outcomes.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from agents.muzero.search import tree as trees
from agents.muzero.search.tree import NO_ACTION, NO_NODE, TAKEN
from powergrid_muzero.names import choose

BACKUPS = ("expectation", "worst")
SUM_TOLERANCE = 1e-3  # of probabilities, about 1


class Chances(NamedTuple):
    """What trees with chance nodes hold beside a ``Tree``."""

    probabilities: np.ndarray  # [S, B, C] float32; TAKEN where visited or impossible
    worst: bool  # an afterstate counts as its worst outcome, not as their mean

    @staticmethod
    def allocate(num_roots: int, num_simulations: int, num_outcomes: int) -> Chances:
        """Return arrays for the afterstates of trees."""
        shape = (num_simulations, num_roots, num_outcomes)
        return Chances(np.empty(shape, np.float32), worst=False)


def is_worst(chance_backup: str) -> bool:
    """Return whether the option ``chance_backup`` is "worst"; ValueError if it is no option."""
    return choose("chance_backup", chance_backup, BACKUPS) == "worst"


@numba.njit(cache=True, nogil=True)
def clear(tree):
    """Mark the afterstates of all trees as not there."""
    for b in range(tree.nodes.shape[0]):
        for node in range(tree.priors.shape[0], tree.nodes.shape[1]):
            tree.nodes[b, node].visits = 0
            tree.nodes[b, node].depth = 0


@numba.njit(cache=True, nogil=True)
def _find_likeliest_unvisited(tree, chances, b, node):
    """Write ``best_unvisited`` and ``best_prior`` of an afterstate: the likeliest outcome left."""
    probabilities = chances.probabilities[node - tree.priors.shape[0], b]
    record = tree.nodes[b, node]
    record.best_unvisited = NO_ACTION
    record.best_prior = TAKEN
    for outcome in range(probabilities.shape[0]):
        if probabilities[outcome] > record.best_prior:
            record.best_unvisited = outcome
            record.best_prior = probabilities[outcome]


@numba.njit(cache=True, nogil=True)
def _hang(tree, b, node, edges, reward, discount, prior):
    """Hang ``node``, yet unvisited, below the chosen edge of tree ``b``; return it."""
    parent = edges.parents[b]
    above = tree.nodes[b, parent]
    leaf = tree.nodes[b, node]
    leaf.visits = 0
    leaf.value_sum = 0.0
    leaf.edge_value = 0.0
    leaf.raw_value = 0.0
    leaf.reward = reward
    leaf.discount = discount
    leaf.prior = prior
    leaf.parent = parent
    leaf.action = edges.actions[b]
    leaf.depth = above.depth + 1
    leaf.first_child = NO_NODE
    leaf.next_sibling = above.first_child
    above.first_child = node
    return leaf


@numba.njit(cache=True, nogil=True)
def add_afterstates(tree, chances, edges, rows, afterstates, simulation):
    """Hang the afterstates of chosen actions into trees, and choose their likeliest outcomes.

    Args:
        tree: of all B rows.
        chances: of the same.
        edges: of decision nodes at ``rows``; led on to the outcomes.
        rows: ``[n]`` int64.
        afterstates: (reward ``[n]``, discount ``[n]``, probabilities ``[n, C]``) of the model.
        simulation: from 1.

    Returns:
        The first of the n whose numbers are no rewards or no probabilities, -1 for none.
    """
    reward, discount, given = afterstates
    node = tree.priors.shape[0] - 1 + simulation
    for place in range(rows.shape[0]):
        b = rows[place]
        total = 0.0
        for outcome in range(given.shape[1]):
            if not given[place, outcome] >= 0.0:
                return place
            total += given[place, outcome]
        finite = np.isfinite(reward[place]) and np.isfinite(discount[place])
        if not (finite and abs(total - 1.0) <= SUM_TOLERANCE):
            return place
        parent = edges.parents[b]
        action = edges.actions[b]
        prior = tree.priors[parent, b, action]
        _hang(tree, b, node, edges, reward[place], discount[place], prior)
        tree.priors[parent, b, action] = TAKEN
        if tree.nodes[b, parent].best_unvisited == action:
            trees.find_best_unvisited(tree, b, parent)
        probabilities = chances.probabilities[simulation - 1, b]
        for outcome in range(given.shape[1]):
            probability = given[place, outcome]
            probabilities[outcome] = probability if probability > 0.0 else TAKEN
        _find_likeliest_unvisited(tree, chances, b, node)
        trees.choose_edge(edges, b, node, tree.nodes[b, node].best_unvisited)
    return -1


@numba.njit(cache=True, nogil=True)
def select_outcome(tree, chances, b, node):
    """Return (outcome, child) of afterstate ``node``; child NO_NODE if it is not in the tree yet.

    For the expectation argmax p / (visits + 1), as in Stochastic MuZero: visits stay proportional
    to probabilities. For the worst case the likelier of those not visited yet; then half of the
    visits go to the worst outcome, which alone decides the value, and half to the least visited
    one, which may turn out to be worse still. The lower outcome first among equals.
    """
    afterstate = tree.nodes[b, node]
    best_outcome = afterstate.best_unvisited
    best_child = NO_NODE
    child = afterstate.first_child
    if not chances.worst:
        best_score = -1.0
        if best_outcome != NO_ACTION:
            best_score = np.float64(afterstate.best_prior)
        while child != NO_NODE:
            record = tree.nodes[b, child]
            score = np.float64(record.prior) / (record.visits + 1)
            if score > best_score or (score == best_score and record.action < best_outcome):
                best_score = score
                best_outcome = record.action
                best_child = child
            child = record.next_sibling
        return best_outcome, best_child
    if best_outcome != NO_ACTION:
        return best_outcome, NO_NODE
    worst = child
    least = child
    while child != NO_NODE:
        record = tree.nodes[b, child]
        lowest = tree.nodes[b, worst]
        if record.edge_value < lowest.edge_value or (
            record.edge_value == lowest.edge_value and record.action < lowest.action
        ):
            worst = child
        fewest = tree.nodes[b, least]
        if record.visits < fewest.visits or (
            record.visits == fewest.visits and record.action < fewest.action
        ):
            least = child
        child = record.next_sibling
    best_child = worst if 2 * tree.nodes[b, worst].visits <= afterstate.visits else least
    return tree.nodes[b, best_child].action, best_child


@numba.njit(cache=True, nogil=True)
def _value(tree, chances, b, node):
    """Return the value of afterstate ``node``, of the outcomes that were visited.

    The mean is weighted by probabilities, not by visits: with few outcomes that is exact where the
    mean of visits still errs by what whole numbers leave.
    """
    total = 0.0
    mass = 0.0
    lowest = np.inf
    child = tree.nodes[b, node].first_child
    while child != NO_NODE:
        record = tree.nodes[b, child]
        total += record.prior * record.edge_value
        mass += record.prior
        lowest = min(lowest, record.edge_value)
        child = record.next_sibling
    return lowest if chances.worst else total / mass


@numba.njit(cache=True, nogil=True)
def grow(tree, chances, b, node, edges, leaves):
    """Hang decision ``node`` below the chosen outcome of tree ``b`` and bring values up to date.

    Returns:
        Whether the model's numbers are finite; if not, the tree is left as it was.
    """
    raw_value = leaves.value[b]
    reward = leaves.reward[b]
    discount = leaves.discount[b]
    if not (np.isfinite(raw_value) and np.isfinite(reward) and np.isfinite(discount)):
        return False
    best_prior = trees.softmax_row(leaves.logits[b], tree.priors[node, b])
    if np.isnan(best_prior):
        return False
    num_decisions = tree.priors.shape[0]
    above = edges.parents[b]
    outcome = edges.actions[b]
    probabilities = chances.probabilities[above - num_decisions, b]
    probability = probabilities[outcome]
    probabilities[outcome] = TAKEN
    if tree.nodes[b, above].best_unvisited == outcome:
        _find_likeliest_unvisited(tree, chances, b, above)
    leaf = _hang(tree, b, node, edges, reward, discount, probability)
    leaf.depth -= 1  # the action was counted above
    leaf.raw_value = raw_value
    leaf.best_prior = best_prior
    leaf.best_unvisited = trees.first_of(
        tree.priors[node, b].view(np.int32), np.float32(best_prior).view(np.int32)
    )
    value = np.float64(raw_value)
    leaf.visits = 1
    leaf.value_sum = value

    at = node
    while tree.nodes[b, at].parent != NO_NODE:
        record = tree.nodes[b, at]
        before = (record.visits - 1) * record.edge_value
        record.edge_value = record.reward + record.discount * value
        parent = record.parent
        above_it = tree.nodes[b, parent]
        above_it.visits += 1
        if parent >= num_decisions:
            value = _value(tree, chances, b, parent)
            above_it.value_sum = value * above_it.visits
        else:
            above_it.value_sum += record.visits * record.edge_value - before
            value = above_it.value_sum / above_it.visits
            # outcomes are never compared with actions: they don't stretch the scale of Q-values
            tree.lowest[b] = min(tree.lowest[b], record.edge_value)
            tree.highest[b] = max(tree.highest[b], record.edge_value)
        at = parent
    return True
