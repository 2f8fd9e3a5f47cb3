"""Refuses decisions that would poison the replay, naming the lane, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agents.muzero.targets import END_CODES

POLICY_TOLERANCE = 1e-3  # on the sum of a policy's probabilities


def check_decisions(
    lanes: np.ndarray,
    observation: np.ndarray,
    action: np.ndarray,
    policy: np.ndarray,
    end: np.ndarray,
    numbers: Mapping[str, np.ndarray],
    *,
    num_lanes: int,
    observation_shape: tuple[int, ...],
    num_actions: int,
) -> None:
    """Raise ValueError, with the lane and the reason, unless n decisions can be stored.

    Args:
        lanes: ``[n]``.
        observation: ``[n, ...]``.
        action: ``[n]``.
        policy: ``[n, A]``.
        end: ``[n]``.
        numbers: arrays ``[n]`` by name, such as rewards.
        num_lanes: lanes there are.
        observation_shape: shape of one observation.
        num_actions: A.
    """
    rows = len(lanes)
    if rows == 0:
        return
    if lanes.min() < 0 or lanes.max() >= num_lanes:
        raise ValueError(f"lanes must be 0 to {num_lanes - 1}: {lanes.tolist()}")
    if len(set(lanes.tolist())) != rows:
        raise ValueError(f"a lane takes one decision an append: {lanes.tolist()}")
    shapes = {
        "observation": (observation, observation_shape),
        "policy": (policy, (num_actions,)),
        "action": (action, ()),
        "end": (end, ()),
        **{name: (array, ()) for name, array in numbers.items()},
    }
    for name, (array, shape) in shapes.items():
        if np.shape(array) != (rows, *shape):
            raise ValueError(
                f"{name} has shape {np.shape(array)}, expected {(rows, *shape)}: one row per lane"
            )
    for name, array in (*numbers.items(), ("observation", observation), ("policy", policy)):
        finite = np.isfinite(array)
        if not finite.all():
            row = int(np.argwhere(~finite)[0, 0])
            raise ValueError(f"{name} of lane {lanes[row]} is not finite")
    if np.min(action) < 0 or np.max(action) >= num_actions:
        raise ValueError(f"actions must be 0 to {num_actions - 1}: {np.asarray(action).tolist()}")
    if not np.isin(end, END_CODES).all():
        raise ValueError(f"end must be one of {END_CODES}: {np.asarray(end).tolist()}")
    sums = policy.sum(axis=1)
    worst = int(np.abs(sums - 1.0).argmax())
    if abs(sums[worst] - 1.0) > POLICY_TOLERANCE or policy.min() < 0.0:
        raise ValueError(
            f"policies must be probabilities: that of lane {lanes[worst]} sums to {sums[worst]}, "
            f"the smallest entry is {policy.min()}"
        )
