"""Look-aheads as something to learn from: which are kept of a decision, and the loss on them.

A teacher that looks ahead at all actions knows more than which one it prefers: the loading of every
line after each. A network that foresees learns that too, from a few actions of each decision.

Shape letters: B rows of a batch, G environments, A actions, M actions kept, L lines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from agents.muzero.networks.base import MuZeroNetwork
from envs.copies import Copyable

NO_ACTION = -1  # where fewer than M actions were looked ahead at
_HIGHEST = 2.0  # loading beyond which more makes no difference: lines trip at once
_MOST = np.float32(1000.0)  # loading that is kept; no more is learned from than _HIGHEST
_NEAR = 0.7  # loading from which on errors count in full
_FAR_WEIGHT, _NEAR_WEIGHT = 0.2, 2.0  # of errors on lines of little and of much loading
_BETA = 0.02  # error up to which the loss is quadratic
_UNKNOWN_LOGIT = -1e9


class Outlooks(NamedTuple):
    """What looking ahead found, of some actions of n decisions."""

    actions: np.ndarray  # [..., M] int16, all different, or NO_ACTION
    loading: np.ndarray  # [..., M, L] float16, inf where the game would end


class OutlookTargets(NamedTuple):
    """Outlooks as tensors on the learner's device."""

    actions: torch.Tensor  # [B, M] int64
    loading: torch.Tensor  # [B, M, L] float32


class OutlookLosses(NamedTuple):
    """Means over the actions of a batch."""

    loading: torch.Tensor  # [], smooth L1 summed over lines
    ending: torch.Tensor  # [], nats
    choice: torch.Tensor  # [], nats, of the root policy among the actions kept


class OutlookStorage(Copyable):
    """Where a replay keeps the outlooks of each of its slots: ``2 M (1 + L)`` bytes a slot.

    Args:
        num_slots: decisions that the replay holds.
        shape: (M, L), actions kept of a decision and lines.
    """

    def __init__(self, num_slots: int, shape: tuple[int, int]) -> None:
        self.arrays = {
            "outlook_action": np.full((num_slots, shape[0]), NO_ACTION, np.int16),
            "outlook_loading": np.zeros((num_slots, *shape), np.float16),
        }

    def write(self, slots: np.ndarray, outlooks: Outlooks | None) -> None:
        """Store the outlooks of n decisions in ``slots [n]``; None: nobody looked ahead."""
        if outlooks is None:
            self.arrays["outlook_action"][slots] = NO_ACTION
            return
        self.arrays["outlook_action"][slots] = outlooks.actions
        self.arrays["outlook_loading"][slots] = outlooks.loading

    def read(self, slots: np.ndarray) -> Outlooks:
        """Return the outlooks of ``slots [n]``."""
        actions, loading = self.arrays.values()
        return Outlooks(actions[slots], loading[slots])


def keep(
    loadings: np.ndarray, policy: np.ndarray, preference: np.ndarray, noise: np.ndarray, size: int
) -> Outlooks:
    """Choose ``size`` actions of each decision, and return what is known of them.

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
    # beyond what 16 bits hold a loading would read as an ending
    kept = np.where(np.isinf(found), found, np.minimum(found, _MOST)).astype(np.float16)
    return Outlooks(
        np.where(there, order, NO_ACTION).astype(np.int16),
        np.where(there[..., None], kept, np.float16(0.0)),
    )


def outlook_losses(
    network: MuZeroNetwork,
    observations: torch.Tensor,
    policy_logits: torch.Tensor,
    policies: torch.Tensor,
    targets: OutlookTargets,
) -> OutlookLosses:
    """Return the losses on what ``network`` foresees.

    Args:
        network: one that foresees.
        observations: ``[B, ...]``.
        policy_logits: ``[B, A]``, the network's own of these observations.
        policies: ``[B, A]``, the policies to learn; rows of 0 where there is none.
        targets: of the same observations.
    """
    known = targets.actions >= 0
    actions = targets.actions.clamp_min(0)
    rows, places = known.nonzero(as_tuple=True)
    taken = actions[rows, places]
    foreseen = network.outlook(observations, rows, taken)
    target = targets.loading[rows, places]
    over = torch.isinf(target[:, 0])
    goes_on = (~over).float()
    target = torch.where(over[:, None], 0.0, target).clamp_max(_HIGHEST)
    error = functional.smooth_l1_loss(foreseen.loading, target, reduction="none", beta=_BETA)
    near = (target > _NEAR) | (foreseen.loading.detach() > _NEAR)
    error = (error * torch.where(near, _NEAR_WEIGHT, _FAR_WEIGHT)).sum(dim=1)
    loading = (error * goes_on).sum() / goes_on.sum().clamp_min(1.0)
    ending = functional.binary_cross_entropy_with_logits(foreseen.end_logit, over.float())

    logits = network.choice_logits(policy_logits[rows, taken], foreseen)
    table = logits.new_full(known.shape, _UNKNOWN_LOGIT).index_put((rows, places), logits)
    wanted = policies.gather(1, actions) * known
    wanted = wanted / wanted.sum(dim=1, keepdim=True).clamp_min(1e-6)
    choice = -(wanted * table.log_softmax(dim=1)).sum(dim=1).mean()
    return OutlookLosses(loading, ending, choice)
