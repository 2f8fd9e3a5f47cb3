"""The loss of MuZero: the specification's sum over the unroll, and the consistency loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.networks.base import Unrolled
from agents.muzero.outlooks import OutlookTargets
from agents.muzero.outlooks import outlook_losses

ILLEGAL_LOGIT = -1e9  # finite, so that a probability of 0 times it is 0


class TensorBatch(NamedTuple):
    """A ``ReplayBatch`` as tensors on the learner's device; see there."""

    observations: torch.Tensor  # [B, ...] float32
    actions: torch.Tensor  # [B, K] int64
    rewards: torch.Tensor  # [B, K] float32
    discounts: torch.Tensor  # [B, K] float32
    values: torch.Tensor  # [B, K+1] float32
    policies: torch.Tensor  # [B, K+1, A] float32
    reward_mask: torch.Tensor  # [B, K] bool
    value_mask: torch.Tensor  # [B, K+1] bool
    policy_mask: torch.Tensor  # [B, K+1] bool
    weights: torch.Tensor  # [B] float32
    next_observations: torch.Tensor | None  # [B, K, ...] float32
    action_masks: torch.Tensor | None  # [B, K+1, A] bool
    outlooks: OutlookTargets | None  # of the first positions


class Losses(NamedTuple):
    """The parts of the loss, unweighted: summed over the unroll, averaged over the batch."""

    value: torch.Tensor  # []
    reward: torch.Tensor  # []
    policy: torch.Tensor  # [], nats
    consistency: torch.Tensor  # [], 0 where unused
    discount: torch.Tensor  # [], nats, 0 where the network predicts none
    loading: torch.Tensor  # [], of foreseen line loadings, 0 where the network foresees none
    ending: torch.Tensor  # [], nats, of foreseen endings
    choice: torch.Tensor  # [], nats, of the root policy that what is foreseen is part of


def muzero_losses(
    network: MuZeroNetwork,
    batch: TensorBatch,
    unrolled: Unrolled,
    *,
    scale_unroll: bool,
    consistency: bool,
) -> Losses:
    """Return the parts of the loss of an unrolled batch.

    Per row, with u from 0 to K (rewards from 1): value codec loss, reward codec loss and
    -sum_a pi_u(a) log p_u(a). With scalar codecs that is the specification's
    (v_u - z_u)^2 + (r_u - r'_u)^2 - sum_a pi_u(a) log p_u(a). Masked positions add nothing.
    A network that foresees has the losses of ``outlook_losses`` besides, on the first positions.
    A network that predicts discounts has the binary cross-entropy of those besides, for the edges
    of real decisions; its minimum is the target, which need not be 0 or 1.

    Args:
        network: whose codecs and projection are used.
        batch: the targets.
        unrolled: the network's outputs for ``batch``.
        scale_unroll: multiply positions 1 to K by 1 / K (MuZero appendix G), so that the loss
            has one size whatever K; False is the plain sum.
        consistency: whether to compute the consistency loss.

    Raises:
        ValueError: the consistency loss is wanted, but the network has no projection or the
            batch no observations along the unroll.
    """
    num_steps = batch.actions.shape[1]
    scale = batch.weights.new_ones(num_steps + 1)
    if scale_unroll and num_steps:
        scale[1:] /= num_steps

    def total(loss_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        first = len(scale) - loss_BT.shape[1]  # rewards have no position 0
        weighted = loss_BT.masked_fill(~mask_BT, 0.0) @ scale[first:]
        return (weighted * batch.weights).mean()

    logits = unrolled.policy_logits
    if batch.action_masks is not None:
        logits = logits.masked_fill(~batch.action_masks, ILLEGAL_LOGIT)
    cross_entropy = -(batch.policies * logits.log_softmax(dim=-1)).sum(dim=-1)
    value = network.value_head_codec.loss(unrolled.values, batch.values)
    transition = network.read_reward(unrolled.rewards)
    reward = network.reward_head_codec.loss(transition.reward, batch.rewards)
    discount = value.new_zeros(())
    if transition.discount_logit is not None:
        discount_BK = functional.binary_cross_entropy_with_logits(
            transition.discount_logit, batch.discounts, reduction="none"
        )
        discount = total(discount_BK, batch.policy_mask[:, :-1])
    consistency_loss = value.new_zeros(())
    if consistency:
        similarity = _similarity(network, batch, unrolled)
        consistency_loss = total(1.0 - similarity, batch.policy_mask[:, 1:])
    foreseen = (value.new_zeros(()),) * 3
    if network.foresees and batch.outlooks is not None:
        foreseen = outlook_losses(
            network,
            batch.observations,
            unrolled.policy_logits[:, 0],
            batch.policies[:, 0],
            batch.outlooks,
        )
    loading, ending, choice = foreseen
    return Losses(
        loading=loading,
        ending=ending,
        choice=choice,
        value=total(value, batch.value_mask),
        reward=total(reward, batch.reward_mask),
        policy=total(cross_entropy, batch.policy_mask),
        consistency=consistency_loss,
        discount=discount,
    )


def _similarity(network: MuZeroNetwork, batch: TensorBatch, unrolled: Unrolled) -> torch.Tensor:
    """Return the cosine ``[B, K]`` between unrolled states and those of what was observed.

    EfficientZero (Ye et al. 2021), after SimSiam: no gradient goes into the observed side.
    """
    if batch.next_observations is None:
        raise ValueError(
            "the consistency loss needs the observations along the unroll: set the replay's "
            "unroll_observations to true, or consistency_weight to 0"
        )
    shape = batch.actions.shape
    with torch.no_grad():
        observed = network.representation(batch.next_observations.flatten(0, 1))
    target = network.project(observed, with_grad=False)
    predicted = network.project(unrolled.hidden[:, 1:].flatten(0, 1), with_grad=True)
    return functional.cosine_similarity(predicted, target, dim=-1).unflatten(0, shape)
