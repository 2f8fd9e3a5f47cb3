"""MuZero's loss: the specification's sum over the unroll, and the consistency loss."""

from __future__ import annotations

import torch
from torch.nn import functional

from agents.muzero.networks.base import MuZeroNetwork, Unrolled
from agents.muzero.replay import Batch

ILLEGAL_LOGIT = -1e9  # finite, so that a probability of 0 times it is 0


def muzero_losses(
    network: MuZeroNetwork,
    batch: Batch[torch.Tensor],
    unrolled: Unrolled,
    *,
    scale_unroll: bool,
    consistency: bool,
) -> dict[str, torch.Tensor]:
    """Return the parts of the loss by name, unweighted: over the unroll, means over the batch.

    They are value, reward, policy (nats), consistency (0 where unused), discount (nats, 0 where the
    network predicts none) and those of the network's auxiliary targets.

    Per row, with u from 0 to K (rewards from 1): value codec loss, reward codec loss and
    -sum_a pi_u(a) log p_u(a). With scalar codecs that is the specification's
    (v_u - z_u)^2 + (r_u - r'_u)^2 - sum_a pi_u(a) log p_u(a). Masked positions add nothing.
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
    decisions, targets = batch.decisions, batch.targets
    num_steps = targets.rewards.shape[1]
    scale = batch.weights.new_ones(num_steps + 1)
    if scale_unroll and num_steps:
        scale[1:] /= num_steps

    def total(loss_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        first = len(scale) - loss_BT.shape[1]  # rewards have no position 0
        weighted = loss_BT.masked_fill(~mask_BT, 0.0) @ scale[first:]
        return (weighted * batch.weights).mean()

    logits = unrolled.policy_logits
    if decisions.action_mask is not None:
        logits = logits.masked_fill(~decisions.action_mask, ILLEGAL_LOGIT)
    cross_entropy = -(decisions.policy * logits.log_softmax(dim=-1)).sum(dim=-1)
    value = network.value_head_codec.loss(unrolled.values, targets.values)
    transition = network.read_reward(unrolled.rewards)
    reward = network.reward_head_codec.loss(transition.reward, targets.rewards)
    discount = value.new_zeros(())
    if transition.discount_logit is not None:
        discount_BK = functional.binary_cross_entropy_with_logits(
            transition.discount_logit, targets.discounts, reduction="none"
        )
        discount = total(discount_BK, targets.policy_mask[:, :-1])
    consistency_loss = value.new_zeros(())
    if consistency:
        similarity = _similarity(network, batch, unrolled)
        consistency_loss = total(1.0 - similarity, targets.policy_mask[:, 1:])
    auxiliary: dict[str, torch.Tensor] = {}
    for target in network.auxiliary_targets:
        auxiliary.update(target.losses(network, batch, unrolled))
    return {
        "value": total(value, targets.value_mask),
        "reward": total(reward, targets.reward_mask),
        "policy": total(cross_entropy, targets.policy_mask),
        "consistency": consistency_loss,
        "discount": discount,
        **auxiliary,
    }


def _similarity(
    network: MuZeroNetwork, batch: Batch[torch.Tensor], unrolled: Unrolled
) -> torch.Tensor:
    """Return the cosine ``[B, K]`` between unrolled states and those of what was observed.

    EfficientZero (Ye et al. 2021), after SimSiam: no gradient goes into the observed side.
    """
    observations = batch.decisions.observation
    shape = batch.targets.rewards.shape
    if observations.shape[1] != shape[1] + 1:
        raise ValueError(
            "the consistency loss needs the observations along the unroll: set the replay's "
            "unroll_observations to true, or consistency_weight to 0"
        )
    with torch.no_grad():
        observed = network.representation(observations[:, 1:].flatten(0, 1))
    target = network.project(observed, with_grad=False)
    predicted = network.project(unrolled.hidden[:, 1:].flatten(0, 1), with_grad=True)
    return functional.cosine_similarity(predicted, target, dim=-1).unflatten(0, shape)
