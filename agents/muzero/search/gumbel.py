"""Gumbel MuZero: plan with few simulations and still improve the policy.

Danihelka et al. 2022, "Policy improvement by planning with Gumbel"
(https://openreview.net/forum?id=bERaNdoegnO): Gumbel-top-k and sequential halving choose the root's
actions, completed Q-values make the improved policy, and interior nodes follow it in expectation.
"""

from __future__ import annotations

import math
from typing import Literal

import numba
import numpy as np

from agents.muzero.search import tree as trees
from agents.muzero.search.base import Model
from agents.muzero.search.base import SearchResult
from envs.names import choose


@numba.njit(cache=True, nogil=True)
def _completed_values(tree, b, node, discount, visit_offset, value_scale, over_tree):
    """Return what completing the Q-values of one node needs, in one walk over its children.

    An unvisited action gets the mixed value (appendix D, equation 33): the node's own value and the
    prior-weighted Q of its visited children. Q-values are then rescaled to [0, 1], over the node's
    actions or over all edges of the tree, and multiplied by sigma = (visit_offset + most visits)
    value_scale (equation 8).

    Returns:
        low, spread: of the rescaling; sigma; mixed: the value of unvisited actions, in the
        environment's units; total: visits of all children; mass: prior of the visited children.
    """
    total = 0
    most = 0
    mass = 0.0
    weighted = 0.0
    low = np.inf
    high = -np.inf
    child = tree.first_child[b, node]
    while child != trees.NO_NODE:
        visits = tree.visits[b, child]
        value = tree.reward[b, child] + discount * tree.value_sum[b, child] / visits
        prior = max(np.float64(tree.prior[b, child]), 1.1754944e-38)
        total += visits
        most = max(most, visits)
        mass += prior
        weighted += prior * value
        low = min(low, value)
        high = max(high, value)
        child = tree.next_sibling[b, child]
    mixed = np.float64(tree.raw_value[b, node])
    if total > 0:
        mixed = (mixed + total * (weighted / mass)) / (total + 1)
    if tree.best_unvisited[b, node] != trees.NO_ACTION:
        low = min(low, mixed)
        high = max(high, mixed)
    if over_tree and tree.highest[b] >= tree.lowest[b]:
        low = tree.lowest[b]
        high = tree.highest[b]
    sigma = (visit_offset + most) * value_scale
    return low, max(high - low, 1e-8), sigma, mixed, total, mass


@numba.njit(cache=True, nogil=True)
def _select_interior(tree, b, node, discount, visit_offset, value_scale, over_tree):
    """Return (action, child) of argmax pi'(a) - N(a) / (1 + sum N) (equation 14)."""
    low, spread, sigma, mixed, total, mass = _completed_values(
        tree, b, node, discount, visit_offset, value_scale, over_tree
    )
    best_action = tree.best_unvisited[b, node]
    best_child = trees.NO_NODE
    # exp(sigma * 1) can reach e^13 with the default scales: relative to the top one it's safe.
    normalizer = 0.0
    unvisited = 0.0
    if best_action != trees.NO_ACTION:
        unvisited = np.exp(sigma * ((mixed - low) / spread - 1.0))
        normalizer += max(1.0 - mass, 0.0) * unvisited
    child = tree.first_child[b, node]
    while child != trees.NO_NODE:
        value = tree.reward[b, child] + discount * tree.value_sum[b, child] / tree.visits[b, child]
        normalizer += tree.prior[b, child] * np.exp(sigma * ((value - low) / spread - 1.0))
        child = tree.next_sibling[b, child]
    normalizer = max(normalizer, 1e-300)

    best_score = -np.inf
    if best_action != trees.NO_ACTION:
        best_score = tree.unvisited[b, node, best_action] * unvisited / normalizer
    child = tree.first_child[b, node]
    while child != trees.NO_NODE:
        visits = tree.visits[b, child]
        value = tree.reward[b, child] + discount * tree.value_sum[b, child] / visits
        improved = tree.prior[b, child] * np.exp(sigma * ((value - low) / spread - 1.0))
        score = improved / normalizer - visits / (1.0 + total)
        action = tree.action[b, child]
        if score > best_score or (score == best_score and action < best_action):
            best_score = score
            best_action = action
            best_child = child
        child = tree.next_sibling[b, child]
    return best_action, best_child


@numba.njit(cache=True, nogil=True)
def _root_scores(
    tree, b, discount, visit_offset, value_scale, over_tree, noisy_logits, scores, visits
):  # fmt: skip
    """Fill ``scores [A]`` = gumbel + logits + sigma Q and ``visits [A]`` of one root."""
    low, spread, sigma, mixed, _, _ = _completed_values(
        tree, b, 0, discount, visit_offset, value_scale, over_tree
    )
    completed = np.float32(sigma * (mixed - low) / spread)
    for action in range(scores.shape[0]):
        scores[action] = noisy_logits[action] + completed
        visits[action] = 0
    child = tree.first_child[b, 0]
    while child != trees.NO_NODE:
        action = tree.action[b, child]
        value = tree.reward[b, child] + discount * tree.value_sum[b, child] / tree.visits[b, child]
        scores[action] = noisy_logits[action] + np.float32(sigma * (value - low) / spread)
        visits[action] = tree.visits[b, child]
        child = tree.next_sibling[b, child]


@numba.njit(cache=True, nogil=True)
def _select(
    tree,
    discount,
    visit_offset,
    value_scale,
    over_tree,
    noisy_logits,
    candidates,
    wanted,
    parents,
    actions,
):
    """Write the edge to grow in every tree: sequential halving at the root, pi' below it.

    ``candidates [B, K]`` are the root's considered actions in order of gumbel + logits, -1 beyond
    the legal ones; ``wanted [B]`` is the visit count that this simulation's candidates must have.
    """
    for b in range(parents.shape[0]):
        low, spread, sigma, mixed, _, _ = _completed_values(
            tree, b, 0, discount, visit_offset, value_scale, over_tree
        )
        action = trees.NO_ACTION
        node = trees.NO_NODE
        best_score = -np.inf
        if wanted[b] == 0:
            for k in range(candidates.shape[1]):
                candidate = candidates[b, k]
                if candidate >= 0 and tree.unvisited[b, 0, candidate] >= 0.0:
                    action = candidate
                    break
        else:
            child = tree.first_child[b, 0]
            while child != trees.NO_NODE:
                if tree.visits[b, child] == wanted[b]:
                    mean = tree.value_sum[b, child] / tree.visits[b, child]
                    value = tree.reward[b, child] + discount * mean
                    candidate = tree.action[b, child]
                    score = noisy_logits[b, candidate] + sigma * (value - low) / spread
                    if score > best_score or (score == best_score and candidate < action):
                        best_score = score
                        action = candidate
                        node = child
                child = tree.next_sibling[b, child]
        parent = 0
        while node != trees.NO_NODE:
            parent = node
            action, node = _select_interior(
                tree, b, parent, discount, visit_offset, value_scale, over_tree
            )
        parents[b] = parent
        actions[b] = action


@numba.njit(cache=True, nogil=True)
def _all_root_scores(
    tree, discount, visit_offset, value_scale, over_tree, noisy_logits, scores, visits
):  # fmt: skip
    """Fill ``scores [B, A]`` and ``visits [B, A]``; see ``_root_scores``."""
    for b in range(scores.shape[0]):
        _root_scores(
            tree,
            b,
            discount,
            visit_offset,
            value_scale,
            over_tree,
            noisy_logits[b],
            scores[b],
            visits[b],
        )


def considered_visits(num_considered: int, num_simulations: int) -> np.ndarray:
    """Return ``[num_simulations]``: the visit count that each simulation's action must have.

    Sequential halving (section 3 of the paper): all considered actions get the same number of
    visits in a phase, then the better half goes on; log2 phases share the simulations equally.
    """
    if num_considered <= 1:
        return np.arange(num_simulations, dtype=np.int32)
    phases = math.ceil(math.log2(num_considered))
    visits = [0] * num_considered
    sequence: list[int] = []
    remaining = num_considered
    while len(sequence) < num_simulations:
        extra = max(1, num_simulations // (phases * remaining))
        for _ in range(extra):
            sequence.extend(visits[:remaining])
            for index in range(remaining):
                visits[index] += 1
        remaining = max(2, remaining // 2)
    return np.array(sequence[:num_simulations], dtype=np.int32)


class GumbelSearch:
    """Gumbel MuZero for B roots at once, flat compiled trees, one model call per simulation.

    Args:
        num_simulations: model calls per decision; each adds one node.
        discount: gamma per decision.
        max_considered: root actions that sequential halving starts from (fewer where fewer are
            legal).
        visit_offset: c_visit of sigma; value_scale: c_scale (0.1 as in mctx and LightZero, with
            Q-values rescaled to [0, 1]).
        normalization: what Q-values are rescaled over: "siblings", the node's own actions (as in
            mctx; of two actions one is then always 0 and the other 1), or "tree", all edges of the
            tree as in MuZero, which keeps small differences small.
        gumbel_scale: of the root noise when exploring; evaluation plays without noise.

    ``temperature`` has no part in it: the Gumbel noise is the exploration.
    """

    def __init__(
        self,
        *,
        num_simulations: int = 32,
        discount: float = 0.9,
        max_considered: int = 16,
        visit_offset: float = 50.0,
        value_scale: float = 0.1,
        normalization: Literal["siblings", "tree"] = "siblings",
        gumbel_scale: float = 1.0,
    ) -> None:
        trees.require_positive("num_simulations", num_simulations)
        trees.require_positive("max_considered", max_considered)
        self.num_simulations = int(num_simulations)
        self.discount = float(discount)
        self.max_considered = int(max_considered)
        self.visit_offset = float(visit_offset)
        self.value_scale = float(value_scale)
        self.gumbel_scale = float(gumbel_scale)
        self._over_tree = choose("normalization", normalization, ("siblings", "tree")) == "tree"
        self._forest = trees.Forest()
        self._schedules = np.stack(
            [
                considered_visits(count, self.num_simulations)
                for count in range(self.max_considered + 1)
            ]
        )

    def run(
        self,
        model: Model,
        observations: np.ndarray,
        action_mask: np.ndarray,
        rng: np.random.Generator | list[np.random.Generator],
        *,
        temperature: float = 1.0,
        explore: bool = True,
    ) -> SearchResult:
        """Plan for B roots; see ``Search.run``."""
        output = model.root(observations)
        trees.check_roots(output, action_mask)
        legal = action_mask.astype(bool)
        num_roots, num_actions = legal.shape
        logits = np.where(legal, output.policy_logits, np.float32(-np.inf))
        priors = np.where(legal, trees.softmax(logits), np.float32(-1.0))
        noisy_logits = logits - logits.max(axis=1, keepdims=True)
        if explore and self.gumbel_scale > 0.0:
            generators = trees.row_generators(rng, num_roots)
            noise = np.stack([generator.gumbel(size=num_actions) for generator in generators])
            noisy_logits = noisy_logits + (self.gumbel_scale * noise).astype(np.float32)

        num_considered = np.minimum(legal.sum(axis=1), self.max_considered)
        candidates = self._candidates(noisy_logits, num_considered)
        wanted = self._schedules[num_considered]  # [B, simulations]
        num_nodes = self.num_simulations + 1
        tree = self._forest.plant(output, priors, num_nodes, root_visits=1)
        parents = np.empty(num_roots, np.int64)
        actions = np.empty(num_roots, np.int64)
        constants = (self.discount, self.visit_offset, self.value_scale, self._over_tree)
        for node in range(1, num_nodes):
            _select(
                tree, *constants, noisy_logits, candidates, wanted[:, node - 1], parents, actions
            )
            self._forest.step(model, node, parents, actions, self.discount)

        scores = np.empty((num_roots, num_actions), np.float32)
        visit_counts = np.empty((num_roots, num_actions), np.int32)
        _all_root_scores(tree, *constants, noisy_logits, scores, visit_counts)
        finalists = visit_counts == visit_counts.max(axis=1, keepdims=True)
        action = np.where(finalists, scores, np.float32(-np.inf)).argmax(axis=1)
        _all_root_scores(tree, *constants, logits, scores, visit_counts)
        return SearchResult(
            visit_counts=visit_counts,
            policy=trees.softmax(scores),
            value=(tree.value_sum[:, 0] / tree.visits[:, 0]).astype(np.float32),
            action=action,
            statistics=trees.summarise(tree, visit_counts),
        )

    def _candidates(self, noisy_logits: np.ndarray, num_considered: np.ndarray) -> np.ndarray:
        """Return [B, K] actions of the highest gumbel + logits in order; -1 beyond the legal."""
        width = min(self.max_considered, noisy_logits.shape[1])
        order = np.argsort(-noisy_logits, axis=1, kind="stable")[:, :width].astype(np.int32)
        return np.where(np.arange(width) < num_considered[:, None], order, np.int32(-1))
