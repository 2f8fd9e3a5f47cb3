"""The trace of an episode: loadings, topology, attacks and decisions, step by step.

Shape letters: T steps played, L lines, G generators, D loads, E element ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.evaluation import EpisodeRecord
from agents.muzero.search.record import CandidateRecord, TreeRecord


@dataclass(frozen=True, kw_only=True)
class SearchTrace:
    """What the search behind a decision found."""

    value: float  # of the root, the environment's units
    num_simulations: int
    depth: int  # of the deepest node
    candidates: tuple[CandidateRecord, ...]  # most visited first

    @classmethod
    def of(cls, tree: TreeRecord) -> SearchTrace:
        """Return what is kept of ``tree``."""
        return cls(
            value=tree.value,
            num_simulations=tree.num_simulations,
            depth=tree.summary.depth,
            candidates=tree.candidates,
        )


@dataclass(frozen=True, kw_only=True)
class LossTrace:
    """The worst loss of a line in the next step, by the highest loading foreseen after it."""

    lost: (
        int  # line; -1: without a loss, since none at risk carries current, or the game ends anyway
    )
    loaded: int  # line that is loaded most then; -1: the game ends
    rho: float  # its loading; inf where the game ends


@dataclass(frozen=True, kw_only=True)
class DecisionTrace:
    """One decision of the agent."""

    step: int  # steps played before it: the agent saw frame ``step`` and led to ``step + 1``
    action: int
    illegal_reason: str  # why the grid refused it, "" if it did not
    search: SearchTrace | None  # None where the agent searches no trees
    worst_loss: LossTrace | None = None  # if nothing is done; None before it is looked at
    worst_loss_after: LossTrace | None = None  # with the action


@dataclass(frozen=True, kw_only=True)
class TopologyTrace:
    """A topology, in force from a frame on."""

    frame: int  # the first that shows it
    busbars: np.ndarray  # [E] int8: 1, 2, ..., or -1 disconnected


@dataclass(frozen=True, kw_only=True)
class EpisodeTrace:
    """One episode. Frame k shows the grid after k steps, so T steps have T + 1 frames."""

    record: EpisodeRecord
    start: np.datetime64  # wall clock of frame 0, minutes
    minutes_per_step: int
    rho: np.ndarray  # [T + 1, L] float32, current over thermal limit, 0 for an open line
    line_status: np.ndarray  # [T + 1, L] bool, True = connected
    p_or: np.ndarray  # [T + 1, L] float32, MW into the line at its origin
    gen_p: np.ndarray  # [T + 1, G] float32, MW
    load_p: np.ndarray  # [T + 1, D] float32, MW
    attack_steps: (
        np.ndarray
    )  # [T + 1, L] int32, steps that an opponent holds the line out, at least
    topologies: tuple[TopologyTrace, ...]  # the first of frame 0, then one for each change
    decisions: tuple[DecisionTrace, ...]  # in order of their steps
