"""A deeper network of pre-norm residual blocks with categorical heads."""

from __future__ import annotations

import torch
from torch import nn

from agents.muzero.networks.base import (
    MuZeroNetwork,
    StateActionLinear,
    min_max_normalize,
    require_positive,
)
from agents.muzero.networks.heads import CategoricalCodec, Codec, zero_init


class ResidualBlock(nn.Module):
    """``x + W2 relu(W1 norm(x))``: pre-norm, so the identity path is never normalised."""

    def __init__(self, size: int, inner_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.inner = nn.Linear(size, inner_size)
        self.outer = nn.Linear(inner_size, size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``[B, size]`` of ``hidden [B, size]``."""
        return hidden + self.outer(self.inner(self.norm(hidden)).relu_())


class ResidualNetwork(MuZeroNetwork):
    """Residual MLP blocks; dynamics and reward share a trunk, value and policy another.

    Args:
        observation_shape: shape of one observation; it is flattened.
        num_actions: A.
        hidden_size: width of the trunks and of the state.
        inner_size: width inside a block; None for ``hidden_size``.
        policy_size: width of the policy head's hidden layer; None for ``hidden_size``.
        num_representation_blocks: blocks from the observation to the state.
        num_dynamics_blocks: blocks of the trunk of dynamics and reward.
        num_prediction_blocks: blocks of the trunk of value and policy.
        value_codec: of the value head; None for ``CategoricalCodec()``.
        reward_codec: of the reward head; None for ``CategoricalCodec()``.
        normalize_state: scale each state to [0, 1] (MuZero appendix G).
        zero_init_heads: start with values and rewards of 0 and a uniform policy.
        consistency_size: width of the projection for the consistency loss, None for none.
        predict_discount: predict each edge's discount beside its reward.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(
        self,
        *,
        observation_shape: tuple[int, ...],
        num_actions: int,
        hidden_size: int = 256,
        inner_size: int | None = None,
        policy_size: int | None = None,
        num_representation_blocks: int = 1,
        num_dynamics_blocks: int = 1,
        num_prediction_blocks: int = 1,
        value_codec: Codec | None = None,
        reward_codec: Codec | None = None,
        normalize_state: bool = True,
        zero_init_heads: bool = True,
        consistency_size: int | None = None,
        predict_discount: bool = False,
    ) -> None:
        super().__init__(
            observation_shape=observation_shape,
            num_actions=num_actions,
            state_size=hidden_size,
            value_codec=value_codec or CategoricalCodec(),
            reward_codec=reward_codec or CategoricalCodec(),
            consistency_size=consistency_size,
            predict_discount=predict_discount,
        )
        inner_size = hidden_size if inner_size is None else inner_size
        policy_size = hidden_size if policy_size is None else policy_size
        require_positive(
            inner_size=inner_size,
            policy_size=policy_size,
            num_representation_blocks=num_representation_blocks,
            num_dynamics_blocks=num_dynamics_blocks,
            num_prediction_blocks=num_prediction_blocks,
        )
        self.hidden_size = hidden_size
        self.normalize_state = normalize_state

        def trunk(num_blocks: int) -> nn.Sequential:
            return nn.Sequential(
                *(ResidualBlock(hidden_size, inner_size) for _ in range(num_blocks)),
                nn.LayerNorm(hidden_size),
            )

        self.observation_input = nn.Linear(self.observation_size, hidden_size)
        self.representation_trunk = trunk(num_representation_blocks)
        self.dynamics_input = StateActionLinear(hidden_size, num_actions, hidden_size)
        self.dynamics_trunk = trunk(num_dynamics_blocks)
        self.reward_input = nn.Linear(hidden_size, hidden_size)
        self.reward_output = nn.Linear(hidden_size, self.reward_head_size)
        self.prediction_trunk = trunk(num_prediction_blocks)
        # Rows [:hidden_size] belong to the value head, the others to the policy.
        self.prediction_input = nn.Linear(hidden_size, hidden_size + policy_size)
        self.value_output = nn.Linear(hidden_size, self.value_head_codec.size)
        self.policy_output = nn.Linear(policy_size, num_actions)
        if zero_init_heads:
            for layer in (self.reward_output, self.value_output, self.policy_output):
                zero_init(layer)

    def representation(self, observations: torch.Tensor) -> torch.Tensor:
        """Return states ``[B, H]`` of ``observations [B, ...]``."""
        first = self.observation_input(observations.flatten(1))
        return self._state(self.representation_trunk(first))

    def dynamics(
        self, hidden: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return next states ``[B, H]`` and reward outputs ``[B, Sr]``."""
        # Added to the state, so that an action that changes little starts near the identity.
        trunk = self.dynamics_trunk(hidden + self.dynamics_input(hidden, actions))
        reward = self.reward_output(self.reward_input(trunk).relu_())
        return self._state(trunk), reward

    def prediction(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return value outputs ``[B, Sv]`` and policy logits ``[B, A]``."""
        first = self.prediction_input(self.prediction_trunk(hidden)).relu_()
        size = self.hidden_size
        return self.value_output(first[:, :size]), self.policy_output(first[:, size:])

    def _state(self, hidden: torch.Tensor) -> torch.Tensor:
        return min_max_normalize(hidden) if self.normalize_state else hidden
