"""The specification's network: five small MLPs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from agents.muzero.networks.base import (
    MuZeroNetwork,
    NetworkOutput,
    StateActionLinear,
    min_max_normalize,
    require_positive,
)
from agents.muzero.networks.heads import Codec, ScalarCodec, zero_init
from agents.muzero.networks.mlp_step import MLPStep


class MLPNetwork(MuZeroNetwork):
    """Representation, dynamics, reward, value and policy as MLPs of hidden size 256.

    Dynamics and reward read the state and the one-hot action; value and policy read the state.
    The first layers of two MLPs that read the same input are stored as one matrix, for speed;
    nothing else is shared.

    Args:
        observation_shape: shape of one observation; it is flattened.
        num_actions: A.
        hidden_size: width of the hidden layers.
        state_size: H, width of the state.
        num_hidden_layers: hidden layers of each MLP.
        value_codec: of the value head; None for one unscaled number.
        reward_codec: of the reward head; None for one unscaled number.
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
        state_size: int = 256,
        num_hidden_layers: int = 1,
        value_codec: Codec | None = None,
        reward_codec: Codec | None = None,
        normalize_state: bool = True,
        zero_init_heads: bool = False,
        consistency_size: int | None = None,
        predict_discount: bool = False,
    ) -> None:
        super().__init__(
            observation_shape=observation_shape,
            num_actions=num_actions,
            state_size=state_size,
            value_codec=value_codec or ScalarCodec(),
            reward_codec=reward_codec or ScalarCodec(),
            consistency_size=consistency_size,
            predict_discount=predict_discount,
        )
        require_positive(hidden_size=hidden_size, num_hidden_layers=num_hidden_layers)
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.normalize_state = normalize_state

        def rest(output_size: int) -> nn.Sequential:
            """What follows a first layer: the other hidden layers and the last layer."""
            layers: list[nn.Module] = []
            for _ in range(num_hidden_layers - 1):
                layers += [nn.Linear(hidden_size, hidden_size), nn.ReLU()]
            return nn.Sequential(*layers, nn.Linear(hidden_size, output_size))

        self.representation_input = nn.Linear(self.observation_size, hidden_size)
        self.representation_output = rest(state_size)
        # Rows [:hidden_size] belong to the dynamics, the others to the reward MLP.
        self.transition_input = StateActionLinear(state_size, num_actions, 2 * hidden_size)
        self.dynamics_output = rest(state_size)
        self.reward_output = rest(self.reward_head_size)
        # Rows [:hidden_size] belong to the value MLP, the others to the policy.
        self.prediction_input = nn.Linear(state_size, 2 * hidden_size)
        self.value_output = rest(self.value_head_codec.size)
        self.policy_output = rest(num_actions)
        if zero_init_heads:
            for head in (self.reward_output, self.value_output, self.policy_output):
                last = head[-1]
                assert isinstance(last, nn.Linear)
                zero_init(last)

    def representation(self, observations: torch.Tensor) -> torch.Tensor:
        """Return states ``[B, H]`` of ``observations [B, ...]``."""
        first = self.representation_input(observations.flatten(1)).relu_()
        return self._state(self.representation_output(first))

    def dynamics(
        self, hidden: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return next states ``[B, H]`` and reward outputs ``[B, Sr]``."""
        first = self.transition_input(hidden, actions).relu_()
        size = self.hidden_size
        next_hidden = self._state(self.dynamics_output(first[:, :size]))
        return next_hidden, self.reward_output(first[:, size:])

    def prediction(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return value outputs ``[B, Sv]`` and policy logits ``[B, A]``."""
        first = self.prediction_input(hidden).relu_()
        size = self.hidden_size
        return self.value_output(first[:, :size]), self.policy_output(first[:, size:])

    def stepper(self, num_rows: int) -> Callable[[torch.Tensor, torch.Tensor], NetworkOutput]:
        """See ``MuZeroNetwork.stepper``."""
        if self.num_hidden_layers > 1:
            return self.recurrent_inference
        return MLPStep(self, num_rows)

    def _state(self, hidden: torch.Tensor) -> torch.Tensor:
        return min_max_normalize(hidden) if self.normalize_state else hidden
