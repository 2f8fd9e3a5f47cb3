"""Predictions of a network for recorded decisions, without a search.

Shape letters: N decisions, K unrolled steps, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from agents.muzero.model import LearnedModel, PolicyValue
from agents.muzero.networks.base import MuZeroNetwork
from agents.power_grid.flow import FlowNetwork

ROWS = 1024  # decisions unrolled at once
STEPS = 4096  # actions tried at once


class Predictions(NamedTuple):
    """What the model says along actions; in the environment's own units, not those of the root."""

    value: np.ndarray  # [N, K+1] float32, position 0 is the observation
    reward: np.ndarray  # [N, K] float32, of each action
    discount: np.ndarray | None  # [N, K] float32; None where the network predicts none


def predict_roots(
    network: MuZeroNetwork, observations: np.ndarray, candidates: np.ndarray | None = None
) -> PolicyValue:
    """Return priors and values of ``observations [N, ...]``.

    Args:
        network: on any device; left in evaluation mode, as by the functions below.
        observations: ``[N, ...]``.
        candidates: ``[N, A]`` bool, the actions whose priors are those of a search's root; None:
            the network's own policy, as below the root.
    """
    model = LearnedModel(network, discount=1.0, device=_device(network))  # roots have no edge
    parts = []
    for start in range(0, len(observations), ROWS):
        rows = slice(start, start + ROWS)
        judged = model.policy_value(observations[rows])
        if candidates is not None:
            priors = model.root(observations[rows], candidates[rows]).policy_logits
            judged = judged._replace(policy_logits=priors)
        parts.append(judged)
    if not parts:
        return PolicyValue(np.zeros((0, network.num_actions), np.float32), np.zeros(0, np.float32))
    return PolicyValue(*(np.concatenate(part) for part in zip(*parts, strict=True)))


@torch.inference_mode()
def predict_along(
    network: MuZeroNetwork, observations: np.ndarray, actions: np.ndarray
) -> Predictions:
    """Unroll the model from each observation along actions.

    Args:
        network: the network.
        observations: ``[N, ...]``, N at least 1.
        actions: ``[N, K]`` int64.
    """
    network.eval()
    device = _device(network)
    values, rewards, discounts = [], [], []
    for start in range(0, len(observations), ROWS):
        rows = slice(start, start + ROWS)
        unrolled = network.unroll(
            torch.from_numpy(observations[rows]).to(device),
            torch.from_numpy(actions[rows]).to(device),
        )
        transition = network.read_reward(unrolled.rewards)
        values.append(network.value_head_codec.decode(unrolled.values).cpu().numpy())
        rewards.append(network.reward_head_codec.decode(transition.reward).cpu().numpy())
        if transition.discount_logit is not None:
            discounts.append(transition.discount_logit.sigmoid().cpu().numpy())
    return Predictions(
        value=np.concatenate(values),
        reward=np.concatenate(rewards),
        discount=np.concatenate(discounts) if discounts else None,
    )


@torch.inference_mode()
def predict_actions(
    network: MuZeroNetwork, observations: np.ndarray, candidates: np.ndarray, *, discount: float
) -> np.ndarray:
    """Return Q(s, a) = r + d V one step ahead, ``[N, A]`` float32, NaN for no candidates.

    Args:
        network: predicts r, V and, where it can, d.
        observations: ``[N, ...]``.
        candidates: ``[N, A]`` bool.
        discount: d of a network that predicts none: gamma, as its searches count.
    """

    def score(seen: torch.Tensor, rows: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        output = network.recurrent_inference(network.representation(seen)[rows], actions)
        transition = network.read_reward(output.reward)
        factor: torch.Tensor | float = discount
        if transition.discount_logit is not None:
            factor = transition.discount_logit.sigmoid()
        value = network.value_head_codec.decode(output.value)
        reward = network.reward_head_codec.decode(transition.reward)
        return reward + factor * value

    return _score_actions(network, observations, candidates, score)


@torch.inference_mode()
def predict_loadings(
    network: FlowNetwork, observations: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """Return the highest line loading predicted, ``[N, A]`` float32, NaN for no candidates.

    Args:
        network: one that predicts loadings.
        observations: ``[N, ...]``.
        candidates: ``[N, A]`` bool.
    """

    def score(seen: torch.Tensor, rows: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return network.outcomes(seen, rows, actions).loading.amax(dim=1)

    return _score_actions(network, observations, candidates, score)


def _score_actions(
    network: MuZeroNetwork,
    observations: np.ndarray,
    candidates: np.ndarray,
    score: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> np.ndarray:
    """Return ``[N, A]`` float32: ``score`` of some observations, rows of them and actions."""
    network.eval()
    device = _device(network)
    scores = np.full(candidates.shape, np.nan, np.float32)
    rows, actions = np.nonzero(candidates)
    for start in range(0, len(rows), STEPS):
        row, action = rows[start : start + STEPS], actions[start : start + STEPS]
        first, last = row[0], row[-1]
        seen = torch.from_numpy(observations[first : last + 1]).to(device)
        places = torch.from_numpy(row - first).to(device)
        found = score(seen, places, torch.from_numpy(action).to(device))
        scores[row, action] = found.cpu().numpy()
    return scores


def _device(network: MuZeroNetwork) -> torch.device:
    return next(network.parameters()).device
