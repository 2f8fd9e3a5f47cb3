"""MuZero's search: the PUCT (UCB) formula, Dirichlet noise at the root, visit-count policies.

The specification's formulas; its sources are Schrittwieser et al. 2020, appendix B
(https://arxiv.org/abs/1911.08265) and the pseudocode that goes with it.
"""

from __future__ import annotations

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

_SIBLINGS = 1  # of the choices of normalization
_PARENT = 1  # of the choices of first_play


class _Rules(NamedTuple):
    """The constants of a search, as its compiled loops take them."""

    c_base: float
    c_init: float
    normalization: int
    first_play: int
    exploration: np.ndarray  # [n] float64, ``_exploration`` of 0 .. n - 1 visits


@numba.njit(cache=True, nogil=True)
def _exploration(visits, c_base, c_init):
    """Return (log((N + c_base + 1) / c_base) + c_init) sqrt(N), N visits of the parent."""
    return (np.log((visits + c_base + 1.0) / c_base) + c_init) * np.sqrt(np.float64(visits))


@numba.njit(cache=True, nogil=True)
def _select(tree, b, rules, chances):
    """Walk tree ``b`` down its highest UCB scores; return the edge to grow: (parent, action).

    With ``chances`` it may be an outcome of an afterstate.

    UCB(c) = (log((N_p + c_base + 1) / c_base) + c_init) sqrt(N_p) / (N_c + 1) prior_c + value_c
    """
    node = 0
    while True:
        parent = tree.nodes[b, node]
        if parent.visits < rules.exploration.shape[0]:
            exploration = rules.exploration[parent.visits]
        else:
            exploration = _exploration(parent.visits, rules.c_base, rules.c_init)
        mean = parent.value_sum / parent.visits if parent.visits > 0 else 0.0
        low = tree.lowest[b]
        high = tree.highest[b]
        if rules.normalization == _SIBLINGS:
            low = mean
            high = mean
            child = parent.first_child
            while child != trees.NO_NODE:
                record = tree.nodes[b, child]
                low = min(low, record.edge_value)
                high = max(high, record.edge_value)
                child = record.next_sibling
            high = max(high, low + 1e-8)
        spread = high - low

        best_action = parent.best_unvisited
        best_child = trees.NO_NODE
        best_score = -np.inf
        if best_action != trees.NO_ACTION:
            best_score = exploration * parent.best_prior
            if rules.first_play == _PARENT:
                best_score += (mean - low) / spread if spread > 0.0 else mean
        child = parent.first_child
        while child != trees.NO_NODE:
            record = tree.nodes[b, child]
            value = record.edge_value
            if spread > 0.0:
                value = (value - low) / spread
            score = exploration / (record.visits + 1) * record.prior + value
            if score > best_score or (
                score == best_score and best_child != trees.NO_NODE and record.action < best_action
            ):
                best_score = score
                best_action = record.action
                best_child = child
            child = record.next_sibling
        if best_child == trees.NO_NODE:
            return node, best_action
        node = best_child
        if chances is not None:
            best_action, best_child = chance.select_outcome(tree, chances, b, node)
            if best_child == trees.NO_NODE:
                return node, best_action
            node = best_child


@numba.njit(cache=True, nogil=True)
def _advance(tree, edges, leaves, node, select, rules, chances):
    """Grow ``node`` in every tree, then choose the next edges; see ``batched_trees.Advance``.

    ``chances`` is None where nothing is left to chance: such code is compiled without the rest.
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
            parent, action = _select(tree, b, rules, chances)
            trees.choose_edge(edges, b, parent, action)
    return -1


class PUCTSearch(Copyable):
    """PUCT for B roots at once, flat compiled trees, one model call per simulation.

    Args:
        num_simulations: model calls per decision; each adds one node.
        c_base, c_init: constants of the UCB formula.
        dirichlet_alpha: concentration of the root noise, over the legal actions.
        exploration_fraction: share of that noise in the root priors.
        normalization: "tree" normalises Q = reward + discount * value by the smallest and largest
            one seen in the tree (the specification), unnormalised while they are equal; "siblings"
            by the parent's value and its visited children's Q (mctx's
            qtransform_by_parent_and_siblings).
        first_play: value component of an unvisited child: "zero" (the specification) or "parent",
            the parent's mean value, so that one good first visit doesn't end the search.
        selection: "softmax" samples from softmax(visits / temperature) (the specification),
            "power" from visits ** (1 / temperature) (MuZero).
        initial_root_visits: 0 counts only the backed-up returns of the root (the specification),
            1 counts the model's own root value too (mctx).
        chance_backup: what an afterstate of a ``ChanceModel`` is worth: "expectation", the mean of
            the outcomes looked at, weighted by their probabilities, or "worst", the least of them
            (any that can happen counts, however unlikely). No part where nothing is left to chance.

    Unvisited ties go to the higher prior, then to the lower action.
    """

    def __init__(
        self,
        *,
        num_simulations: int = 75,
        c_base: float = 19652.0,
        c_init: float = 1.25,
        dirichlet_alpha: float = 0.3,
        exploration_fraction: float = 0.25,
        normalization: Literal["tree", "siblings"] = "tree",
        first_play: Literal["zero", "parent"] = "zero",
        selection: Literal["softmax", "power"] = "softmax",
        initial_root_visits: int = 0,
        chance_backup: Literal["expectation", "worst"] = "expectation",
    ) -> None:
        require_positive("num_simulations", num_simulations)
        if not 0.0 <= exploration_fraction <= 1.0:
            raise ValueError(f"exploration_fraction must be in [0, 1], got {exploration_fraction}")
        for name, constant in {"dirichlet_alpha": dirichlet_alpha, "c_base": c_base}.items():
            if not 0.0 < constant < float("inf"):
                raise ValueError(f"{name} must be finite and positive, got {constant}")
        require_not_negative("c_init", c_init)
        if initial_root_visits not in (0, 1):
            raise ValueError(f"initial_root_visits must be 0 or 1, got {initial_root_visits}")
        self.num_simulations = int(num_simulations)
        self.dirichlet_alpha = dirichlet_alpha
        self.exploration_fraction = exploration_fraction
        self.selection = choose("selection", selection, ("softmax", "power"))
        self.initial_root_visits = initial_root_visits
        self._worst = chance.is_worst(chance_backup)
        self._rules = _Rules(
            c_base=float(c_base),
            c_init=float(c_init),
            normalization=("tree", "siblings").index(
                choose("normalization", normalization, ("tree", "siblings"))
            ),
            first_play=("zero", "parent").index(
                choose("first_play", first_play, ("zero", "parent"))
            ),
            exploration=np.array(
                [
                    _exploration(visits, float(c_base), float(c_init))
                    for visits in range(self.num_simulations + 2)
                ]
            ),
        )
        self._trees = BatchedTrees(self.num_simulations)

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
        for_noise, for_choice = noise.split(rng)
        priors = self._root_priors(
            output.policy_logits, action_mask, for_noise if explore else None
        )
        tree = self._trees.plant(model, output, priors, self.initial_root_visits)
        chances = self._trees.chances(worst=self._worst)
        self._trees.simulate(model, partial(_advance, rules=self._rules, chances=chances))
        visit_counts = np.empty(priors.shape, np.int32)
        trees.root_visits(tree, visit_counts)
        root = tree.nodes[:, 0]
        temperature = temperature if explore else 0.0
        return SearchResult(
            visit_counts=visit_counts,
            policy=(visit_counts / visit_counts.sum(axis=1, keepdims=True)).astype(np.float32),
            value=(root["value_sum"] / root["visits"]).astype(np.float32),
            action=self._choose(visit_counts, action_mask, for_choice, temperature),
            statistics=summarise(tree),
        )

    def last_tree(self) -> Tree:
        """Return the trees of the last search, overwritten by the next; ValueError before one."""
        return self._trees.tree

    def _root_priors(
        self,
        logits: np.ndarray,
        action_mask: np.ndarray,
        rng: noise.Randomness | None,
    ) -> np.ndarray:
        """Return [B, A] priors, with noise if ``rng``; TAKEN for illegal actions."""
        legal = action_mask.astype(bool)
        priors = softmax(np.where(legal, logits, np.float32(-np.inf)))
        if rng is not None and self.exploration_fraction > 0.0:
            share = np.float32(self.exploration_fraction)
            added = noise.dirichlet(rng, legal, self.dirichlet_alpha)
            priors = (np.float32(1.0) - share) * priors + share * added
        return np.where(legal, priors, trees.TAKEN)

    def _choose(
        self,
        visit_counts: np.ndarray,
        action_mask: np.ndarray,
        rng: noise.Randomness,
        temperature: float,
    ) -> np.ndarray:
        """Return [B] actions drawn from the visit counts; the most visited at temperature 0."""
        if temperature <= 0.0:
            return visit_counts.argmax(axis=1)
        probabilities = visit_policy(visit_counts, action_mask, temperature, self.selection)
        draws = noise.uniform(rng, len(visit_counts))
        cumulative = probabilities.cumsum(axis=1)
        return (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(axis=1)


def visit_policy(
    visit_counts: np.ndarray, action_mask: np.ndarray, temperature: float, selection: str
) -> np.ndarray:
    """Return the [B, A] distribution that actions are drawn from; illegal ones get 0.

    "softmax": p = softmax(v) over the legal actions, unvisited included, then p^(1/temperature)
    normalised; the two steps together are softmax(v / temperature).
    "power": v^(1/temperature) normalised, which leaves unvisited actions at 0.
    """
    counts = visit_counts.astype(np.float64)
    if selection == "power":
        with np.errstate(divide="ignore"):
            counts = np.log(counts)
    scores = np.where(action_mask.astype(bool), counts / temperature, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
