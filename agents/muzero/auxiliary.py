"""Auxiliary targets: what a network learns besides rewards, values and policies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from agents.muzero.decision import Field
from agents.muzero.search.base import SearchResult
from agents.muzero.teacher import Advice, Teacher

if TYPE_CHECKING:
    from agents.muzero.networks.base import Unrolled
    from agents.muzero.replay import Batch


class Moment(NamedTuple):
    """What is known of G decisions before they are played."""

    observations: np.ndarray  # [G, ...] float32
    action_mask: np.ndarray  # [G, A] int8, 1 = legal
    search: SearchResult  # of the agent's own search
    advice: Advice | None  # the teacher's; None where it teaches nothing
    generators: Sequence[np.random.Generator]  # G, for what is drawn


class AuxiliaryTarget(ABC):
    """Something that a network learns from fields of its own in the record of decisions."""

    fields: Mapping[str, Field]  # what is recorded of each decision, in ``Decision.extras``
    loss_weights: Mapping[str, float]  # of each loss that ``losses`` returns

    @abstractmethod
    def check_teacher(self, teacher: Teacher | None) -> None:
        """Meet the teacher of a training, if there is one.

        Raises:
            ValueError: nothing can be learned from this one, or from none.
        """

    @abstractmethod
    def collect(self, moment: Moment) -> Mapping[str, np.ndarray]:
        """Return the ``fields`` of G decisions, ``[G, ...]``, whether or not they are taught."""

    @abstractmethod
    def losses(
        self, network: Any, batch: Batch[torch.Tensor], unrolled: Unrolled
    ) -> Mapping[str, torch.Tensor]:
        """Return the losses by name, unweighted, each ``[]``.

        Args:
            network: the one that declares this target.
            batch: whose ``decisions.extras`` hold the fields, ``[B, K+1, ...]``.
            unrolled: the network's outputs for it.
        """
