"""MuZero's own search: PUCT selection, Dirichlet noise at the root, visit-count policies.

The specification's formulas; its sources are Schrittwieser et al. 2020, appendix B
(https://arxiv.org/abs/1911.08265) and the pseudocode that goes with it.
"""

from __future__ import annotations

from typing import Literal

import numba
import numpy as np

from agents.muzero.search import tree as trees
from agents.muzero.search.base import Model
from agents.muzero.search.base import SearchResult
from envs.names import choose

_FIRST_PLAY_ZERO = 0
_FIRST_PLAY_PARENT = 1
_NORMALIZE_TREE = 0
_NORMALIZE_SIBLINGS = 1


@numba.njit(cache=True, nogil=True)
def _select(
    tree, discount, c_base, c_init, normalization, first_play, parents, actions
):  # fmt: skip
    """Walk every tree down its highest UCB scores; write the edge to grow: parents, actions [B].

    UCB(c) = (log((N_p + c_base + 1) / c_base) + c_init) sqrt(N_p) / (N_c + 1) prior_c + value_c
    """
    for b in range(parents.shape[0]):
        node = 0
        while True:
            parent_visits = tree.visits[b, node]
            exploration = (np.log((parent_visits + c_base + 1.0) / c_base) + c_init) * np.sqrt(
                np.float64(parent_visits)
            )
            mean = tree.value_sum[b, node] / parent_visits if parent_visits > 0 else 0.0
            low = tree.lowest[b]
            high = tree.highest[b]
            if normalization == _NORMALIZE_SIBLINGS:
                low = mean
                high = mean
                child = tree.first_child[b, node]
                while child != trees.NO_NODE:
                    child_mean = tree.value_sum[b, child] / tree.visits[b, child]
                    value = tree.reward[b, child] + discount * child_mean
                    low = min(low, value)
                    high = max(high, value)
                    child = tree.next_sibling[b, child]
            spread = high - low
            if normalization == _NORMALIZE_SIBLINGS:
                spread = max(spread, 1e-8)

            best_action = tree.best_unvisited[b, node]
            best_child = trees.NO_NODE
            best_score = -np.inf
            if best_action != trees.NO_ACTION:
                best_score = exploration * tree.unvisited[b, node, best_action]
                if first_play == _FIRST_PLAY_PARENT:
                    best_score += (mean - low) / spread if spread > 0.0 else mean
            child = tree.first_child[b, node]
            while child != trees.NO_NODE:
                visits = tree.visits[b, child]
                value = tree.reward[b, child] + discount * tree.value_sum[b, child] / visits
                if spread > 0.0:
                    value = (value - low) / spread
                score = exploration / (visits + 1) * tree.prior[b, child] + value
                action = tree.action[b, child]
                if score > best_score or (
                    score == best_score
                    and best_child != trees.NO_NODE
                    and action < best_action
                ):  # fmt: skip
                    best_score = score
                    best_action = action
                    best_child = child
                child = tree.next_sibling[b, child]
            if best_child == trees.NO_NODE:
                parents[b] = node
                actions[b] = best_action
                break
            node = best_child


class PUCTSearch:
    """PUCT for B roots at once, flat compiled trees, one model call per simulation.

    Args:
        num_simulations: model calls per decision; each adds one node.
        discount: gamma per decision.
        c_base, c_init: constants of the UCB formula.
        dirichlet_alpha: concentration of the root noise, over the legal actions.
        exploration_fraction: share of that noise in the root priors.
        normalization: "tree" normalises r + discount V by the smallest and largest one seen in
            the tree (the specification), unnormalised while they are equal; "siblings" by the
            parent's value and its visited children (mctx's qtransform_by_parent_and_siblings).
        first_play: value component of an unvisited child: "zero" (the specification) or "parent",
            the parent's mean value, so that one good first visit doesn't end the search.
        selection: "softmax" samples from softmax(visits / temperature) (the specification),
            "power" from visits ** (1 / temperature) (MuZero).
        initial_root_visits: 0 counts only the backed-up returns of the root (the specification),
            1 counts the model's own root value too (mctx).

    Unvisited ties go to the higher prior, then to the lower action.
    """

    def __init__(
        self,
        *,
        num_simulations: int = 75,
        discount: float = 0.9,
        c_base: float = 19652.0,
        c_init: float = 1.25,
        dirichlet_alpha: float = 0.3,
        exploration_fraction: float = 0.25,
        normalization: Literal["tree", "siblings"] = "tree",
        first_play: Literal["zero", "parent"] = "zero",
        selection: Literal["softmax", "power"] = "softmax",
        initial_root_visits: int = 0,
    ) -> None:
        trees.require_positive("num_simulations", num_simulations)
        if not 0.0 <= exploration_fraction <= 1.0:
            raise ValueError(f"exploration_fraction must be in [0, 1], got {exploration_fraction}")
        if dirichlet_alpha <= 0.0:
            raise ValueError(f"dirichlet_alpha must be positive, got {dirichlet_alpha}")
        self.num_simulations = int(num_simulations)
        self.discount = float(discount)
        self.c_base = float(c_base)
        self.c_init = float(c_init)
        self.dirichlet_alpha = dirichlet_alpha
        self.exploration_fraction = exploration_fraction
        self.selection = choose("selection", selection, ("softmax", "power"))
        self.initial_root_visits = initial_root_visits
        self._normalization = ("tree", "siblings").index(
            choose("normalization", normalization, ("tree", "siblings"))
        )
        self._first_play = ("zero", "parent").index(
            choose("first_play", first_play, ("zero", "parent"))
        )
        self._forest = trees.Forest()

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
        generators = trees.row_generators(rng, len(action_mask))
        priors = self._root_priors(output.policy_logits, action_mask, generators, explore)
        num_nodes = self.num_simulations + 1
        tree = self._forest.plant(output, priors, num_nodes, self.initial_root_visits)
        parents = np.empty(len(priors), np.int64)
        actions = np.empty(len(priors), np.int64)
        for node in range(1, num_nodes):
            _select(
                tree,
                self.discount,
                self.c_base,
                self.c_init,
                self._normalization,
                self._first_play,
                parents,
                actions,
            )
            self._forest.step(model, node, parents, actions, self.discount)

        visit_counts = np.empty(priors.shape, np.int32)
        trees.root_children(tree, self.discount, visit_counts, np.empty(priors.shape, np.float32))
        return SearchResult(
            visit_counts=visit_counts,
            policy=(visit_counts / self.num_simulations).astype(np.float32),
            value=(tree.value_sum[:, 0] / tree.visits[:, 0]).astype(np.float32),
            action=self._choose(
                visit_counts, action_mask, generators, temperature if explore else 0.0
            ),
            statistics=trees.summarise(tree, visit_counts),
        )

    def _root_priors(
        self,
        logits: np.ndarray,
        action_mask: np.ndarray,
        generators: list[np.random.Generator],
        explore: bool,
    ) -> np.ndarray:
        """Return [B, A] priors over the legal actions, noise added; -1 for illegal ones."""
        legal = action_mask.astype(bool)
        priors = trees.softmax(np.where(legal, logits, np.float32(-np.inf)))
        if explore and self.exploration_fraction > 0.0:
            for row, generator in enumerate(generators):
                noise = generator.dirichlet(np.full(legal[row].sum(), self.dirichlet_alpha))
                mixed = (1 - self.exploration_fraction) * priors[row, legal[row]]
                priors[row, legal[row]] = mixed + self.exploration_fraction * noise
        return np.where(legal, priors, np.float32(-1.0))

    def _choose(
        self,
        visit_counts: np.ndarray,
        action_mask: np.ndarray,
        generators: list[np.random.Generator],
        temperature: float,
    ) -> np.ndarray:
        """Return [B] actions drawn from the visit counts; the most visited at temperature 0."""
        if temperature <= 0.0:
            return visit_counts.argmax(axis=1)
        probabilities = visit_policy(visit_counts, action_mask, temperature, self.selection)
        draws = np.array([generator.random() for generator in generators])
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
