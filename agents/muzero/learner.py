"""The learner: one gradient step on a batch of replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agents.muzero.decision import map_fields
from agents.muzero.losses import muzero_losses
from agents.muzero.networks.base import MuZeroNetwork, Unrolled
from agents.muzero.replay import Batch, Targets
from agents.muzero.schedules import Schedule, check_schedule
from powergrid_muzero.copies import Copyable


class LearnerMetrics(NamedTuple):
    """What one update did. Losses are unweighted, but for ``total``, which was minimised."""

    total: float  # weighted sum of the losses and L2
    value: float
    reward: float
    policy: float  # nats
    consistency: float
    discount: float  # nats, 0 where the network predicts none
    auxiliary: Mapping[str, float]  # of the network's auxiliary targets, by name
    l2: float  # ||theta||^2, without lambda
    grad_norm: float  # before clipping, L2 included
    policy_target_entropy: float  # nats, mean: the floor of the policy loss at one position
    value_target_mean: float  # of the trained positions, in the environment's units
    clipped_targets: float  # share of value and reward targets beyond the heads' support
    learning_rate: float
    priorities: np.ndarray  # [B] float32, |predicted value - target| of the sampled decisions


class Learner(Copyable):
    """Trains a network: the optimiser lives as long as the learner.

    The loss is ``value_weight L_v + reward_weight L_r + policy_weight L_p + consistency_weight
    L_c + discount_weight L_d + l2 ||theta||^2`` and what the network's auxiliary targets add, by
    their own weights; with weights of 1, ``scale_unroll=False`` and scalar heads it is the
    specification's, averaged over the batch. On a CPU, equal batches give equal weights.

    Args:
        network: what to train; moved to ``device``.
        optimizer_factory: makes the optimiser from the parameters, such as
            ``functools.partial(torch.optim.Adam, lr=1e-3)``.
        unroll_steps: K that batches must have; 0 trains values and policies alone.
        value_weight: weight of the value loss.
        reward_weight: weight of the reward loss.
        policy_weight: weight of the policy loss.
        consistency_weight: weight of the consistency loss; 0 leaves it out.
        discount_weight: weight of the loss of discounts, where the network predicts them.
        l2: lambda of the L2 term, over all parameters.
        max_grad_norm: longer gradients are scaled down to this norm; None for no limit.
        gradient_scale: factor on the gradient that enters each dynamics step.
        scale_unroll: count the K unrolled positions together as much as the first.
        learning_rate: schedule of the learning rate; None keeps the optimiser's own.
        averaging: share of themselves that ``averaged_weights`` keep at an update, such as 0.99;
            0.0: they are the latest.
        device: a torch device.

    Raises:
        ValueError: an option is out of range, or the consistency loss is wanted of a network
            without a projection.
    """

    def __init__(
        self,
        network: MuZeroNetwork,
        optimizer_factory: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        *,
        unroll_steps: int = 5,
        value_weight: float = 1.0,
        reward_weight: float = 1.0,
        policy_weight: float = 1.0,
        consistency_weight: float = 0.0,
        discount_weight: float = 1.0,
        l2: float = 0.0,
        max_grad_norm: float | None = None,
        gradient_scale: float = 0.5,
        scale_unroll: bool = True,
        learning_rate: Schedule | None = None,
        averaging: float = 0.0,
        device: str | torch.device = "cpu",
    ) -> None:
        options = {
            "value_weight": value_weight,
            "reward_weight": reward_weight,
            "policy_weight": policy_weight,
            "consistency_weight": consistency_weight,
            "discount_weight": discount_weight,
            "l2": l2,
            "gradient_scale": gradient_scale,
        }
        for name, number in options.items():
            if not 0.0 <= number < math.inf:
                raise ValueError(f"{name} must be finite and not negative: {number}")
        if not 0.0 <= averaging < 1.0:
            raise ValueError(f"averaging must be in [0, 1): {averaging}")
        if unroll_steps < 0:
            raise ValueError(f"unroll_steps must not be negative: {unroll_steps}")
        if max_grad_norm is not None and not max_grad_norm > 0.0:
            raise ValueError(
                f"max_grad_norm must be positive, or None for no limit: {max_grad_norm}"
            )
        if learning_rate is not None:
            check_schedule("learning_rate", learning_rate)
        if consistency_weight > 0.0 and unroll_steps == 0:
            raise ValueError(
                "consistency_weight compares unrolled states with observed ones: it needs "
                "unroll_steps of 1 or more, or set it to 0"
            )
        if consistency_weight > 0.0 and network.projector is None:
            raise ValueError(
                "consistency_weight needs a network with a projection: set the network's "
                "consistency_size (such as 256), or consistency_weight to 0"
            )
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.unroll_steps = unroll_steps
        weights: dict[str, float] = {
            "value": value_weight,
            "reward": reward_weight,
            "policy": policy_weight,
            "consistency": consistency_weight,
            "discount": discount_weight,
        }
        self._auxiliary = [name for one in network.auxiliary_targets for name in one.loss_weights]
        for target in network.auxiliary_targets:
            weights.update(target.loss_weights)
        self._losses = list(weights)
        self._loss_weights = torch.tensor(list(weights.values()), device=self.device)
        self.consistency = consistency_weight > 0.0
        self.l2 = l2
        self.max_grad_norm = max_grad_norm
        self.gradient_scale = gradient_scale
        self.scale_unroll = scale_unroll
        self.learning_rate = learning_rate
        self.averaging = averaging
        self.num_updates = 0
        self._parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = self._make_optimizer(optimizer_factory)
        average = partial(_average, keep=averaging)
        self._averaged = AveragedModel(self.network, multi_avg_fn=average) if averaging else None

    @property
    def averaged_weights(self) -> dict[str, torch.Tensor]:
        """The network's state dict, its weights averaged over the latest updates: for playing.

        They lose less than the weights of any one update, which wander about them (Polyak and
        Juditsky 1992); learning goes on with the latest.
        """
        return (self.network if self._averaged is None else self._averaged.module).state_dict()

    def update(self, batch: Batch[np.ndarray], *, progress: float = 0.0) -> LearnerMetrics:
        """Take one gradient step.

        Args:
            batch: what to learn from.
            progress: share of training done, 0 to 1, for the learning rate.

        Raises:
            FloatingPointError: a loss or the gradient is not finite; the message names it and
                the update. The weights stay as they were.
            ValueError: the batch was made for another number of unroll steps.
        """
        num_steps = batch.targets.rewards.shape[1]
        if num_steps != self.unroll_steps:
            raise ValueError(
                f"the batch is unrolled {num_steps} steps, the learner expects "
                f"{self.unroll_steps}: give the replay and the learner the same unroll_steps"
            )
        if self.learning_rate is not None:
            for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = self.learning_rate(progress) * rate
        self.network.train()
        tensors: Batch[torch.Tensor] = map_fields(self._tensor, batch)
        unrolled = self.network.unroll(
            tensors.decisions.observation[:, 0],
            tensors.decisions.action[:, :num_steps],
            gradient_scale=self.gradient_scale,
        )
        losses = muzero_losses(
            self.network,
            tensors,
            unrolled,
            scale_unroll=self.scale_unroll,
            consistency=self.consistency,
        )
        unweighted = [losses[name] for name in self._losses]
        loss = torch.stack(unweighted) @ self._loss_weights
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            squared_norm = self._add_l2_gradient()
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            grad_norm = nn.utils.get_total_norm(gradients)
            priorities = self._priorities(unrolled, tensors)
            numbers = [*unweighted, loss + self.l2 * squared_norm, squared_norm, grad_norm]
            *parts, total, l2, norm = torch.stack(numbers).tolist()  # one wait for the device
            named = dict(zip(self._losses, parts, strict=True))
            self._require_finite({**named, "l2": l2, "total": total, "gradient": norm})
            if self.max_grad_norm is not None:
                nn.utils.clip_grads_with_norm_(self._parameters, self.max_grad_norm, grad_norm)
        self.optimizer.step()
        if self._averaged is not None:
            self._averaged.update_parameters(self.network)
        self.num_updates += 1
        known = batch.targets.value_mask.sum()
        auxiliary = {name: named.pop(name) for name in self._auxiliary}
        return LearnerMetrics(
            **named,
            auxiliary=auxiliary,
            total=total,
            l2=l2,
            grad_norm=norm,
            policy_target_entropy=_entropy(tensors),
            value_target_mean=float(batch.targets.values.sum() / max(int(known), 1)),
            clipped_targets=self._clipped_targets(batch.targets),
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            priorities=priorities.cpu().numpy(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimiser and number of updates; tensors share this memory."""
        averaged = None if self._averaged is None else self._averaged.state_dict()
        return {
            "network": self.network.state_dict(),
            "averaged": averaged,
            "optimizer": self.optimizer.state_dict(),
            "num_updates": self.num_updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what ``state_dict`` gave.

        Raises:
            RuntimeError: the weights are of another network (torch names the difference).
        """
        self.network.load_state_dict(state["network"])
        if self._averaged is not None and state["averaged"] is not None:
            self._averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.num_updates = int(state["num_updates"])

    def _make_optimizer(
        self, factory: Callable[[Iterable[Any]], torch.optim.Optimizer]
    ) -> torch.optim.Optimizer:
        groups = self.network.parameter_groups()
        self._rates = [group.rate for group in groups]
        if len(groups) == 1:
            return factory(groups[0].parameters)
        optimizer = factory(
            {"params": group.parameters, **({} if group.decays else {"weight_decay": 0.0})}
            for group in groups
        )
        for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
            group["lr"] *= rate
        return optimizer

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        """Return ``array`` there, copied if it is read-only, as what comes through Ray is."""
        return torch.from_numpy(np.require(array, requirements="W")).to(self.device)

    def _add_l2_gradient(self) -> torch.Tensor:
        """Add 2 lambda theta, the gradient of the L2 term; return ||theta||^2.

        By hand it costs one pass over the weights; through autograd it would cost three.
        """
        if self.l2 > 0.0:
            for parameter in self._parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad.add_(parameter, alpha=2.0 * self.l2)
        return nn.utils.get_total_norm(self._parameters).square()

    def _priorities(self, unrolled: Unrolled, tensors: Batch[torch.Tensor]) -> torch.Tensor:
        predicted = self.network.value_head_codec.decode(unrolled.values[:, 0])
        return (predicted - tensors.targets.values[:, 0]).abs()

    def _clipped_targets(self, targets: Targets[np.ndarray]) -> float:
        value_limit = self.network.value_head_codec.limit
        reward_limit = self.network.reward_head_codec.limit
        if math.isinf(value_limit) and math.isinf(reward_limit):
            return 0.0
        beyond = np.count_nonzero(np.abs(targets.values) > value_limit)
        beyond += np.count_nonzero(np.abs(targets.rewards) > reward_limit)
        return float(beyond / (targets.values.size + targets.rewards.size))

    def _require_finite(self, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            if not math.isfinite(number):
                what = "gradient norm" if name == "gradient" else f"{name} loss"
                raise FloatingPointError(
                    f"the {what} is {number} in update {self.num_updates + 1}: lower the learning "
                    "rate, set max_grad_norm, or use categorical heads for large rewards"
                )


def _average(averaged: Any, present: Any, count: Any, *, keep: float) -> None:
    """Take the moving average of weights: torch's own, which is a closure, so that it pickles."""
    get_ema_multi_avg_fn(keep)(averaged, present, count)


@torch.no_grad()
def _entropy(tensors: Batch[torch.Tensor]) -> float:
    """Return the mean entropy, in nats, of the policy targets that are trained."""
    policies = tensors.decisions.policy
    logarithm = policies.clamp_min(1e-30).log()
    entropy_BT = -(policies * logarithm).sum(dim=-1)  # 0 in masked rows
    return float(entropy_BT.sum() / tensors.targets.policy_mask.sum().clamp_min(1))
