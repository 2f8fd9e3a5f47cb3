"""The learned model: a network behind the interface that searches plan in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.networks.base import NetworkOutput
from agents.muzero.search.base import ModelOutput


class PolicyValue(NamedTuple):
    """What a network says of B observations without any planning."""

    policy_logits: np.ndarray  # [B, A] float32
    value: np.ndarray  # [B] float32, in the environment's own units


class _Worth(NamedTuple):
    """What one unit counts at the root, by where it is paid."""

    on_edge: torch.Tensor  # [B, 1], on the edges just taken
    after: torch.Tensor  # [B, 1], on those that follow


class LearnedModel:
    """Plans in a network's own states.

    It always reads the network's present weights: nothing is copied, so there is nothing to
    refresh after an update. The outputs of ``step`` last until the next step of as many rows.

    Where the network predicts discounts, a state carries the product of those on its way from the
    root as its last number, and values and rewards are given as they are worth at the root: a
    search sums them with a discount of 1. Every Q-value is then the usual one times a number that
    its siblings share, so what compares siblings (as ``normalization=siblings`` does) is the same.

    Args:
        network: the network; moved to ``device``.
        device: a torch device, such as "cpu" or "cuda:0".
    """

    def __init__(self, network: MuZeroNetwork, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self._on_host = self.device.type == "cpu"
        self.network = network.to(self.device).eval()
        self.num_actions = network.num_actions
        self._stepper: Callable[[torch.Tensor, torch.Tensor], NetworkOutput] | None = None
        self._stepper_rows = 0
        self._decode_value = network.value_head_codec.decode
        self._decode_reward = network.reward_head_codec.decode
        self._discounts = network.predicts_discount

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
        mask = None
        if legal is not None and self.network.foresees:
            mask = torch.from_numpy(legal.astype(np.bool_)).to(self.device)
        output = self.network.initial_inference(self._observations(observations), mask)
        if not self._discounts:
            return self._output(output)
        full = output.hidden.new_ones((len(output.hidden), 1))
        return self._output(output, _Worth(on_edge=full, after=full))

    @torch.inference_mode()
    def step(self, states: torch.Tensor, actions: np.ndarray) -> ModelOutput:
        """Return what follows ``actions [B]`` int64 in ``states [B, H]``."""
        action = torch.from_numpy(actions)
        if not self._on_host:
            action = action.to(self.device)
        if self._stepper is None or self._stepper_rows != len(actions):
            self._stepper_rows = len(actions)
            self._stepper = self.network.stepper(self._stepper_rows)
        if not self._discounts:
            return self._output(self._stepper(states, action))
        output = self._stepper(states[:, :-1], action)
        logit = self.network.read_reward(output.reward).discount_logit
        assert logit is not None
        worth = states[:, -1:]
        return self._output(output, _Worth(on_edge=worth, after=worth * logit.sigmoid()[:, None]))

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

    def _output(self, output: NetworkOutput, worth: _Worth | None = None) -> ModelOutput:
        """Return ``output`` decoded; with ``worth``, as it counts at the root."""
        value = self._decode_value(output.value)
        reward = self._decode_reward(self.network.read_reward(output.reward).reward)
        states = output.hidden
        if worth is not None:
            value, reward = value * worth.after[:, 0], reward * worth.on_edge[:, 0]
            states = torch.cat((states, worth.after), dim=1)
        if self._on_host:
            return ModelOutput(value.numpy(), reward.numpy(), output.policy_logits.numpy(), states)
        # One transfer, not three: each waits for the device.
        packed = torch.cat((value[:, None], reward[:, None], output.policy_logits), dim=1)
        numbers = packed.float().cpu().numpy()
        return ModelOutput(
            np.ascontiguousarray(numbers[:, 0]),
            np.ascontiguousarray(numbers[:, 1]),
            np.ascontiguousarray(numbers[:, 2:]),
            states,
        )
