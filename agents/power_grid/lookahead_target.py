"""The auxiliary target of the flow network: recorded look-aheads, and the losses on them.

A teacher that looks ahead at all actions knows more than which one it prefers: the loading of every
line after each. The flow network learns that too, from a few actions of each decision.

Shape letters: B rows of a batch, G environments, A actions, M actions recorded, L lines.
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
from agents.power_grid.lookahead_teacher import LOADINGS

if TYPE_CHECKING:
    from agents.power_grid.flow import FlowNetwork

ACTION = "lookahead_action"  # [..., M] int16, all different, or NO_ACTION
LOADING = "lookahead_loading"  # [..., M, L] float16, inf where the game would end
NO_ACTION = -1  # where fewer than M actions were looked ahead at
_HIGHEST = 2.0  # loading beyond which more makes no difference: lines trip at once
_MOST = np.float32(1000.0)  # loading that is recorded; no more is learned from than _HIGHEST
_NEAR = 0.7  # loading from which on errors count in full
_FAR_WEIGHT, _NEAR_WEIGHT = 0.2, 2.0  # of errors on lines of little and of much loading
_BETA = 0.02  # error up to which the loss is quadratic
_UNKNOWN_LOGIT = -1e9


class LookaheadTarget(AuxiliaryTarget):
    """Line loadings and endings after some actions of each decision; see ``AuxiliaryTarget``.

    The losses are ``loading``, smooth L1 summed over lines, ``ending`` and ``choice``, in nats, the
    latter of the root policy among the actions recorded: means over the actions of a batch.

    Args:
        num_lines: L.
        size: M; ``2 M (1 + L)`` bytes a decision.
        weight: of each loss.

    Raises:
        ValueError: ``size`` is not positive, or ``weight`` is negative or not finite.
    """

    def __init__(self, *, num_lines: int, size: int, weight: float) -> None:
        require_positive(lookaheads=size)
        if not 0.0 <= weight < math.inf:
            raise ValueError(f"lookahead_weight must be finite and not negative: {weight}")
        self.fields = {
            ACTION: Field((size,), np.int16),
            LOADING: Field((size, num_lines), np.float16),
        }
        self.loss_weights = {name: weight for name in ("loading", "ending", "choice")}

    def check_teacher(self, teacher: Teacher | None) -> None:
        """See ``AuxiliaryTarget.check_teacher``: it must look ahead."""
        if teacher is not None and LOADINGS in teacher.findings:
            return
        found = "there is none" if teacher is None else f"{type(teacher).__name__} does not"
        raise ValueError(
            f"network=flow learns line loadings from a teacher that looks ahead, and {found}; set "
            "agent/teacher=lookahead and agent.plan.taught_decisions to the number of decisions to "
            "be taught, or take network=residual"
        )

    def collect(self, moment: Moment) -> Mapping[str, np.ndarray]:
        """See ``AuxiliaryTarget.collect``."""
        num_envs, num_actions = moment.action_mask.shape
        if moment.advice is None:
            absent = {ACTION: NO_ACTION, LOADING: 0}
            return {
                name: np.full((num_envs, *field.shape), absent[name], field.dtype)
                for name, field in self.fields.items()
            }
        noise = np.stack([generator.gumbel(size=num_actions) for generator in moment.generators])
        loadings, policy = moment.advice.findings[LOADINGS], moment.advice.policy
        (size,) = self.fields[ACTION].shape
        return choose_lookaheads(loadings, policy, moment.search.policy, noise, size)

    def losses(
        self, network: FlowNetwork, batch: Batch[torch.Tensor], unrolled: Unrolled
    ) -> Mapping[str, torch.Tensor]:
        """See ``AuxiliaryTarget.losses``: on the first position of each row."""
        decisions = batch.decisions
        targets = decisions.extras[LOADING][:, 0].float()
        kept = decisions.extras[ACTION][:, 0].long()
        known = kept >= 0
        actions = kept.clamp_min(0)
        rows, places = known.nonzero(as_tuple=True)
        if not len(rows):
            return dict.fromkeys(self.loss_weights, targets.new_zeros(()))
        taken = actions[rows, places]
        predicted = network.outcomes(decisions.observation[:, 0], rows, taken)
        target = targets[rows, places]
        over = torch.isinf(target[:, 0])
        loading = loading_loss(predicted.loading, target, ~over)
        ending = functional.binary_cross_entropy_with_logits(predicted.end_logit, over.float())

        logits = network.choice_logits(unrolled.policy_logits[:, 0][rows, taken], predicted)
        table = logits.new_full(known.shape, _UNKNOWN_LOGIT).index_put((rows, places), logits)
        wanted = decisions.policy[:, 0].gather(1, actions) * known
        wanted = wanted / wanted.sum(dim=1, keepdim=True).clamp_min(1e-6)
        choice = -(wanted * table.log_softmax(dim=1)).sum(dim=1).mean()
        return {"loading": loading, "ending": ending, "choice": choice}


def loading_loss(
    loading: torch.Tensor, target: torch.Tensor, goes_on: torch.Tensor
) -> torch.Tensor:
    """Return smooth L1 ``[]`` summed over lines, mean over the rows where the game goes on.

    Args:
        loading: ``[M, L]`` foreseen.
        target: ``[M, L]``.
        goes_on: ``[M]`` bool.
    """
    target = torch.where(goes_on[:, None], target, 0.0).clamp_max(_HIGHEST)
    error = functional.smooth_l1_loss(loading, target, reduction="none", beta=_BETA)
    near = (target > _NEAR) | (loading.detach() > _NEAR)
    error = (error * torch.where(near, _NEAR_WEIGHT, _FAR_WEIGHT)).sum(dim=1)
    return (error * goes_on).sum() / goes_on.sum().clamp_min(1)


def stored_loadings(loadings: np.ndarray) -> np.ndarray:
    """Return ``loadings`` in 16 bits; inf, which is an ending, stays what nothing else becomes."""
    return np.where(np.isinf(loadings), loadings, np.minimum(loadings, _MOST)).astype(np.float16)


def choose_lookaheads(
    loadings: np.ndarray, policy: np.ndarray, preference: np.ndarray, noise: np.ndarray, size: int
) -> dict[str, np.ndarray]:
    """Choose ``size`` actions of each decision; return them and their loadings, by field.

    A third are those that the teacher prefers, a third those that the agent does, which is where
    its mistakes are, and the rest are any.

    Args:
        loadings: ``[G, A, L]``, NaN where it was not looked, inf where the game would end.
        policy: ``[G, A]`` the teacher's.
        preference: ``[G, A]`` the agent's policy.
        noise: ``[G, A]`` Gumbel noise: the choice is drawn.
        size: M, A or less.
    """
    known = ~np.isnan(loadings[..., 0])
    rows = np.arange(len(known))[:, None]
    free = known.copy()
    chosen = np.zeros_like(known)
    third = size // 3
    for weights, count in ((policy, third), (preference, third), (None, size - 2 * third)):
        keys = noise if weights is None else np.log(weights + 1e-6) + 0.5 * noise
        keys = np.where(free, keys, -np.inf)
        best = np.argpartition(-keys, count - 1, axis=1)[:, :count]
        chosen[rows, best] |= free[rows, best]
        free[rows, best] = False
    order = np.argsort(~chosen, axis=1, kind="stable")[:, :size]
    there = chosen[rows, order]
    found = loadings[rows, order]
    kept = stored_loadings(found)
    return {
        ACTION: np.where(there, order, NO_ACTION).astype(np.int16),
        LOADING: np.where(there[..., None], kept, np.float16(0.0)),
    }
