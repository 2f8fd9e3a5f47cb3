"""``Decision``: one record from self-play through the replay to the learner.

A new field is declared once, in ``Decision`` and ``decision_fields``; what a network records
besides (``AuxiliaryTarget``) is in ``extras``, without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import DTypeLike

from agents.muzero.targets import END_CODES

Leaf = TypeVar("Leaf")

POLICY_TOLERANCE = 1e-3  # on the sum of a policy's probabilities
_FINITE = ("reward", "root_value", "final_value", "observation", "policy")


@dataclass(frozen=True)
class Field:
    """What one decision has in an array of the record, and how a replay keeps it."""

    shape: tuple[int, ...]
    dtype: DTypeLike  # in self-play and in batches
    stored: DTypeLike | None = None  # in the replay; None: the same, but booleans as bits

    def slots(self, count: int) -> np.ndarray:
        """Return the array of ``count`` slots."""
        if np.dtype(self.dtype) == np.bool_:
            *outer, last = self.shape
            return np.zeros((count, *outer, (last + 7) // 8), np.uint8)
        return np.zeros((count, *self.shape), self.stored or self.dtype)

    def write(self, array: np.ndarray, slots: np.ndarray, rows: np.ndarray) -> None:
        """Store ``rows [n, ...]`` in ``slots [n]`` of ``array``."""
        if np.dtype(self.dtype) == np.bool_:
            rows = np.packbits(rows.astype(bool, copy=False), axis=-1)
        elif self.stored == np.float16:  # NumPy converts one at a time, torch 30 times faster
            rows = torch.from_numpy(np.require(rows, np.float32, ("C", "W"))).half().numpy()
        array[slots] = rows

    def read(self, array: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Return a copy ``[*slots.shape, ...]`` of ``slots``."""
        rows = array[slots]
        if np.dtype(self.dtype) == np.bool_:
            return np.unpackbits(rows, axis=-1, count=self.shape[-1]).view(np.bool_)
        if self.stored == np.float16:
            return torch.from_numpy(rows).float().numpy()
        return rows.astype(self.dtype, copy=False)


class Decision(NamedTuple, Generic[Leaf]):
    """Decisions, field by field.

    The leaves are ``Field``s where the record is declared, arrays ``[T, G, ...]`` in self-play and
    ``[n, ...]`` where n lanes are appended to, of slots in the replay, and arrays or tensors
    ``[B, K+1, ...]`` in a batch.
    """

    observation: Leaf  # [..., *observation_shape] float32, what was decided on
    action: Leaf  # [...] int64
    reward: Leaf  # [...] float32, of the whole decision, the terminal one included
    policy: Leaf  # [..., A] float32, to learn, rows sum to 1: the search's, or the teacher's
    root_value: Leaf  # [...] float32, the search's value
    duration: Leaf  # [...] int32, environment steps that the decision covered
    end: Leaf  # [...] uint8, one of targets.END_CODES
    final_value: Leaf  # [...] float32, value of the final observation where truncated, else 0
    action_mask: Leaf | None  # [..., A] bool, True = legal; None where it is not kept
    extras: Mapping[str, Leaf]  # what the network's auxiliary targets record, by name


def decision_fields(
    *,
    observation_shape: tuple[int, ...],
    num_actions: int,
    action_masks: bool = True,
    extras: Mapping[str, Field] | None = None,
) -> Decision[Field]:
    """Return the declared record of decisions.

    Args:
        observation_shape: shape of one observation.
        num_actions: A.
        action_masks: whether the record has them.
        extras: fields that the network declares.

    Raises:
        ValueError: an extra field has the name of another one.
    """
    extras = dict(extras or {})
    taken = sorted(extras.keys() & set(Decision._fields))
    if taken:
        raise ValueError(f"decisions have a field {taken[0]!r} already: name the extra otherwise")
    return Decision(
        observation=Field(tuple(map(int, observation_shape)), np.float32),
        action=Field((), np.int64, np.int32),
        reward=Field((), np.float32),
        policy=Field((num_actions,), np.float32, np.float16),
        root_value=Field((), np.float32),
        duration=Field((), np.int32),
        end=Field((), np.uint8),
        final_value=Field((), np.float32),
        action_mask=Field((num_actions,), np.bool_) if action_masks else None,
        extras=extras,
    )


def map_fields(function: Callable[..., Any], record: Any, *others: Any) -> Any:
    """Return ``record`` with ``function`` applied to its leaves, and to those of ``others`` there.

    As ``jax.tree.map``: named tuples and mappings are gone into, and None stays None. The others
    may have more fields.
    """
    if record is None:
        return None
    if isinstance(record, Mapping):
        parts = ((name, (part, *(o[name] for o in others))) for name, part in record.items())
        return {name: map_fields(function, *part) for name, part in parts}
    if isinstance(record, tuple):
        parts = zip(record, *others, strict=True)
        return type(record)(*(map_fields(function, *part) for part in parts))
    return function(record, *others)


def named_fields(record: Decision[Leaf]) -> dict[str, Leaf]:
    """Return the leaves that are there, by name; those of ``extras`` by their own."""
    leaves = record._asdict()
    leaves.update(leaves.pop("extras"))
    return {name: leaf for name, leaf in leaves.items() if leaf is not None}


def empty_decisions(fields: Decision[Field], shape: tuple[int, ...]) -> Decision[np.ndarray]:
    """Return arrays ``[*shape, ...]`` for decisions, not filled in."""
    return map_fields(lambda field: np.empty((*shape, *field.shape), field.dtype), fields)


def read_row(decisions: Decision[np.ndarray], index: int) -> Decision[np.ndarray]:
    """Return views of row ``index`` of every array."""
    return map_fields(lambda rows: rows[index], decisions)


def write_row(decisions: Decision[np.ndarray], index: int, row: Decision[np.ndarray]) -> None:
    """Write ``row`` into row ``index`` of every array, converted to its dtype."""
    map_fields(lambda rows, new: np.copyto(rows[index], new, "unsafe"), decisions, row)


def check_decisions(
    lanes: np.ndarray, decision: Decision[np.ndarray], fields: Decision[Field], num_lanes: int
) -> None:
    """Refuse decisions that would poison a replay, before anything is written.

    Args:
        lanes: ``[n]`` int64.
        decision: of n lanes, ``[n, ...]``.
        fields: what the replay keeps.
        num_lanes: lanes there are.

    Raises:
        ValueError: the message names the lane and the reason.
    """
    rows = len(lanes)
    if rows == 0:
        return
    if lanes.min() < 0 or lanes.max() >= num_lanes:
        raise ValueError(f"lanes must be 0 to {num_lanes - 1}: {lanes.tolist()}")
    if len(set(lanes.tolist())) != rows:
        raise ValueError(f"a lane takes one decision an append: {lanes.tolist()}")
    given = named_fields(decision)
    for name, field in named_fields(fields).items():
        if name not in given:
            raise ValueError(f"this replay keeps {name}, which the decisions do not have")
        shape = np.shape(given[name])
        if shape != (rows, *field.shape):
            raise ValueError(
                f"{name} has shape {shape}, expected {(rows, *field.shape)}: one row per lane"
            )
    for name in _FINITE:
        finite = np.isfinite(given[name])
        if not finite.all():
            row = int(np.argwhere(~finite)[0, 0])
            raise ValueError(f"{name} of lane {lanes[row]} is not finite")
    action, policy, (num_actions,) = decision.action, decision.policy, fields.policy.shape
    if np.min(action) < 0 or np.max(action) >= num_actions:
        raise ValueError(f"actions must be 0 to {num_actions - 1}: {np.asarray(action).tolist()}")
    if not np.isin(decision.end, END_CODES).all():
        raise ValueError(f"end must be one of {END_CODES}: {np.asarray(decision.end).tolist()}")
    sums = policy.sum(axis=1)
    worst = int(np.abs(sums - 1.0).argmax())
    if abs(sums[worst] - 1.0) > POLICY_TOLERANCE or policy.min() < 0.0:
        raise ValueError(
            f"policies must be probabilities: that of lane {lanes[worst]} sums to {sums[worst]}, "
            f"the smallest entry is {policy.min()}"
        )
