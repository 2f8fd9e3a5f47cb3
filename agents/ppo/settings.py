"""Settings of a PPO training, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from powergrid_muzero.checks import check_count
from powergrid_muzero.names import choose

ACTIVATIONS: Mapping[str, type[torch.nn.Module]] = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}

_COUNTS = ("total_decisions", "decisions_per_round", "batch_size", "epochs")
_SHARES = ("discount", "gae_lambda")
_POSITIVE = ("learning_rate", "clip_range", "max_grad_norm", "reward_clip")
_NOT_NEGATIVE = ("entropy_weight", "value_weight")


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """How PPO learns; names in sb3's own words are in brackets."""

    total_decisions: int = 100_000  # of all environments together; the end of the training
    decisions_per_round: int = 128  # in each environment between two updates (n_steps)
    batch_size: int = 256  # decisions in a minibatch
    epochs: int = 10  # passes over a round's decisions (n_epochs)
    learning_rate: float = 3e-4  # of Adam, constant
    discount: float = 0.99  # gamma, per decision
    gae_lambda: float = 0.95  # of the advantages
    clip_range: float = 0.2  # of the probability ratio
    entropy_weight: float = 0.01  # (ent_coef)
    value_weight: float = 0.5  # (vf_coef)
    max_grad_norm: float = 0.5  # longer gradients are cut to this norm
    reward_clip: float = 10.0  # of rewards scaled by the spread of their returns

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> PPOSettings:
        """Return the settings ``given``.

        Raises:
            ValueError: an unknown name, or a value out of range.
        """
        known = {one.name for one in fields(cls)}
        for name, value in given.items():
            choose("agent option", name, known)
            if name in _COUNTS:
                check_count(name, value)
            if name in _SHARES and not 0.0 < value <= 1.0:
                raise ValueError(f"{name} must be above 0 and at most 1, but is {value}")
            if name in _POSITIVE and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} must be above 0, but is {value}")
            if name in _NOT_NEGATIVE and not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} must be 0 or more, but is {value}")
        return cls(**given)
