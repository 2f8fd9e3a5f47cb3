"""Replay: the decisions of self-play in preallocated arrays, and batches of targets from them.

Each environment writes its decisions in order into a lane of its own, a ring that never grows, so
what followed a decision is the next entry of its lane. Targets are computed when sampled.

Shape letters: N lanes, C decisions in a lane, n rows of an append, B rows of a batch, K unrolled
steps, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np
import torch

from agents.muzero.decision_checks import check_decisions
from agents.muzero.outlooks import Outlooks
from agents.muzero.outlooks import OutlookStorage
from agents.muzero.policy_storage import DensePolicies
from agents.muzero.policy_storage import SparsePolicies
from agents.muzero.sum_tree import SumTree
from agents.muzero.targets import CONTINUING
from agents.muzero.targets import CUT
from agents.muzero.targets import edge_discounts
from agents.muzero.targets import n_step_values
from agents.muzero.targets import spread_rewards
from agents.muzero.targets import unroll_masks
from envs.copies import Copyable

PRIORITY_FLOOR = 1e-6  # added to each priority, so that no decision is lost for ever


class ReplayBatch(NamedTuple):
    """B sampled decisions and the targets along K unrolled steps."""

    observations: np.ndarray  # [B, ...] float32
    actions: np.ndarray  # [B, K] int64; random where the episode was over
    rewards: np.ndarray  # [B, K] float32
    discounts: np.ndarray  # [B, K] float32, on what follows; 0 where the episode ended or was over
    values: np.ndarray  # [B, K+1] float32, n-step targets
    policies: np.ndarray  # [B, K+1, A] float32, rows sum to 1 (0 where masked)
    reward_mask: np.ndarray  # [B, K] bool, True = train
    value_mask: np.ndarray  # [B, K+1] bool
    policy_mask: np.ndarray  # [B, K+1] bool, True where there is a real decision
    weights: np.ndarray  # [B] float32, importance weights, 1 unless prioritised
    indices: np.ndarray  # [B] int64, for update_priorities
    next_observations: np.ndarray | None = None  # [B, K, ...] float32, for the consistency loss
    action_masks: np.ndarray | None = None  # [B, K+1, A] bool, True = legal
    outlooks: Outlooks | None = None  # of the B decisions


class ReplayChunk(NamedTuple):
    """Some of the decisions held, for reanalysis."""

    slots: np.ndarray  # [n] int64, where they are, for Replay.rewrite
    observations: np.ndarray  # [n, ...] float32
    action_masks: np.ndarray | None  # [n, A] uint8, 1 = legal; None if the replay keeps none


class Replay(Copyable):
    """A bounded memory of decisions.

    A lane's newest decision counts as cut: positions near it bootstrap with the furthest search
    value that is there, so nothing waits and n = min(td_steps, T - t) holds everywhere.

    Memory in bytes a decision (``nbytes`` is the sum): the observation, 2 A for the policy (4 S
    with ``sparse_policy_size=S``), 21 for action, reward, values, duration and end, A / 8 for the
    mask if kept, 2 M (1 + L) for M look-aheads of L lines, 16 to 32 if prioritised.

    Args:
        num_lanes: N, one per environment.
        capacity: decisions kept in all; each lane keeps ``capacity // num_lanes``.
        observation_shape: shape of one observation.
        num_actions: A.
        observation_dtype: how observations are kept; batches have them in float32.
        sparse_policy_size: keep only this many non-zero probabilities of each policy, for visit
            counts of few simulations; None keeps all.
        unroll_steps: K; 0 for values and policies alone.
        td_steps: n of the n-step value target.
        discount: gamma, per decision.
        discount_per_step: gamma per environment step: a decision of duration d discounts by
            gamma^d, and its reward is spread over its steps (``targets.spread_rewards``). A value
            is then the same whether or not the agent is asked at every step.
        priority_alpha: exponent of the priorities (Schaul et al. 2016); 0 samples uniformly.
        priority_beta: exponent of the importance weights.
        store_action_masks: keep each decision's legal actions, for a masked policy loss.
        outlook_shape: (M, L): keep the look-aheads at M actions, L lines; None keeps none.
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
        observation_dtype: Any = np.float32,
        sparse_policy_size: int | None = None,
        unroll_steps: int = 5,
        td_steps: int = 7,
        discount: float = 0.9,
        discount_per_step: bool = False,
        priority_alpha: float = 0.0,
        priority_beta: float = 0.4,
        store_action_masks: bool = False,
        outlook_shape: tuple[int, int] | None = None,
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
        self.observation_shape = tuple(int(size) for size in observation_shape)
        self.num_actions = num_actions
        self.unroll_steps = unroll_steps
        self.td_steps = td_steps
        self.discount = discount
        self.discount_per_step = discount_per_step
        self.priority_alpha = priority_alpha
        self.priority_beta = priority_beta
        self.unroll_observations = unroll_observations
        # Slot of position p of a lane: (p % C) * N + lane. What is filled is a prefix, so a
        # checkpoint of a young replay is small without a copy.
        slots = num_lanes * self.lane_capacity
        self._policies = (
            DensePolicies(slots, num_actions)
            if sparse_policy_size is None
            else SparsePolicies(slots, num_actions, sparse_policy_size)
        )
        self._arrays: dict[str, np.ndarray] = {
            "observation": np.zeros((slots, *self.observation_shape), np.dtype(observation_dtype)),
            "action": np.zeros(slots, np.int32),
            "reward": np.zeros(slots, np.float32),
            "root_value": np.zeros(slots, np.float32),
            "duration": np.ones(slots, np.int32),
            "end": np.zeros(slots, np.uint8),
            "final_value": np.zeros(slots, np.float32),
            **self._policies.arrays,
        }
        self.store_action_masks = store_action_masks
        if store_action_masks:
            self._arrays["action_mask"] = np.zeros((slots, (num_actions + 7) // 8), np.uint8)
        self._outlooks: OutlookStorage | None = None
        if outlook_shape is not None:
            self._outlooks = OutlookStorage(slots, outlook_shape)
            self._arrays.update(self._outlooks.arrays)
        self._appended = np.zeros(num_lanes, np.int64)  # decisions ever written to each lane
        self._tree = SumTree(slots) if priority_alpha > 0.0 else None
        self._max_priority = 1.0

    def _rebuild(self) -> None:
        """See ``Copyable``: its parts write to the arrays that it has of them."""
        for part in (self._policies, self._outlooks):
            if part is not None:
                self._arrays.update(part.arrays)

    @property
    def num_decisions(self) -> int:
        """Decisions held now."""
        return int(np.minimum(self._appended, self.lane_capacity).sum())

    @property
    def total_appended(self) -> int:
        """Decisions ever appended."""
        return int(self._appended.sum())

    @property
    def nbytes(self) -> int:
        """Memory of a full replay, bytes: all of it is reserved at the start."""
        arrays = sum(array.nbytes for array in self._arrays.values())
        return arrays + (self._tree.nbytes if self._tree else 0)

    def append(
        self,
        lane_ids: np.ndarray,
        observation: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        policy: np.ndarray,
        root_value: np.ndarray,
        duration: np.ndarray,
        end: np.ndarray,
        final_value: np.ndarray,
        action_mask: np.ndarray | None = None,
        *,
        outlooks: Outlooks | None = None,
    ) -> None:
        """Append one decision to each of n lanes.

        Args:
            lane_ids: ``[n]`` int, all different.
            observation: ``[n, ...]``, what was decided on.
            action: ``[n]`` int.
            reward: ``[n]``, of the whole decision, the terminal one included.
            policy: ``[n, A]``, the policy target, rows summing to 1.
            root_value: ``[n]``, the search's value.
            duration: ``[n]`` int, environment steps that the decision took.
            end: ``[n]``, one of ``targets.END_CODES``.
            final_value: ``[n]``, value of the final observation where truncated, else any.
            action_mask: ``[n, A]``, 1 = legal; needed if the replay stores masks.
            outlooks: of n decisions, if the replay keeps them; None where nobody looked ahead.

        Raises:
            ValueError: see ``check_decisions``; nothing was written.
        """
        lanes = np.asarray(lane_ids, dtype=np.int64)
        numbers = {"reward": reward, "root_value": root_value, "final_value": final_value}
        check_decisions(
            lanes,
            observation,
            action,
            policy,
            end,
            numbers,
            num_lanes=self.num_lanes,
            observation_shape=self.observation_shape,
            num_actions=self.num_actions,
        )
        slots = self._slots(self._appended[lanes], lanes)
        self._policies.write(slots, policy)  # may refuse: before anything else is written
        if self.store_action_masks:
            if action_mask is None:
                raise ValueError("this replay stores action masks: append needs action_mask")
            self._arrays["action_mask"][slots] = np.packbits(action_mask.astype(bool), axis=1)
        if self._outlooks is not None:
            self._outlooks.write(slots, outlooks)
        for name, array in numbers.items():
            self._arrays[name][slots] = array
        self._arrays["observation"][slots] = observation
        self._arrays["action"][slots] = action
        self._arrays["duration"][slots] = duration
        self._arrays["end"][slots] = end
        self._appended[lanes] += 1
        if self._tree is not None:
            self._tree.set(slots, self._max_priority**self.priority_alpha)

    def cut(self, lanes: np.ndarray) -> None:
        """Mark the newest decision of ``lanes [n]`` as cut: what follows is another episode.

        Lanes that are empty, or whose newest decision ended its episode, stay as they are.
        """
        lanes = np.asarray(lanes, dtype=np.int64)
        lanes = lanes[self._appended[lanes] > 0]
        slots = self._slots(self._appended[lanes] - 1, lanes)
        ends = self._arrays["end"]
        ends[slots] = np.where(ends[slots] == CONTINUING, CUT, ends[slots])

    def sample(
        self, batch_size: int, rng: np.random.Generator, *, priority_beta: float | None = None
    ) -> ReplayBatch:
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
        held = np.flatnonzero(self._held())
        for start in range(0, len(held), size):
            slots = held[start : start + size]
            masks = None
            if self.store_action_masks:
                packed = self._arrays["action_mask"][slots]
                masks = np.unpackbits(packed, axis=1, count=self.num_actions)
            observations = self._arrays["observation"][slots].astype(np.float32, copy=False)
            yield ReplayChunk(slots, observations, masks)

    def rewrite(self, slots: np.ndarray, policy: np.ndarray, root_value: np.ndarray) -> None:
        """Replace policy ``[n, A]`` and search value ``[n]`` of decisions that ``chunks`` gave."""
        self._policies.write(slots, policy)
        self._arrays["root_value"][slots] = root_value

    def _held(self) -> np.ndarray:
        """Return, per slot, whether it holds a decision: ``[slots]`` bool."""
        rows = np.arange(self.lane_capacity)[:, None] < self._appended
        return rows.ravel()

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
        tensors = {name: torch.from_numpy(a[:filled]) for name, a in self._arrays.items()}
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
        filled = 0
        for name, tensor in state["arrays"].items():
            filled = len(tensor)
            self._arrays[name][:filled] = tensor.numpy()
        self._max_priority = float(state["max_priority"])
        if self._tree is not None:
            self._tree.set(np.arange(filled), state["weights"].numpy())

    def _layout(self) -> dict[str, Any]:
        """What must agree for two replays to hold the same."""
        return {
            "num_lanes": self.num_lanes,
            "lane_capacity": self.lane_capacity,
            "observation_shape": list(self.observation_shape),
            "num_actions": self.num_actions,
            "arrays": {
                name: [str(array.dtype), list(array.shape[1:])]
                for name, array in sorted(self._arrays.items())
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
    ) -> ReplayBatch:
        places = self.unroll_steps + 1
        newest = self._appended[lanes] - 1
        window = np.minimum(positions[:, None] + np.arange(self._window), newest[:, None])
        slots = self._slots(window, lanes[:, None])
        arrays = self._arrays
        ends = arrays["end"][slots]
        ends[(window == newest[:, None]) & (ends == CONTINUING)] = CUT
        rewards = arrays["reward"][slots]
        durations = arrays["duration"][slots] if self.discount_per_step else None
        if durations is not None:
            rewards = spread_rewards(rewards, durations, self.discount)
        values = n_step_values(
            rewards,
            arrays["root_value"][slots],
            ends,
            arrays["final_value"][slots],
            discount=self.discount,
            td_steps=self.td_steps,
            num_positions=places,
            durations=durations,
        )
        real, absorbing = unroll_masks(ends, places)
        known = real | absorbing
        unroll = slots[:, :places]
        policies = self._policies.read(unroll.ravel()).numpy()
        policies = policies.reshape(*unroll.shape, self.num_actions)
        policies[~real] = 0.0
        discounts = edge_discounts(
            ends, discount=self.discount, num_steps=places - 1, durations=durations
        )
        # After the end any action leads to the absorbing state; the next episode's would not do.
        actions = arrays["action"][unroll[:, :-1]].astype(np.int64)
        over = ~real[:, :-1]
        actions[over] = rng.integers(self.num_actions, size=int(over.sum()))
        observations, masks = arrays["observation"], None
        if self.store_action_masks:
            packed = arrays["action_mask"][unroll]
            masks = np.unpackbits(packed, axis=-1, count=self.num_actions).astype(bool)
            masks[~real] = True
        return ReplayBatch(
            observations=observations[unroll[:, 0]].astype(np.float32, copy=False),
            actions=actions,
            rewards=np.where(real[:, :-1], rewards[:, : places - 1], np.float32(0.0)),
            discounts=np.where(real[:, :-1], discounts, np.float32(0.0)),
            values=np.where(real, values, np.float32(0.0)),
            policies=policies,
            reward_mask=known[:, :-1],
            value_mask=known,
            policy_mask=real,
            weights=weights,
            indices=positions * self.num_lanes + lanes,
            next_observations=observations[unroll[:, 1:]].astype(np.float32, copy=False)
            if self.unroll_observations
            else None,
            action_masks=masks,
            outlooks=None if self._outlooks is None else self._outlooks.read(slots[:, 0]),
        )
