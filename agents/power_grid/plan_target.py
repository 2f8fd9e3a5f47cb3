"""The auxiliary target of what plans lead to: the flow network's loadings far from the present.

Shape letters: B decisions, E element ends, G environments, L lines, P topologies of a decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from agents.muzero.auxiliary import AuxiliaryTarget, Moment
from agents.muzero.decision import Field
from agents.muzero.networks.base import Unrolled, require_positive
from agents.muzero.replay import Batch
from agents.muzero.teacher import Teacher
from agents.power_grid.lookahead_target import loading_loss, stored_loadings

if TYPE_CHECKING:
    from agents.power_grid.flow import FlowNetwork

# what a teacher finds: [B, P, E] int8 topologies that plans lead to, all 0 where there is none, and
# [B, P, L] float32 loadings in them, inf where there is no solution
TOPOLOGIES, PLANNED_LOADINGS = "topologies", "planned_loadings"


class PlanTarget(AuxiliaryTarget):
    """Loadings in topologies that several actions and losses of lines lead to, and their collapse.

    The losses are ``planned``, as ``LookaheadTarget``'s of loadings, and ``collapse``, in nats:
    means over the topologies of a batch.

    Args:
        num_lines: L.
        num_ends: E.
        size: P; ``P (E + 2 L)`` bytes a decision.
        weight: of each loss.

    Raises:
        ValueError: ``size`` is not positive, or ``weight`` is negative or not finite.
    """

    def __init__(self, *, num_lines: int, num_ends: int, size: int, weight: float) -> None:
        require_positive(planned=size)
        if not 0.0 <= weight < math.inf:
            raise ValueError(f"lookahead_weight must be finite and not negative: {weight}")
        self.fields = {
            TOPOLOGIES: Field((size, num_ends), np.int8),
            PLANNED_LOADINGS: Field((size, num_lines), np.float16),
        }
        self.loss_weights = {"planned": weight, "collapse": weight}

    def check_teacher(self, teacher: Teacher | None) -> None:
        """See ``AuxiliaryTarget.check_teacher``: it must plan."""
        if teacher is not None and TOPOLOGIES in teacher.findings:
            return
        found = "there is none" if teacher is None else f"{type(teacher).__name__} does not"
        raise ValueError(
            f"agent.network.planned learns from a teacher that plans, and {found}; set "
            "agent/teacher=plans, or agent.network.planned=0"
        )

    def collect(self, moment: Moment) -> Mapping[str, np.ndarray]:
        """See ``AuxiliaryTarget.collect``: P of what the teacher found, drawn at random."""
        num_envs = len(moment.action_mask)
        kept = {
            name: np.zeros((num_envs, *field.shape), field.dtype)
            for name, field in self.fields.items()
        }
        if moment.advice is None:
            return kept
        found = moment.advice.findings
        size = len(kept[TOPOLOGIES][0])
        for env, generator in enumerate(moment.generators):
            there = np.flatnonzero(found[TOPOLOGIES][env].any(axis=1))
            drawn = generator.permutation(there)[:size]
            kept[TOPOLOGIES][env, : len(drawn)] = found[TOPOLOGIES][env, drawn]
            loadings = stored_loadings(found[PLANNED_LOADINGS][env, drawn])
            kept[PLANNED_LOADINGS][env, : len(drawn)] = loadings
        return kept

    def losses(
        self, network: FlowNetwork, batch: Batch[torch.Tensor], unrolled: Unrolled
    ) -> Mapping[str, torch.Tensor]:
        """See ``AuxiliaryTarget.losses``: on the first position of each row."""
        del unrolled
        decisions = batch.decisions
        topologies = decisions.extras[TOPOLOGIES][:, 0]
        rows, places = topologies.any(dim=2).nonzero(as_tuple=True)
        if not len(rows):
            nothing = batch.weights.new_zeros(())
            return dict.fromkeys(self.loss_weights, nothing)
        flat = decisions.observation[:, 0].flatten(1)
        busbars = topologies[rows, places]
        known = network.loadings.observe(network.tables, flat)
        loading, ends = network.loadings(network.tables, known[rows], busbars)
        target = decisions.extras[PLANNED_LOADINGS][:, 0][rows, places].float()
        collapsed = torch.isinf(target[:, 0])
        logit = network.collapse_logits(flat, rows, busbars, loading, ends)
        collapse = functional.binary_cross_entropy_with_logits(logit, collapsed.float())
        return {"planned": loading_loss(loading.t(), target, ~collapsed), "collapse": collapse}
