"""The base class of MuZero networks, and layers that several of them share.

A network is three functions: representation (observation -> state), dynamics (state, action ->
state, reward) and prediction (state -> value, policy). A concrete one implements these three; the
inferences that a search calls and the unroll that a learner trains are made of them here.

Shape letters: B rows, K unrolled steps, A actions, H numbers of a state.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from agents.muzero.auxiliary import AuxiliaryTarget
from agents.muzero.decision import Field
from agents.muzero.networks.heads import Codec

STATE_SPREAD_FLOOR = 1e-5  # least range that a state is divided by when it is scaled to [0, 1]


class NetworkOutput(NamedTuple):
    """Outputs of one inference; the network's codecs decode ``value`` and ``reward``."""

    value: torch.Tensor  # [B, Sv], value head
    reward: torch.Tensor  # [B, Sr], reward head, for ``read_reward``; zeros at the root
    policy_logits: torch.Tensor  # [B, A]
    hidden: torch.Tensor  # [B, H]


class Transition(NamedTuple):
    """The parts of a reward head's output."""

    reward: torch.Tensor  # [..., S], for the reward codec
    discount_logit: torch.Tensor | None  # [...], None where the network predicts no discount


class Unrolled(NamedTuple):
    """Outputs along K actions: position 0 is the observation, position k follows action k-1."""

    values: torch.Tensor  # [B, K+1, Sv]
    rewards: torch.Tensor  # [B, K, Sr]
    policy_logits: torch.Tensor  # [B, K+1, A]
    hidden: torch.Tensor  # [B, K+1, H]


class ParameterGroup(NamedTuple):
    """Parameters that are learned alike."""

    parameters: list[nn.Parameter]
    rate: float = 1.0  # factor on the learning rate
    decays: bool = True  # whether the optimiser's weight decay holds for them


class MuZeroNetwork(nn.Module, ABC):
    """Representation, dynamics and prediction.

    Args:
        observation_shape: shape of one observation.
        num_actions: A.
        state_size: H.
        value_codec: what the value head's output means.
        reward_codec: what the reward head's output means.
        consistency_size: width of the projection for the consistency loss (EfficientZero, Ye et
            al. 2021), or None to go without it.
        predict_discount: predict also by how much each edge discounts what follows it (Oh et al.
            2017, "Value prediction network", https://arxiv.org/abs/1707.03497), 0 where the episode
            ends: the logit is one more number of the reward head, its last.

    Raises:
        ValueError: a size is not positive.
    """

    auxiliary_targets: Sequence[AuxiliaryTarget] = ()  # what it learns besides

    def __init__(
        self,
        *,
        observation_shape: tuple[int, ...],
        num_actions: int,
        state_size: int,
        value_codec: Codec,
        reward_codec: Codec,
        consistency_size: int | None = None,
        predict_discount: bool = False,
    ) -> None:
        super().__init__()
        require_positive(num_actions=num_actions, state_size=state_size)
        if any(size < 1 for size in observation_shape):
            raise ValueError(f"observation_shape must have positive sizes: {observation_shape}")
        self.observation_shape = tuple(int(size) for size in observation_shape)
        self.num_actions = num_actions
        self.state_size = state_size
        self.value_head_codec = value_codec
        self.reward_head_codec = reward_codec
        self.predicts_discount = bool(predict_discount)
        self.reward_head_size = reward_codec.size + int(self.predicts_discount)  # Sr
        self.projector: nn.Module | None = None
        self.predictor: nn.Module | None = None
        if consistency_size is not None:
            require_positive(consistency_size=consistency_size)
            self.projector = _projection(state_size, consistency_size)
            self.predictor = _projection(consistency_size, consistency_size)

    @property
    def observation_size(self) -> int:
        """Numbers in one observation."""
        return math.prod(self.observation_shape)

    @property
    def recorded_fields(self) -> dict[str, Field]:
        """Fields that are recorded with each decision for its auxiliary targets."""
        return {
            name: field
            for target in self.auxiliary_targets
            for name, field in target.fields.items()
        }

    @abstractmethod
    def representation(self, observations: torch.Tensor) -> torch.Tensor:
        """Return states ``[B, H]`` of ``observations [B, ...]``."""

    @abstractmethod
    def dynamics(
        self, hidden: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return next states ``[B, H]`` and reward outputs ``[B, Sr]`` of ``actions [B]``."""

    @abstractmethod
    def prediction(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return value outputs ``[B, Sv]`` and policy logits ``[B, A]`` of ``hidden [B, H]``."""

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return all parameters, by how they are learned."""
        return [ParameterGroup(list(self.parameters()))]

    def initial_inference(
        self, observations: torch.Tensor, legal: torch.Tensor | None = None
    ) -> NetworkOutput:
        """Return the outputs for ``observations [B, ...]``; the reward decodes to 0.

        Args:
            observations: ``[B, ...]``.
            legal: ``[B, A]`` bool, whose policy logits will be looked at; None: all.
        """
        del legal
        hidden = self.representation(observations)
        value, policy_logits = self.prediction(hidden)
        reward = hidden.new_zeros((hidden.shape[0], self.reward_head_size))
        return NetworkOutput(value, reward, policy_logits, hidden)

    def recurrent_inference(self, hidden: torch.Tensor, actions: torch.Tensor) -> NetworkOutput:
        """Return the outputs after ``actions [B]`` int64 in ``hidden [B, H]``."""
        next_hidden, reward = self.dynamics(hidden, actions)
        value, policy_logits = self.prediction(next_hidden)
        return NetworkOutput(value, reward, policy_logits, next_hidden)

    def read_reward(self, output: torch.Tensor) -> Transition:
        """Return the parts of what the reward head put out, ``[..., Sr]``."""
        if not self.predicts_discount:
            return Transition(output, None)
        return Transition(output[..., :-1], output[..., -1])

    def stepper(self, num_rows: int) -> Callable[[torch.Tensor, torch.Tensor], NetworkOutput]:
        """Return ``recurrent_inference`` as a search of ``num_rows`` rows calls it.

        Without gradients, and its outputs may be overwritten by the next call. A network that has
        nothing faster returns the method itself.
        """
        del num_rows
        return self.recurrent_inference

    def unroll(
        self, observations: torch.Tensor, actions: torch.Tensor, *, gradient_scale: float = 0.5
    ) -> Unrolled:
        """Unroll the dynamics along ``actions [B, K]`` from ``observations [B, ...]``.

        Args:
            observations: ``[B, ...]``.
            actions: ``[B, K]`` int64.
            gradient_scale: factor on the gradient that enters each dynamics step (MuZero
                appendix G: 1/2, so that it stays of one size whatever K); 1 for none.
        """
        hidden = self.representation(observations)
        hiddens, rewards = [hidden], []
        for action in actions.unbind(1):
            # The value of ``hidden`` exactly (the difference is 0), its gradient scaled.
            scaled = torch.lerp(hidden.detach(), hidden, gradient_scale)
            hidden, reward = self.dynamics(scaled, action)
            hiddens.append(hidden)
            rewards.append(reward)
        hidden_BTH = torch.stack(hiddens, dim=1)
        # All positions in one product: the heads do not depend on each other over time.
        value, policy_logits = self.prediction(hidden_BTH.flatten(0, 1))
        shape = hidden_BTH.shape[:2]
        return Unrolled(
            values=value.unflatten(0, shape),
            rewards=torch.stack(rewards, dim=1)
            if rewards
            else hidden.new_zeros((shape[0], 0, self.reward_head_size)),
            policy_logits=policy_logits.unflatten(0, shape),
            hidden=hidden_BTH,
        )

    def project(self, hidden: torch.Tensor, *, with_grad: bool) -> torch.Tensor:
        """Return the projection ``[..., P]`` of states ``[..., H]`` for the consistency loss.

        With gradient it is the predicting side (projection, then prediction); without, the target.

        Raises:
            ValueError: the network was built without ``consistency_size``.
        """
        if self.projector is None or self.predictor is None:
            raise ValueError(
                "the consistency loss needs a network with a projection: set the network's "
                "consistency_size (such as 256), or consistency_weight to 0"
            )
        if with_grad:
            return self.predictor(self.projector(hidden))
        with torch.no_grad():
            return self.projector(hidden)


class StateActionLinear(nn.Module):
    """A linear layer on ``concat(state, one-hot action)``, without making the one-hot.

    The product with a one-hot vector is a column of the weight: it is looked up instead.
    Initialised as ``nn.Linear(state_size + num_actions, size)``.
    """

    def __init__(self, state_size: int, num_actions: int, size: int) -> None:
        super().__init__()
        self.state = nn.Linear(state_size, size)
        self.action = nn.Embedding(num_actions, size)
        bound = 1.0 / math.sqrt(state_size + num_actions)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, hidden: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Return ``[B, size]`` of ``hidden [B, H]`` and ``actions [B]`` int64."""
        return functional.linear(hidden, self.state.weight, self.state.bias) + functional.embedding(
            actions, self.action.weight
        )


def min_max_normalize(hidden: torch.Tensor) -> torch.Tensor:
    """Scale each row of ``[B, H]`` to [0, 1], the range of the one-hot action (appendix G)."""
    # Not torch.aminmax: along a row it is not vectorised, 9 times slower on a CPU.
    low, high = hidden.amin(dim=-1, keepdim=True), hidden.amax(dim=-1, keepdim=True)
    return (hidden - low) / (high - low).clamp_min(STATE_SPREAD_FLOOR)


def require_positive(**sizes: int) -> None:
    """Raise ValueError, naming it, for the first of ``sizes`` below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1: {size}")


def _projection(input_size: int, size: int) -> nn.Sequential:
    """Two layers with a norm over the row, so that no row depends on the others."""
    return nn.Sequential(
        nn.Linear(input_size, size), nn.LayerNorm(size), nn.ReLU(), nn.Linear(size, size)
    )
