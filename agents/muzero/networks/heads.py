"""Codecs between a head's output and a scalar (value or reward), with their losses.

In both codecs an output of zeros decodes to 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import nn

TRANSFORM_EPSILON = 1e-3  # eps of the value transform, MuZero appendix F


def transform_value(value: torch.Tensor) -> torch.Tensor:
    """Return h(x) = sign(x) (sqrt(|x| + 1) - 1) + eps x, which tames large values.

    MuZero (Schrittwieser et al. 2020), appendix F; Pohlen et al. 2018.
    """
    return value.sign() * ((value.abs() + 1.0).sqrt() - 1.0) + TRANSFORM_EPSILON * value


def inverse_transform_value(value: torch.Tensor) -> torch.Tensor:
    """Return the inverse of ``transform_value``, written without its float32 cancellation."""
    shifted = value.abs() + 1.0 + TRANSFORM_EPSILON
    root = (1.0 + 4.0 * TRANSFORM_EPSILON * shifted).sqrt()
    base = 2.0 * shifted / (root + 1.0)  # (sqrt(1 + u) - 1) / (2 eps), u = 4 eps shifted
    return value.sign() * (base - 1.0) * (base + 1.0)


class Codec(nn.Module, ABC):
    """Turns a head's output ``[..., size]`` into a scalar ``[...]`` and gives its loss."""

    size: int  # numbers that the head puts out

    @property
    @abstractmethod
    def limit(self) -> float:
        """The largest absolute target that the head can represent; inf where there is none."""

    @abstractmethod
    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """Return the scalar ``[...]`` that ``output [..., size]`` stands for."""

    @abstractmethod
    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss ``[...]`` of ``output [..., size]`` against scalars ``target [...]``."""


class ScalarCodec(Codec):
    """One unscaled number and its squared error: the specification's value and reward heads."""

    size = 1

    @property
    def limit(self) -> float:
        """No limit."""
        return float("inf")

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """Return the number itself."""
        return output.squeeze(-1)

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return ``(output - target)^2``, without a factor."""
        return (output[..., 0] - target).square()


class CategoricalCodec(Codec):
    """Logits over evenly spaced bins, trained by cross-entropy to the two-hot target.

    MuZero appendix F: the scalar is transformed by h, then shared between the two bins that it
    lies between; the prediction is h^-1 of the bins' mean. Targets beyond the support count as
    its edge; the learner reports how many were.

    Args:
        num_bins: number of bins, at least 3 and odd, so that one of them is 0.
        support_size: edge of the support, in transformed units: 30 reaches values of about 900.
        transform: False leaves values untransformed; then ``support_size`` is in their units.

    Raises:
        ValueError: ``num_bins`` is even or below 3, or ``support_size`` is not positive.
    """

    centers: torch.Tensor

    def __init__(
        self, *, num_bins: int = 61, support_size: float = 30.0, transform: bool = True
    ) -> None:
        super().__init__()
        if num_bins < 3 or num_bins % 2 == 0:
            raise ValueError(f"num_bins must be odd and at least 3, so that a bin is 0: {num_bins}")
        if not 0.0 < support_size < float("inf"):
            raise ValueError(f"support_size must be positive and finite: {support_size}")
        self.size = num_bins
        self.support_size = float(support_size)
        self.transform = transform
        half = num_bins // 2
        centers = torch.arange(-half, half + 1, dtype=torch.float32) * (support_size / half)
        self.register_buffer("centers", centers, persistent=False)

    @property
    def limit(self) -> float:
        """The scalar at the edge of the support."""
        edge = torch.tensor(self.support_size, dtype=torch.float64)
        return float(inverse_transform_value(edge) if self.transform else edge)

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """Return h^-1 of the mean of the bins under the softmax of ``output``."""
        mean = output.softmax(dim=-1) @ self.centers
        return inverse_transform_value(mean) if self.transform else mean

    def two_hot(self, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the lower bin ``[...]`` int64 and the share ``[...]`` of the bin above it."""
        scaled = transform_value(target) if self.transform else target
        half = self.size // 2
        position = (scaled * (half / self.support_size) + half).clamp(0.0, self.size - 1.0)
        lower = position.floor().clamp_max(self.size - 2.0)
        return lower.long(), position - lower

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy, in nats, to the two-hot ``target``."""
        log_probability = output.log_softmax(dim=-1)
        lower, share = self.two_hot(target)
        pair = torch.stack((lower, lower + 1), dim=-1)
        below, above = log_probability.gather(-1, pair).unbind(-1)
        return -torch.lerp(below, above, share)

    def extra_repr(self) -> str:
        """Return the options, for printing the network."""
        return f"num_bins={self.size}, support_size={self.support_size}, transform={self.transform}"


def zero_init(layer: nn.Linear) -> None:
    """Set a last layer to zero: values and rewards start at 0 and the policy uniform."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(torch.Tensor, layer.bias))
