"""Gumbel MuZero (Danihelka et al. 2022): policy improvement with few simulations.

Danihelka et al. 2022, "Policy improvement by planning with Gumbel"
(https://openreview.net/forum?id=bERaNdoegnO): Gumbel-top-k and sequential halving choose the root's
actions, completed Q-values make the improved policy, and interior nodes follow it in expectation.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, NamedTuple

import numba
import numpy as np

from agents.muzero.search import chance, noise
from agents.muzero.search import tree as trees
from agents.muzero.search.base import ChanceModel, Model, SearchResult
from agents.muzero.search.batched_trees import BatchedTrees, softmax, summarise
from agents.muzero.search.checks import check_roots, require_not_negative, require_positive
from agents.muzero.search.tree import Tree
from powergrid_muzero.copies import Copyable
from powergrid_muzero.names import choose


class _Rules(NamedTuple):
    """The constants of a search, as its compiled loops take them."""

    visit_offset: float
    value_scale: float
    over_tree: bool
    rescale: bool


class _Plan(NamedTuple):
    """What sequential halving does at B roots."""

    candidates: np.ndarray  # [B, K] int32, actions in order of scores, NO_ACTION beyond the legal
    scores: np.ndarray  # [B, K] float32, gumbel + logits of the candidates
    children: np.ndarray  # [B, K] int32, the candidates' nodes, NO_NODE before the first visit
    wanted: np.ndarray  # [B, simulations] int32, visits that a simulation's candidates must have


@numba.njit(cache=True, nogil=True)
def _completed_values(tree, b, node, rules):
    """Return what completing the Q-values of one node needs, in one walk over its children.

    An unvisited action gets the mixed value (appendix D, equation 33): the node's own value and the
    prior-weighted Q of its visited children. Q-values are then rescaled to [0, 1], over the node's
    actions or over all edges of the tree, if they are, and multiplied by sigma = (visit_offset +
    most visits) value_scale (equation 8).

    Returns:
        low: of the rescaling; scale: sigma by its spread; mixed: the value of unvisited actions, in
        the environment's units; top: the highest value of an action; total: visits of all
        children; mass: prior of the visited children.
    """
    children = 0
    total = 0
    most = 0
    mass = 0.0
    weighted = 0.0
    low = np.inf
    high = -np.inf
    parent = tree.nodes[b, node]
    child = parent.first_child
    while child != trees.NO_NODE:
        record = tree.nodes[b, child]
        prior = max(np.float64(record.prior), 1.1754944e-38)
        children += 1
        total += record.visits
        most = max(most, record.visits)
        mass += prior
        weighted += prior * record.edge_value
        low = min(low, record.edge_value)
        high = max(high, record.edge_value)
        child = record.next_sibling
    mixed = np.float64(parent.raw_value)
    if total > 0:
        mixed = (mixed + total * (weighted / mass)) / (total + 1)
    if children < tree.priors.shape[2]:  # illegal actions at the root count as well, as in mctx
        low = min(low, mixed)
        high = max(high, mixed)
    top = high
    if rules.over_tree and tree.highest[b] >= tree.lowest[b]:
        low = tree.lowest[b]
        high = tree.highest[b]
    sigma = (rules.visit_offset + most) * rules.value_scale
    spread = max(high - low, 1e-8) if rules.rescale else 1.0
    return low, sigma / spread, mixed, top, total, mass


@numba.njit(cache=True, nogil=True)
def _select_interior(tree, b, node, rules):
    """Return (action, child) of argmax pi'(a) - N(a) / (1 + sum N) (equation 14)."""
    _, scale, mixed, top, total, mass = _completed_values(tree, b, node, rules)
    parent = tree.nodes[b, node]
    best_action = parent.best_unvisited
    best_child = trees.NO_NODE
    # exp(sigma) can reach e^13 with the default scales: relative to the top value it's safe.
    normalizer = 0.0
    unvisited = 0.0
    if best_action != trees.NO_ACTION:
        unvisited = np.exp(scale * (mixed - top))
        normalizer += max(1.0 - mass, 0.0) * unvisited
    child = parent.first_child
    while child != trees.NO_NODE:
        record = tree.nodes[b, child]
        normalizer += record.prior * np.exp(scale * (record.edge_value - top))
        child = record.next_sibling
    normalizer = max(normalizer, 1e-300)

    best_score = -np.inf
    if best_action != trees.NO_ACTION:
        best_score = parent.best_prior * unvisited / normalizer
    child = parent.first_child
    while child != trees.NO_NODE:
        record = tree.nodes[b, child]
        improved = record.prior * np.exp(scale * (record.edge_value - top))
        score = improved / normalizer - record.visits / (1.0 + total)
        if score > best_score or (score == best_score and record.action < best_action):
            best_score = score
            best_action = record.action
            best_child = child
        child = record.next_sibling
    return best_action, best_child


@numba.njit(cache=True, nogil=True)
def _select_root(tree, b, wanted, new_child, plan, rules):
    """Return (action, child) of the best candidate with ``wanted`` visits; child NO_NODE if new.

    ``new_child`` is the node that will be hung there.
    """
    children = plan.children[b]
    low, scale, _, _, _, _ = _completed_values(tree, b, 0, rules)
    best_action = trees.NO_ACTION
    best_child = trees.NO_NODE
    best_score = -np.inf
    for k in range(children.shape[0]):
        action = plan.candidates[b, k]
        if action == trees.NO_ACTION:
            break
        child = children[k]
        if child == trees.NO_NODE:
            if wanted == 0:
                children[k] = new_child
                return action, trees.NO_NODE
            continue
        record = tree.nodes[b, child]
        if record.visits == wanted:
            score = plan.scores[b, k] + scale * (record.edge_value - low)
            if score > best_score or (score == best_score and action < best_action):
                best_score = score
                best_action = action
                best_child = child
    return best_action, best_child


@numba.njit(cache=True, nogil=True)
def _advance(tree, edges, leaves, node, select, plan, rules, chances):
    """Grow ``node`` in every tree, then choose the next edges; see ``batched_trees.Advance``.

    Sequential halving chooses at the root, the improved policy below it, and chance below
    afterstates. ``chances`` is None where nothing is left to it: such code is compiled without.
    """
    for b in range(edges.parents.shape[0]):
        if node > 0:
            if chances is None:
                grown = trees.grow(tree, b, node, edges, leaves)
            else:
                grown = chance.grow(tree, chances, b, node, edges, leaves)
            if not grown:
                return b
        if select:
            parent = 0
            new_child = node + 1 if chances is None else tree.priors.shape[0] + node
            action, child = _select_root(tree, b, plan.wanted[b, node], new_child, plan, rules)
            while child != trees.NO_NODE:
                parent = child
                if chances is not None:
                    action, child = chance.select_outcome(tree, chances, b, parent)
                    if child == trees.NO_NODE:
                        break
                    parent = child
                action, child = _select_interior(tree, b, parent, rules)
            trees.choose_edge(edges, b, parent, action)
    return -1


@numba.njit(cache=True, nogil=True)
def _top_actions(scores, num_considered, width):
    """Return [B, width] int32: the ``num_considered [B]`` actions of the highest ``scores [B, A]``.

    In order of the scores, the lower action first among equals; NO_ACTION beyond.
    """
    candidates = np.full((scores.shape[0], width), trees.NO_ACTION, np.int32)
    for b in range(scores.shape[0]):
        rest = scores[b].copy()
        for k in range(num_considered[b]):
            best = trees.highest(rest)
            candidates[b, k] = best
            rest[best] = -np.inf
    return candidates


@numba.njit(cache=True, nogil=True)
def _root_scores(tree, rules, logits, scores):
    """Fill ``scores [B, A]`` = ``logits [B, A]`` + sigma Q, completed, of the roots."""
    for b in range(scores.shape[0]):
        low, scale, mixed, _, _, _ = _completed_values(tree, b, 0, rules)
        completed = np.float32(scale * (mixed - low))
        for action in range(scores.shape[1]):
            scores[b, action] = logits[b, action] + completed
        child = tree.nodes[b, 0].first_child
        while child != trees.NO_NODE:
            record = tree.nodes[b, child]
            value = np.float32(scale * (record.edge_value - low))
            scores[b, record.action] = logits[b, record.action] + value
            child = record.next_sibling


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


class GumbelSearch(Copyable):
    """Gumbel MuZero for B roots at once, flat compiled trees, one model call per simulation.

    Args:
        num_simulations: model calls per decision; each adds one node.
        max_considered: root actions that sequential halving starts from (fewer where fewer are
            legal).
        visit_offset: c_visit of sigma; value_scale: c_scale (0.1 as in mctx and LightZero, with
            Q-values rescaled to [0, 1]).
        normalization: what Q-values are rescaled over: "siblings", the node's own actions (as in
            mctx; of two actions one is then always 0 and the other 1), "tree", all edges of the
            tree as in MuZero, which keeps small differences small, or "none", nothing (mctx's
            ``rescale_values=False``): for values of a known range, such as the chance of a loss.
        gumbel_scale: of the root noise when exploring; evaluation plays without noise.
        chance_backup: what an afterstate of a ``ChanceModel`` is worth: "expectation", the mean of
            the outcomes looked at, weighted by their probabilities, or "worst", the least of them
            (any that can happen counts, however unlikely). No part where nothing is left to chance.

    ``temperature`` has no part in it: the Gumbel noise is the exploration.
    """

    def __init__(
        self,
        *,
        num_simulations: int = 32,
        max_considered: int = 16,
        visit_offset: float = 50.0,
        value_scale: float = 0.1,
        normalization: Literal["siblings", "tree", "none"] = "siblings",
        gumbel_scale: float = 1.0,
        chance_backup: Literal["expectation", "worst"] = "expectation",
    ) -> None:
        require_positive("num_simulations", num_simulations)
        require_positive("max_considered", max_considered)
        require_not_negative("visit_offset", visit_offset)
        require_not_negative("value_scale", value_scale)
        require_not_negative("gumbel_scale", gumbel_scale)
        choose("normalization", normalization, ("siblings", "tree", "none"))
        self.num_simulations = int(num_simulations)
        self.max_considered = int(max_considered)
        self.gumbel_scale = float(gumbel_scale)
        self._worst = chance.is_worst(chance_backup)
        self._rules = _Rules(
            visit_offset=float(visit_offset),
            value_scale=float(value_scale),
            over_tree=normalization == "tree",
            rescale=normalization != "none",
        )
        self._trees = BatchedTrees(self.num_simulations)
        self._schedules = np.stack(
            [
                considered_visits(count, self.num_simulations)
                for count in range(self.max_considered + 1)
            ]
        )

    def run(
        self,
        model: Model | ChanceModel,
        observations: np.ndarray,
        action_mask: np.ndarray,
        rng: np.random.Generator | list[np.random.Generator],
        *,
        temperature: float = 1.0,
        explore: bool = True,
    ) -> SearchResult:
        """Plan for B roots; see ``Search.run``."""
        output = model.root(observations, action_mask)
        check_roots(output, action_mask)
        legal = action_mask.astype(bool)
        num_roots, num_actions = legal.shape
        if self.max_considered > num_actions:
            raise ValueError(
                f"max_considered is {self.max_considered}, but there are {num_actions} actions; "
                f"set search.max_considered to {num_actions} or less"
            )
        logits = np.where(legal, output.policy_logits, np.float32(-np.inf))
        priors = np.where(legal, softmax(logits), trees.TAKEN)
        noisy_logits = logits - logits.max(axis=1, keepdims=True)
        if explore and self.gumbel_scale > 0.0:
            noisy_logits += np.float32(self.gumbel_scale) * noise.gumbel(rng, *legal.shape)

        num_considered = np.minimum(legal.sum(axis=1), self.max_considered)
        candidates = _top_actions(noisy_logits, num_considered, self.max_considered)
        plan = _Plan(
            candidates=candidates,
            scores=np.take_along_axis(noisy_logits, candidates, axis=1),
            children=np.full(candidates.shape, trees.NO_NODE, np.int32),
            wanted=self._schedules[num_considered],
        )
        tree = self._trees.plant(model, output, priors, 1)
        chances = self._trees.chances(worst=self._worst)
        advance = partial(_advance, plan=plan, rules=self._rules, chances=chances)
        self._trees.simulate(model, advance)

        visit_counts = np.empty((num_roots, num_actions), np.int32)
        trees.root_visits(tree, visit_counts)
        scores = np.empty((num_roots, num_actions), np.float32)
        _root_scores(tree, self._rules, noisy_logits, scores)
        finalists = visit_counts == visit_counts.max(axis=1, keepdims=True)
        action = np.where(finalists, scores, np.float32(-np.inf)).argmax(axis=1)
        _root_scores(tree, self._rules, logits, scores)
        root = tree.nodes[:, 0]
        return SearchResult(
            visit_counts=visit_counts,
            policy=softmax(scores),
            value=(root["value_sum"] / root["visits"]).astype(np.float32),
            action=action,
            statistics=summarise(tree),
        )

    def last_tree(self) -> Tree:
        """Return the trees of the last search, overwritten by the next; ValueError before one."""
        return self._trees.tree
