"""Checks the arguments of searches and the outputs of models."""

from __future__ import annotations

import numpy as np

from agents.muzero.search.base import Afterstates, ModelOutput
from agents.muzero.search.chance import SUM_TOLERANCE


def check_output(output: ModelOutput, num_roots: int, num_actions: int) -> None:
    """Raise ValueError, naming head and row, unless the model returned B finite rows."""
    shapes: dict[str, tuple[int, ...]] = {
        "value": (num_roots,),
        "reward": (num_roots,),
        "discount": (num_roots,),
        "policy_logits": (num_roots, num_actions),
    }
    for head, shape in shapes.items():
        array = getattr(output, head)
        if array.shape != shape:
            raise ValueError(
                f"the model returned {head} of shape {array.shape}, expected {shape}: "
                "one row per root, one logit per action"
            )
        if not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise ValueError(
                f"the model's {head} is not finite in row {row}: {array[row].ravel()[:5]}. "
                "Training has diverged: lower the learning rate or clip gradients"
            )
    if len(output.states) != num_roots:
        raise ValueError(
            f"the model returned {len(output.states)} states for {num_roots} roots; return one for "
            "each"
        )


def check_afterstates(after: Afterstates, rows: np.ndarray, num_outcomes: int) -> None:
    """Raise ValueError, naming head and row, unless the model returned these n afterstates.

    Args:
        after: of the model.
        rows: ``[n]``, of the roots.
        num_outcomes: C.
    """
    count = len(rows)
    shapes: dict[str, tuple[int, ...]] = {
        "reward": (count,),
        "discount": (count,),
        "probabilities": (count, num_outcomes),
    }
    for head, shape in shapes.items():
        array = getattr(after, head)
        if array.shape != shape:
            raise ValueError(
                f"the model returned {head} of shape {array.shape} for afterstates, expected "
                f"{shape}: one row per action, one probability per outcome"
            )
        if not np.isfinite(array).all():
            place = int(np.argwhere(~np.isfinite(array))[0][0])
            raise ValueError(
                f"the {head} of an afterstate is not finite in row {rows[place]}: "
                f"{array[place].ravel()[:5]}. Training has diverged: lower the learning rate or "
                "clip gradients"
            )
    if len(after.states) != count:
        raise ValueError(
            f"the model returned {len(after.states)} afterstates for {count} actions; return one "
            "for each"
        )
    given = after.probabilities.astype(np.float64)
    wrong = (given < 0).any(axis=1) | (abs(given.sum(axis=1) - 1.0) > SUM_TOLERANCE)
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(
            f"the probabilities of an afterstate in row {rows[place]} are {given[place]}, sum "
            f"{given[place].sum():.6g}; expected none below 0, and a sum of 1"
        )


def check_roots(output: ModelOutput, action_mask: np.ndarray) -> None:
    """Raise ValueError unless mask and model agree and every row has a legal action."""
    check_mask(action_mask)
    check_output(output, *action_mask.shape)


def check_mask(action_mask: np.ndarray) -> None:
    """Raise ValueError unless it is ``[B, A]`` and every row has a legal action."""
    if action_mask.ndim != 2:
        raise ValueError(f"action_mask must be [B, A], got shape {action_mask.shape}")
    empty = np.flatnonzero(~action_mask.astype(bool).any(axis=1))
    if len(empty):
        raise ValueError(
            f"row {empty[0]} of action_mask has no legal action; give at least one 1 per row"
        )


def require_positive(name: str, value: int) -> None:
    """Raise ValueError unless the whole number ``value`` is at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def require_not_negative(name: str, value: float) -> None:
    """Raise ValueError unless ``value`` is finite, and 0 or more."""
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{name} must be finite, and 0 or more, got {value}")
