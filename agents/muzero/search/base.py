"""The interfaces ``Model`` and ``Search``, and their records."""

from __future__ import annotations

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


class TreeStatistics(NamedTuple):
    """What a person wants to know of B finished searches."""

    depth: np.ndarray  # [B] int, deepest node
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
        model: Model,
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
