"""Settings of a PPO training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from pydantic import FiniteFloat, PositiveInt

ACTIVATIONS: Mapping[str, type[torch.nn.Module]] = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}

_Share = Annotated[float, Gt(0.0), Le(1.0)]
_Positive = Annotated[FiniteFloat, Gt(0.0)]
_Weight = Annotated[FiniteFloat, Ge(0.0)]


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """How PPO learns; names in sb3's own words are in brackets."""

    total_decisions: PositiveInt = 100_000  # of all environments together; the training's end
    decisions_per_round: PositiveInt = 128  # in each environment between updates (n_steps)
    batch_size: PositiveInt = 256  # decisions in a minibatch
    epochs: PositiveInt = 10  # passes over a round's decisions (n_epochs)
    learning_rate: _Positive = 3e-4  # of Adam, constant
    discount: _Share = 0.99  # gamma, per decision
    gae_lambda: _Share = 0.95  # of the advantages
    clip_range: _Positive = 0.2  # of the probability ratio
    entropy_weight: _Weight = 0.01  # (ent_coef)
    value_weight: _Weight = 0.5  # (vf_coef)
    max_grad_norm: _Positive = 0.5  # longer gradients are cut to this norm
    reward_clip: _Positive = 10.0  # of rewards scaled by the spread of their returns
