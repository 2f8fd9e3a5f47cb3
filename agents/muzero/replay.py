"""The replay: decisions in preallocated arrays, and batches of targets drawn from them.

Each environment writes its decisions in order into a lane of its own, a ring that never grows, so
what followed a decision is the next entry of its lane. Targets are computed when sampled.

Shape letters: N lanes, C decisions in a lane, n rows of an append, B rows of a batch, K unrolled
steps, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, NamedTuple

import numpy as np
import torch

from agents.muzero.decision import (
    Decision,
    Field,
    Leaf,
    check_decisions,
    decision_fields,
    map_fields,
    named_fields,
)
from agents.muzero.sum_tree import SumTree
from agents.muzero.targets import (
    CONTINUING,
    CUT,
    edge_discounts,
    n_step_values,
    spread_rewards,
    unroll_masks,
)
from powergrid_muzero.copies import Copyable

PRIORITY_FLOOR = 1e-6  # added to each priority, so that no decision is lost for ever


class Targets(NamedTuple, Generic[Leaf]):
    """What is learned along K unrolled steps, besides the policies of the decisions."""

    values: Leaf  # [B, K+1] float32, n-step targets, 0 where masked
    rewards: Leaf  # [B, K] float32
    discounts: Leaf  # [B, K] float32, on what follows; 0 where the episode ended or was over
    value_mask: Leaf  # [B, K+1] bool, True = train
    reward_mask: Leaf  # [B, K] bool
    policy_mask: Leaf  # [B, K+1] bool, True where there is a real decision


class Batch(NamedTuple, Generic[Leaf]):
    """B sampled decisions, the K after each, and what is learned from them: arrays, or tensors."""

    decisions: Decision[Leaf]  # [B, K+1, ...] as they were recorded, but where policy_mask is not
    # set policies are 0, actions random and all of them legal; observations of the first alone,
    # [B, 1, ...], unless the replay has ``unroll_observations``
    targets: Targets[Leaf]
    weights: Leaf  # [B] float32, importance weights, 1 unless prioritised
    indices: Leaf  # [B] int64, for update_priorities


class ReplayChunk(NamedTuple):
    """Some of the decisions held, for reanalysis."""

    slots: np.ndarray  # [n] int64, where they are, for Replay.rewrite
    observations: np.ndarray  # [n, ...] float32
    action_masks: np.ndarray | None  # [n, A] bool, True = legal; None if the replay keeps none


class Replay(Copyable):
    """A bounded memory of decisions.

    A lane's newest decision counts as cut: positions near it bootstrap with the furthest search
    value that is there, so nothing waits and n = min(td_steps, T - t) holds everywhere.

    Memory in bytes a decision (``nbytes`` is the sum): 4 a number of the observation, 2 A for the
    policy, 21 for action, reward, values, duration and end, A / 8 for the mask if kept, what the
    extra fields take, 16 to 32 if prioritised.

    Args:
        num_lanes: N, one per environment.
        capacity: decisions kept in all; each lane keeps ``capacity // num_lanes``.
        observation_shape: shape of one observation.
        num_actions: A.
        unroll_steps: K; 0 for values and policies alone.
        td_steps: n of the n-step value target.
        discount: gamma.
        discount_per_step: gamma is of an environment step, not of a decision: a decision of
            duration d discounts by gamma^d, and its reward is spread over its steps
            (``targets.spread_rewards``). A value is then the same whether or not the agent is
            asked at every step.
        priority_alpha: exponent of the priorities (Schaul et al. 2016); 0 samples uniformly.
        priority_beta: exponent of the importance weights.
        store_action_masks: keep each decision's legal actions, for a masked policy loss.
        extras: fields that the network wants kept besides, by name.
        unroll_observations: give batches the observations that follow, for the consistency loss.

    Raises:
        ValueError: an option is out of range; the message says which and what it needs.
    """

    def __init__(
        self,
        *,
        num_lanes: int,
        capacity: int,
        observation_shape: tuple[int, ...],
        num_actions: int,
        unroll_steps: int = 5,
        td_steps: int = 7,
        discount: float = 0.9,
        discount_per_step: bool = False,
        priority_alpha: float = 0.0,
        priority_beta: float = 0.4,
        store_action_masks: bool = False,
        extras: Mapping[str, Field] | None = None,
        unroll_observations: bool = False,
    ) -> None:
        counts = {"num_lanes": (num_lanes, 1), "unroll_steps": (unroll_steps, 0)}
        for name, (number, least) in {**counts, "td_steps": (td_steps, 1)}.items():
            if number < least:
                raise ValueError(f"{name} must be at least {least}: {number}")
        if not 0.0 <= discount <= 1.0:
            raise ValueError(f"discount must be 0 to 1: {discount}")
        for name, exponent in {
            "priority_alpha": priority_alpha,
            "priority_beta": priority_beta,
        }.items():
            if not 0.0 <= exponent < np.inf:
                raise ValueError(f"{name} must be finite and not negative: {exponent}")
        self._window = unroll_steps + 1 + td_steps
        if capacity < num_lanes * self._window:
            raise ValueError(
                f"capacity {capacity} is too small: {num_lanes} lanes with unroll_steps="
                f"{unroll_steps} and td_steps={td_steps} need at least {num_lanes * self._window}"
            )
        self.num_lanes = num_lanes
        self.lane_capacity = capacity // num_lanes
        self.num_actions = num_actions
        self.unroll_steps = unroll_steps
        self.td_steps = td_steps
        self.discount = discount
        self.discount_per_step = discount_per_step
        self.priority_alpha = priority_alpha
        self.priority_beta = priority_beta
        self.unroll_observations = unroll_observations
        self.store_action_masks = store_action_masks
        self.fields = decision_fields(
            observation_shape=observation_shape,
            num_actions=num_actions,
            action_masks=store_action_masks,
            extras=extras,
        )
        # Slot of position p of a lane: (p % C) * N + lane. What is filled is a prefix, so a
        # checkpoint of a young replay is small without a copy.
        slots = num_lanes * self.lane_capacity
        self._held: Decision[np.ndarray] = map_fields(lambda field: field.slots(slots), self.fields)
        self._appended = np.zeros(num_lanes, np.int64)  # decisions ever written to each lane
        self._tree = SumTree(slots) if priority_alpha > 0.0 else None
        self._max_priority = 1.0

    @property
    def num_decisions(self) -> int:
        """Decisions held now."""
        return int(np.minimum(self._appended, self.lane_capacity).sum())

    @property
    def nbytes(self) -> int:
        """Memory of a full replay, bytes: all of it is reserved at the start."""
        arrays = sum(array.nbytes for array in named_fields(self._held).values())
        return arrays + (self._tree.nbytes if self._tree else 0)

    def append(self, lane_ids: np.ndarray, decision: Decision[np.ndarray]) -> None:
        """Append one decision to each of n lanes.

        Args:
            lane_ids: ``[n]`` int, all different.
            decision: ``[n, ...]``; fields that the replay does not keep are left out.

        Raises:
            ValueError: see ``check_decisions``; nothing was written.
        """
        lanes = np.asarray(lane_ids, dtype=np.int64)
        check_decisions(lanes, decision, self.fields, self.num_lanes)
        slots = self._slots(self._appended[lanes], lanes)
        map_fields(
            lambda field, array, rows: field.write(array, slots, rows),
            self.fields,
            self._held,
            decision,
        )
        self._appended[lanes] += 1
        if self._tree is not None:
            self._tree.set(slots, self._max_priority**self.priority_alpha)

    def sample(
        self, batch_size: int, rng: np.random.Generator, *, priority_beta: float | None = None
    ) -> Batch[np.ndarray]:
        """Draw decisions, with replacement, and their targets.

        Args:
            batch_size: B.
            rng: where randomness comes from.
            priority_beta: exponent of the importance weights, None for the constructor's.

        Raises:
            ValueError: the replay is empty.
        """
        if self.num_decisions == 0:
            raise ValueError("the replay is empty: append decisions before sampling")
        beta = self.priority_beta if priority_beta is None else priority_beta
        lanes, positions, weights = self._draw(batch_size, rng, beta)
        return self._batch(lanes, positions, weights, rng)

    def chunks(self, size: int) -> Iterator[ReplayChunk]:
        """Yield everything held, ``size`` decisions at a time, for ``rewrite``."""
        held = np.flatnonzero(np.arange(self.lane_capacity)[:, None] < self._appended)
        for start in range(0, len(held), size):
            slots = held[start : start + size]
            masks = None if self.fields.action_mask is None else self._read("action_mask", slots)
            yield ReplayChunk(slots, self._read("observation", slots), masks)

    def rewrite(self, slots: np.ndarray, policy: np.ndarray, root_value: np.ndarray) -> None:
        """Replace policy ``[n, A]`` and search value ``[n]`` of decisions that ``chunks`` gave."""
        self.fields.policy.write(self._held.policy, slots, policy)
        self.fields.root_value.write(self._held.root_value, slots, root_value)

    def _read(self, name: str, slots: np.ndarray) -> np.ndarray:
        return getattr(self.fields, name).read(getattr(self._held, name), slots)

    def update_priorities(self, indices: np.ndarray, priorities: np.ndarray) -> None:
        """Give sampled decisions new priorities, such as |predicted value - target|.

        Decisions overwritten since are skipped. Without prioritised replay this does nothing.

        Raises:
            ValueError: a priority is negative or not finite.
        """
        if self._tree is None:
            return
        if not (np.isfinite(priorities).all() and (priorities >= 0.0).all()):
            raise ValueError("priorities must be finite and not negative")
        positions, lanes = np.divmod(indices, self.num_lanes)
        held = positions >= self._appended[lanes] - self.lane_capacity
        slots = self._slots(positions, lanes)[held]
        floored = priorities[held].astype(np.float64) + PRIORITY_FLOOR
        self._max_priority = max(self._max_priority, float(floored.max(initial=0.0)))
        self._tree.set(slots, floored**self.priority_alpha)

    def state_dict(self) -> dict[str, Any]:
        """Return everything held as tensors and plain Python; tensors share this memory."""
        filled = min(int(self._appended.max()), self.lane_capacity) * self.num_lanes
        tensors = {
            name: torch.from_numpy(array[:filled])
            for name, array in named_fields(self._held).items()
        }
        state: dict[str, Any] = {
            "layout": self._layout(),
            "appended": torch.from_numpy(self._appended),
            "arrays": tensors,
            "max_priority": self._max_priority,
        }
        if self._tree is not None:
            state["weights"] = torch.from_numpy(self._tree.leaves[:filled])
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what ``state_dict`` gave.

        Raises:
            ValueError: it is of a replay with another layout; the message names the difference.
        """
        layout = self._layout()
        for name in layout:
            if state["layout"].get(name) != layout[name]:
                raise ValueError(
                    f"the saved replay has {name}={state['layout'].get(name)}, but this one "
                    f"{name}={layout[name]}: resume with the configuration of the run"
                )
        self._appended[:] = state["appended"].numpy()
        filled, arrays = 0, named_fields(self._held)
        for name, tensor in state["arrays"].items():
            filled = len(tensor)
            arrays[name][:filled] = tensor.numpy()
        self._max_priority = float(state["max_priority"])
        if self._tree is not None:
            self._tree.set(np.arange(filled), state["weights"].numpy())

    def _layout(self) -> dict[str, Any]:
        """What must agree for two replays to hold the same."""
        return {
            "num_lanes": self.num_lanes,
            "lane_capacity": self.lane_capacity,
            "observation_shape": list(self.fields.observation.shape),
            "num_actions": self.num_actions,
            "arrays": {
                name: [str(array.dtype), list(array.shape[1:])]
                for name, array in sorted(named_fields(self._held).items())
            },
            "prioritized": self._tree is not None,
        }

    def _slots(self, positions: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        return (positions % self.lane_capacity) * self.num_lanes + lanes

    def _draw(
        self, batch_size: int, rng: np.random.Generator, beta: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return lanes, positions and importance weights, each ``[B]``."""
        held = np.minimum(self._appended, self.lane_capacity)
        if self._tree is None:
            upper = np.cumsum(held)
            draw = rng.integers(upper[-1], size=batch_size)
            lanes = np.searchsorted(upper, draw, side="right")
            positions = self._appended[lanes] - upper[lanes] + draw
            return lanes, positions, np.ones(batch_size, np.float32)
        slots = self._tree.draw(rng.random(batch_size))
        rows, lanes = np.divmod(slots, self.num_lanes)
        newest = self._appended[lanes] - 1
        positions = newest - (newest - rows) % self.lane_capacity
        probability = self._tree.leaves[slots] / self._tree.total
        weights = (held.sum() * probability) ** -beta
        return lanes, positions, (weights / weights.max()).astype(np.float32)

    def _batch(
        self,
        lanes: np.ndarray,
        positions: np.ndarray,
        weights: np.ndarray,
        rng: np.random.Generator,
    ) -> Batch[np.ndarray]:
        places = self.unroll_steps + 1
        newest = self._appended[lanes] - 1
        window = np.minimum(positions[:, None] + np.arange(self._window), newest[:, None])
        slots = self._slots(window, lanes[:, None])
        ends = self._read("end", slots)
        ends[(window == newest[:, None]) & (ends == CONTINUING)] = CUT
        rewards = self._read("reward", slots)
        durations = self._read("duration", slots) if self.discount_per_step else None
        if durations is not None:
            rewards = spread_rewards(rewards, durations, self.discount)
        values = n_step_values(
            rewards,
            self._read("root_value", slots),
            ends,
            self._read("final_value", slots),
            discount=self.discount,
            td_steps=self.td_steps,
            num_positions=places,
            durations=durations,
        )
        discounts = edge_discounts(
            ends, discount=self.discount, num_steps=places - 1, durations=durations
        )
        real, absorbing = unroll_masks(ends, places)
        known, before, nothing = real | absorbing, real[:, :-1], np.float32(0.0)
        targets = Targets(
            values=np.where(real, values, nothing),
            rewards=np.where(before, rewards[:, : places - 1], nothing),
            discounts=np.where(before, discounts, nothing),
            value_mask=known,
            reward_mask=known[:, :-1],
            policy_mask=real,
        )
        unroll = slots[:, :places]
        seen = unroll if self.unroll_observations else unroll[:, :1]
        decisions: Decision[np.ndarray] = map_fields(
            lambda field, array: field.read(
                array, seen if array is self._held.observation else unroll
            ),
            self.fields,
            self._held,
        )
        # in place: what was read is a copy
        policies = torch.from_numpy(decisions.policy)  # float16 does not sum to 1
        policies.div_(policies.sum(dim=-1, keepdim=True).clamp_min_(1e-6))
        decisions.policy[~real] = 0.0
        # After the end any action leads to the absorbing state; the next episode's would not do.
        over = ~before
        decisions.action[:, :-1][over] = rng.integers(self.num_actions, size=int(over.sum()))
        if decisions.action_mask is not None:
            decisions.action_mask[~real] = True
        return Batch(decisions, targets, weights, positions * self.num_lanes + lanes)
