"""``LearnedModel``: a network behind the interface that searches plan in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from agents.muzero.networks.base import MuZeroNetwork, NetworkOutput
from agents.muzero.search.base import ModelOutput


class PolicyValue(NamedTuple):
    """What a network says of B observations without any planning."""

    policy_logits: np.ndarray  # [B, A] float32
    value: np.ndarray  # [B] float32, in the environment's own units


class LearnedModel:
    """Plans in a network's own states.

    It always reads the network's present weights: nothing is copied, so there is nothing to
    refresh after an update. The outputs of ``step`` last until the next step of as many rows.

    Args:
        network: the network; moved to ``device``.
        discount: of every edge, where the network predicts none.
        device: a torch device, such as "cpu" or "cuda:0".
    """

    def __init__(
        self, network: MuZeroNetwork, *, discount: float, device: str | torch.device = "cpu"
    ) -> None:
        self.discount = discount
        self.device = torch.device(device)
        self._on_host = self.device.type == "cpu"
        self.network = network.to(self.device).eval()
        self.num_actions = network.num_actions
        self._stepper: Callable[[torch.Tensor, torch.Tensor], NetworkOutput] | None = None
        self._stepper_rows = 0
        self._constant = torch.empty(0)  # [B], the discount of B edges that are discounted alike
        self._decode_value = network.value_head_codec.decode
        self._decode_reward = network.reward_head_codec.decode

    def __getstate__(self) -> dict[str, object]:
        """Leave the stepper behind: it reads the weights where they are."""
        return {**vars(self), "_stepper": None}

    @torch.inference_mode()
    def root(self, observations: np.ndarray, legal: np.ndarray | None = None) -> ModelOutput:
        """Return values, policy logits and states of ``observations [B, ...]``; rewards are 0.

        Args:
            observations: ``[B, ...]``.
            legal: ``[B, A]``, see ``Model.root``.

        Raises:
            ValueError: the observations do not have the network's shape.
        """
        self._stepper = None  # weights may have moved since the last search
        mask = None if legal is None else torch.from_numpy(legal != 0).to(self.device)
        output = self.network.initial_inference(self._observations(observations), mask)
        return self._output(output, output.hidden.new_ones(len(output.hidden)))

    @torch.inference_mode()
    def step(self, states: torch.Tensor, actions: np.ndarray) -> ModelOutput:
        """Return what follows ``actions [B]`` int64 in ``states [B, H]``."""
        action = torch.from_numpy(actions)
        if not self._on_host:
            action = action.to(self.device)
        if self._stepper is None or self._stepper_rows != len(actions):
            self._stepper_rows = len(actions)
            self._stepper = self.network.stepper(self._stepper_rows)
        return self._output(self._stepper(states, action))

    @torch.inference_mode()
    def policy_value(self, observations: np.ndarray) -> PolicyValue:
        """Return the network's own policy and value of ``observations [B, ...]``."""
        hidden = self.network.representation(self._observations(observations))
        value, policy_logits = self.network.prediction(hidden)
        decoded = self._decode_value(value)
        return PolicyValue(policy_logits.cpu().numpy(), decoded.cpu().numpy())

    def _observations(self, observations: np.ndarray) -> torch.Tensor:
        expected = self.network.observation_shape
        if observations.shape[1:] != expected:
            raise ValueError(
                f"observations have shape {observations.shape}, but the network was built for "
                f"[B, {', '.join(map(str, expected))}]: use the observation it was trained with"
            )
        # The learner trains the same module; evaluation mode is only lost between searches.
        if self.network.training:
            self.network.eval()
        contiguous = np.require(observations, np.float32, ("C", "W"))  # torch takes no others
        return torch.from_numpy(contiguous).to(self.device)

    def _output(self, output: NetworkOutput, discount: torch.Tensor | None = None) -> ModelOutput:
        """Return ``output`` decoded; ``discount [B]`` instead of that of the edges, if given."""
        value = self._decode_value(output.value)
        edge = self.network.read_reward(output.reward)
        reward = self._decode_reward(edge.reward)
        if discount is None:
            if edge.discount_logit is not None:
                discount = edge.discount_logit.sigmoid()
            else:
                if self._constant.shape != reward.shape:
                    self._constant = torch.full_like(reward, self.discount)
                discount = self._constant
        if self._on_host:
            return ModelOutput(
                value=value.numpy(),
                reward=reward.numpy(),
                discount=discount.numpy(),
                policy_logits=output.policy_logits.numpy(),
                states=output.hidden,
            )
        # One transfer, not four: each waits for the device.
        packed = torch.cat((torch.stack((value, reward, discount), 1), output.policy_logits), dim=1)
        numbers = packed.float().cpu().numpy()
        heads = (np.ascontiguousarray(numbers[:, column]) for column in range(3))
        return ModelOutput(
            *heads,
            policy_logits=np.ascontiguousarray(numbers[:, 3:]),
            states=output.hidden,
        )
