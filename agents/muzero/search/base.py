"""The interfaces ``Model`` and ``Search``, and their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch


class ModelOutput(NamedTuple):
    """What a model says of B states. Values and rewards are in the environment's own units.

    Reward and discount are of the edge into the state; a search backs up reward + discount * value.
    """

    value: np.ndarray  # [B] float32, expected discounted return from the state
    reward: np.ndarray  # [B] float32; 0 at the root
    discount: np.ndarray  # [B] float32, of what follows; 0 where the episode ended; 1 at the root
    policy_logits: np.ndarray  # [B, A] float32
    states: torch.Tensor  # [B, ...], hidden states, or integer handles of a simulator's copies


class Model(Protocol):
    """What a search plans in: learned networks, or the simulator itself."""

    num_actions: int

    def root(self, observations: np.ndarray, legal: np.ndarray | None = None) -> ModelOutput:
        """Return the model's view of B observations ``[B, ...]``.

        Args:
            observations: ``[B, ...]``.
            legal: ``[B, A]``, 1 = legal: whose policy logits will be looked at; None: all.
        """
        ...

    def step(self, states: torch.Tensor, actions: np.ndarray) -> ModelOutput:
        """Return the result of ``actions [B]`` int64 in ``states [B, ...]``."""
        ...


class Afterstates(NamedTuple):
    """What a model says of n actions before chance has its say.

    An afterstate is a state and an action (Antonoglou et al. 2022, "Planning in stochastic
    environments with a learned model", https://openreview.net/forum?id=X6D9bAHhBQ1). It has no
    value of its own: a search looks at an outcome of it in the same simulation.
    """

    reward: np.ndarray  # [n] float32, of the edge from the state to its afterstate
    discount: np.ndarray  # [n] float32, of that edge; 0 where the episode ends whatever happens
    probabilities: np.ndarray  # [n, C] float32, of the outcomes, sum 1; 0: it cannot happen
    states: torch.Tensor  # [n, ...], of the shape and dtype of ``ModelOutput.states``


class ChanceModel(Protocol):
    """A model in which what follows an action is left to chance.

    Searches tell it from a ``Model`` by ``num_outcomes``. An afterstate with one possible outcome
    takes no more simulations than a deterministic step.
    """

    num_actions: int
    num_outcomes: int  # C

    @property
    def outcome_names(self) -> Sequence[str] | None:
        """[C] outcomes in words, such as "line 6-8 is lost", for people; None for none."""
        ...

    def root(self, observations: np.ndarray, legal: np.ndarray | None = None) -> ModelOutput:
        """See ``Model.root``."""
        ...

    def afterstate(self, states: torch.Tensor, actions: np.ndarray) -> Afterstates:
        """Return what ``actions [n]`` int64 in ``states [n, ...]`` lead to, before chance.

        n is at most B: the rows whose tree grows a new action in this simulation.
        """
        ...

    def outcome(self, states: torch.Tensor, outcomes: np.ndarray) -> ModelOutput:
        """Return what ``outcomes [B]`` int64 of afterstates ``states [B, ...]`` lead to.

        Reward and discount are of the edge from the afterstate; in most models the reward of a
        step follows from the outcome, so it is here, and that of ``afterstate`` is 0.
        """
        ...


class TreeStatistics(NamedTuple):
    """What a person wants to know of B finished searches."""

    depth: np.ndarray  # [B] int, of the deepest node, actions from the root
    width: np.ndarray  # [B] int, root actions visited
    visit_entropy: np.ndarray  # [B] float, nats, of the root's visit distribution


@dataclass(frozen=True)
class SearchResult:
    """The outcome of B searches."""

    visit_counts: np.ndarray  # [B, A] int32, visits of the root's children
    policy: np.ndarray  # [B, A] float32, improved policy: the learner's target
    value: np.ndarray  # [B] float32, value of the root after the search
    action: np.ndarray  # [B] int64, the search's own choice, exploration included
    statistics: TreeStatistics


class Search(Protocol):
    """Plans for B roots at once. Rows do not influence each other."""

    num_simulations: int

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
        """Plan from ``observations [B, ...]``.

        Args:
            model: what to plan in.
            observations: ``[B, ...]``.
            action_mask: ``[B, A]`` int8, 1 = legal; at least one legal action a row.
            rng: one generator, or one per row (then a row's result does not depend on B).
            temperature: of the choice of action; 0 takes the best.
            explore: False drops root noise and random choice (evaluation).

        Raises:
            ValueError: shapes disagree, a row has no legal action, or the model returned a
                value that is not finite; the message names the row and the fix.
        """
        ...
