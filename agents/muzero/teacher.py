"""The teacher of a DAgger warm start: names the policy targets of the first decisions.

A search in an untrained model finds nothing to learn from. For a while a teacher can name better
policies, in every state that self-play comes to, by means that only training has: the simulator.
Some environments are led by the teacher, in the others the agent plays, and both kinds of states
are learned from (DAgger: Ross et al. 2011, https://arxiv.org/abs/1011.0686): an agent that only
saw its teacher's states would not know what to do after its own mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np

from agents.environments import VectorEnvironment


class Advice(NamedTuple):
    """What a teacher says of B states."""

    policy: np.ndarray  # [B, A] float32, rows summing to 1; illegal actions have 0
    findings: Mapping[str, np.ndarray] = MappingProxyType({})  # [B, ...], what else it found out


class Teacher(Protocol):
    """Names policies while environments are played.

    They depend on the present states alone, so that an interrupted training goes on exactly.
    """

    lead: float  # share of the environments in which its own choice is played
    findings: tuple[str, ...]  # names of what its advice holds besides policies

    def bind(self, env: VectorEnvironment) -> None:
        """Meet the environment about to be played.

        Raises:
            ValueError: it cannot teach there; the message says what to do.
        """
        ...

    def advise(self, action_mask: np.ndarray) -> Advice:
        """Return what it says of the present states.

        Args:
            action_mask: ``[B, A]``, 1 = legal.
        """
        ...
