"""Replay: what goes in comes out, bounded, with the targets of the right episode."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch

from agents.muzero.decision import Decision, Field, empty_decisions, map_fields
from agents.muzero.replay import Batch, Replay
from agents.muzero.sum_tree import SumTree
from agents.muzero.targets import CUT, TERMINATED, TRUNCATED

ACTIONS = 6


def make(**options: Any) -> Replay:
    defaults: dict[str, Any] = {
        "num_lanes": 2,
        "capacity": 40,
        "observation_shape": (2,),
        "num_actions": ACTIONS,
        "unroll_steps": 3,
        "td_steps": 2,
        "discount": 0.5,
    }
    return Replay(**{**defaults, **options})


def put(
    replay: Replay, lane: int, number: int, end: int = 0, final: float = 0.0, **changes: Any
) -> None:
    """Append the lane's decision ``number``: its fields are functions of lane and number."""
    policy = np.zeros((1, ACTIONS), np.float32)
    policy[0, number % ACTIONS] = 0.75
    policy[0, (number + 1) % ACTIONS] = 0.25
    fields: dict[str, Any] = {
        "observation": np.array([[lane, number]], np.float32),
        "action": np.array([number % ACTIONS]),
        "reward": np.array([number + 0.5]),
        "policy": policy,
        "root_value": np.array([100.0 * number]),
        "duration": np.array([1]),
        "end": np.array([end]),
        "final_value": np.array([final]),
        "action_mask": np.ones((1, ACTIONS), np.int8),
        "extras": {},
    }
    replay.append(np.array([lane]), Decision(**{**fields, **changes}))


def row_of(replay: Replay, number: int, lane: int = 0, size: int = 2000) -> Any:
    """Sample until decision ``number`` is met; return its row as a namespace of arrays."""
    batch = replay.sample(size, np.random.default_rng(0))
    matches = np.flatnonzero(
        (batch.decisions.observation[:, 0, 0] == lane)
        & (batch.decisions.observation[:, 0, 1] == number)
    )
    assert len(matches), f"decision {number} of lane {lane} was never sampled"
    return map_fields(lambda array: array[matches[0]], batch)


def assert_same(left: Batch[np.ndarray], right: Batch[np.ndarray]) -> None:
    map_fields(np.testing.assert_array_equal, left, right)


def test_targets_along_the_unroll_by_hand() -> None:
    replay = make()
    for number in range(10):
        put(replay, 0, number)
    row = row_of(replay, 2)
    assert row.decisions.action[:-1].tolist() == [2, 3, 4]
    assert row.targets.rewards.tolist() == [2.5, 3.5, 4.5]
    # z_2 = 2.5 + 0.5 * 3.5 + 0.25 * 400, and so on
    assert row.targets.values.tolist() == [104.25, 130.75, 157.25, 183.75]
    np.testing.assert_allclose(row.decisions.policy[1], [0, 0, 0, 0.75, 0.25, 0])
    assert (
        row.targets.reward_mask.all()
        and row.targets.value_mask.all()
        and row.targets.policy_mask.all()
    )
    assert row.weights == 1.0


def test_newest_decisions_bootstrap_with_the_furthest_value_there() -> None:
    replay = make()
    for number in range(10):
        put(replay, 0, number)
    row = row_of(replay, 8)  # 9 is the newest
    assert row.targets.values[:2].tolist() == [8.5 + 0.5 * 900, 900.0]
    assert (
        row.targets.value_mask.tolist()
        == row.targets.policy_mask.tolist()
        == [True, True, False, False]
    )
    assert row.targets.reward_mask.tolist() == [True, True, False]  # the reward of 9 is known
    assert not row.decisions.policy[2:].any() and not row.targets.values[2:].any()


def test_termination_is_absorbing_and_never_leads_into_the_next_episode() -> None:
    replay = make()
    for number in range(10):
        put(replay, 0, number, end=TERMINATED if number == 4 else 0)
    row = row_of(replay, 3)
    assert row.targets.values.tolist() == [3.5 + 0.5 * 4.5, 4.5, 0.0, 0.0]
    assert row.targets.rewards.tolist() == [3.5, 4.5, 0.0]
    assert row.targets.value_mask.all() and row.targets.reward_mask.all()
    assert row.targets.policy_mask.tolist() == [True, True, False, False]
    # The action after the end is drawn, not that of the next episode (5) each time.
    batch = replay.sample(4000, np.random.default_rng(1))
    drawn = batch.decisions.action[batch.decisions.observation[:, 0, 1] == 3, 2]
    assert set(drawn.tolist()) == set(range(ACTIONS))


def test_truncation_bootstraps_and_masks_the_rest() -> None:
    replay = make()
    for number in range(10):
        put(replay, 0, number, end=TRUNCATED if number == 4 else 0, final=40.0)
    row = row_of(replay, 3)
    assert row.targets.values[:2].tolist() == [3.5 + 0.5 * 4.5 + 0.25 * 40, 4.5 + 0.5 * 40]
    assert row.targets.value_mask.tolist() == [True, True, False, False]
    assert row.targets.reward_mask.tolist() == [True, True, False]


def test_rings_overwrite_the_oldest_and_stay_bounded() -> None:
    replay = make(capacity=20)  # ten a lane
    reserved = replay.nbytes
    for number in range(37):
        put(replay, 0, number)
    for number in range(3):
        put(replay, 1, number)
    assert replay.nbytes == reserved
    assert replay.num_decisions == 13
    batch = replay.sample(3000, np.random.default_rng(0))
    numbers = batch.decisions.observation[:, 0, 1].astype(int)
    lanes = batch.decisions.observation[:, 0, 0].astype(int)
    assert set(numbers[lanes == 0]) == set(range(27, 37))
    assert set(numbers[lanes == 1]) == {0, 1, 2}
    # Uniform over decisions: 10 of 13 lie in lane 0.
    assert np.mean(lanes == 0) == pytest.approx(10 / 13, abs=0.03)
    # Across the ring's seam the order holds.
    assert row_of(replay, 28).decisions.action[:-1].tolist() == [28 % 6, 29 % 6, 30 % 6]
    assert row_of(replay, 28).targets.rewards.tolist() == [28.5, 29.5, 30.5]


def test_memory_is_what_the_docstring_says() -> None:
    dense = make(capacity=200, num_lanes=2)
    assert dense.nbytes == 200 * (2 * 4 + 2 * ACTIONS + 21)
    masked = make(capacity=200, store_action_masks=True)
    assert masked.nbytes == dense.nbytes + 200
    prioritized = make(capacity=200, priority_alpha=1.0)
    assert prioritized.nbytes == dense.nbytes + 2 * 256 * 8


def test_many_lanes_in_one_append_match_one_by_one() -> None:
    rng = np.random.default_rng(0)
    together, apart = make(num_lanes=5, capacity=100), make(num_lanes=5, capacity=100)
    for _ in range(30):
        lanes = rng.permutation(5)[: rng.integers(1, 6)]
        rows = len(lanes)
        decisions = Decision(
            observation=rng.normal(size=(rows, 2)),
            action=rng.integers(0, ACTIONS, rows),
            reward=rng.normal(size=rows),
            policy=rng.dirichlet(np.ones(ACTIONS), rows),
            root_value=rng.normal(size=rows),
            duration=rng.integers(1, 9, rows),
            end=rng.integers(0, 4, rows),
            final_value=rng.normal(size=rows),
            action_mask=None,
            extras={},
        )
        together.append(lanes, decisions)
        for row in range(rows):
            one = slice(row, row + 1)
            apart.append(lanes[one], map_fields(lambda field, one=one: field[one], decisions))
    left = together.sample(64, np.random.default_rng(7))
    right = apart.sample(64, np.random.default_rng(7))
    assert_same(left, right)


def test_policy_rows_sum_to_one_in_spite_of_float16() -> None:
    replay = make(num_actions=487)
    policy = np.random.default_rng(0).dirichlet(np.ones(487), 1)
    for number in range(10):
        put(replay, 0, number, policy=policy)
    batch = replay.sample(20, np.random.default_rng(0))
    np.testing.assert_allclose(
        batch.decisions.policy[batch.targets.policy_mask].sum(-1), 1.0, rtol=1e-6
    )
    np.testing.assert_allclose(batch.decisions.policy[0, 0], policy[0], rtol=2e-3, atol=1e-6)


def test_action_masks_and_following_observations() -> None:
    replay = make(store_action_masks=True, unroll_observations=True)
    for number in range(10):
        mask = np.ones((1, ACTIONS), np.int8)
        mask[0, number % ACTIONS - 1] = 0
        put(replay, 0, number, action_mask=mask)
    row = row_of(replay, 4)
    assert row.decisions.action_mask[0].tolist() == [True, True, True, False, True, True]
    assert row.decisions.action_mask[2].tolist() == [True, True, True, True, True, False]
    assert row.decisions.observation[1:, 1].tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match="this replay keeps action_mask"):
        put(replay, 0, 10, action_mask=None)


def test_discount_per_environment_step() -> None:
    replay = make(discount_per_step=True)
    for number in range(10):
        put(replay, 0, number, duration=np.array([3]))
    row = row_of(replay, 2)
    shares = (1 + 0.5 + 0.25) / 3  # of a reward that is paid over three steps
    assert row.targets.rewards[0] == pytest.approx(2.5 * shares)
    assert row.targets.values[0] == pytest.approx(
        2.5 * shares + 0.5**3 * 3.5 * shares + 0.5**6 * 400
    )


@pytest.mark.parametrize("per_step", [False, True])
def test_discounts_of_the_edges_by_hand(per_step: bool) -> None:
    replay = make(discount_per_step=per_step, num_lanes=4, capacity=80)
    ends = {0: TERMINATED, 1: TRUNCATED, 2: CUT, 3: 0}
    for lane, end in ends.items():
        for number in range(10):
            length = np.array([1 + number])  # 6 steps at decision 5, and so on
            put(replay, lane, number, end=end if number == 5 else 0, duration=length)
    four, five, six = (0.5**5, 0.5**6, 0.5**7) if per_step else (0.5, 0.5, 0.5)
    after = 0.0  # another episode, which the masks leave out
    expected = {
        0: [four, 0.0, after],
        1: [four, five, after],
        2: [four, five, after],
        3: [four, five, six],
    }
    for lane, discounts in expected.items():
        row = row_of(replay, 4, lane)
        assert row.targets.discounts.dtype == np.float32
        assert row.targets.discounts.tolist() == discounts
        assert row.targets.policy_mask.tolist() == [True, True, lane == 3, lane == 3]
    # The newest decision, 9, is known to have gone on.
    newest = row_of(replay, 8, lane=3)
    assert (
        newest.targets.discounts.tolist() == [0.5**9, 0.5**10, 0.0] if per_step else [0.5, 0.5, 0.0]
    )
    assert newest.targets.policy_mask.tolist() == [True, True, False, False]


def test_without_unrolling_there_are_values_and_policies_alone() -> None:
    replay = make(unroll_steps=0)
    for number in range(10):
        put(replay, 0, number)
    row, unrolled = row_of(replay, 4), make()
    for number in range(10):
        put(unrolled, 0, number)
    assert (
        row.decisions.action[:-1].shape
        == row.targets.rewards.shape
        == row.targets.reward_mask.shape
        == (0,)
    )
    assert row.targets.discounts.shape == (0,)
    assert row.targets.values.tolist() == row_of(unrolled, 4).targets.values[:1].tolist()
    assert row.decisions.policy.shape == (1, ACTIONS) and row.targets.policy_mask.all()


def test_prioritised_sampling_follows_the_priorities() -> None:
    replay = make(priority_alpha=0.5, priority_beta=1.0)
    for number in range(10):
        put(replay, 0, number)
    batch = replay.sample(2000, np.random.default_rng(0))
    np.testing.assert_allclose(batch.weights, 1.0)  # all new: equal
    numbers = batch.decisions.observation[:, 0, 1].astype(int)
    # Priority 16 for decision 7, 4 for 3, 0 for the rest: chances 4 to 2, and a trace.
    priority = np.where(numbers == 7, 16.0, np.where(numbers == 3, 4.0, 0.0))
    replay.update_priorities(batch.indices, priority)
    batch = replay.sample(6000, np.random.default_rng(1))
    numbers = batch.decisions.observation[:, 0, 1].astype(int)
    assert np.mean(numbers == 7) == pytest.approx(4 / 6, abs=0.02)
    assert np.mean(numbers == 3) == pytest.approx(2 / 6, abs=0.02)
    # Importance weights with beta 1 undo it: half the chance, twice the weight.
    ratio = batch.weights[numbers == 3][0] / batch.weights[numbers == 7][0]
    assert ratio == pytest.approx(2.0, rel=1e-4)
    assert batch.weights.max() == 1.0
    # A newcomer gets the highest priority so far.
    put(replay, 1, 0)
    batch = replay.sample(6000, np.random.default_rng(2))
    assert np.mean(batch.decisions.observation[:, 0, 0] == 1) == pytest.approx(0.4, abs=0.02)


def test_priorities_of_overwritten_decisions_are_skipped() -> None:
    replay = make(priority_alpha=1.0, capacity=20)
    for number in range(10):
        put(replay, 0, number)
    old = replay.sample(50, np.random.default_rng(0))
    for number in range(10, 20):
        put(replay, 0, number)
    replay.update_priorities(old.indices, np.full(50, 1e6))
    batch = replay.sample(500, np.random.default_rng(0))
    assert len(set(batch.decisions.observation[:, 0, 1])) == 10
    with pytest.raises(ValueError, match="finite"):
        replay.update_priorities(old.indices, np.full(50, np.nan))


@pytest.mark.parametrize("options", [{}, {"store_action_masks": True, "priority_alpha": 1.0}])
@pytest.mark.parametrize("decisions", [3, 33])
def test_state_survives_a_weights_only_file(options: dict, decisions: int) -> None:
    replay, restored = make(**options), make(**options)
    for number in range(decisions):
        put(replay, 0, number, end=TERMINATED if number % 7 == 6 else 0)
    batch = replay.sample(9, np.random.default_rng(0))
    replay.update_priorities(batch.indices, np.arange(9.0))
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    if decisions == 3:  # a young replay writes a small file
        assert len(file.getvalue()) < 8000
    file.seek(0)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for one in (replay, restored):
        put(one, 0, decisions)
    assert_same(*(one.sample(64, np.random.default_rng(5)) for one in (replay, restored)))
    with pytest.raises(ValueError, match="lane_capacity=20.*lane_capacity=30"):
        make(capacity=60, **options).load_state_dict(replay.state_dict())


def test_same_generator_same_batch() -> None:
    replay = make()
    for number in range(10):
        put(replay, 0, number, end=CUT if number == 5 else 0)
    assert_same(*(replay.sample(32, np.random.default_rng(3)) for _ in range(2)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": np.array([np.nan])}, "reward of lane 1 is not finite"),
        ({"observation": np.array([[0.0, np.inf]])}, "observation of lane 1 is not finite"),
        ({"action": np.array([ACTIONS])}, "actions must be 0 to 5"),
        ({"end": 4}, "end must be one of"),
        ({"policy": np.zeros((1, ACTIONS))}, "sums to 0"),
        ({"policy": np.ones((1, 3))}, r"policy has shape \(1, 3\), expected \(1, 6\)"),
    ],
)
def test_bad_decisions_are_refused_whole(changes: dict, message: str) -> None:
    replay = make()
    with pytest.raises(ValueError, match=message):
        put(replay, 1, 0, **changes)
    assert replay.num_decisions == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_lanes": 0}, "num_lanes"),
        ({"capacity": 11}, "need at least 12"),
        ({"td_steps": 0}, "td_steps"),
        ({"discount": 1.1}, "discount"),
        ({"priority_alpha": -1.0}, "priority_alpha"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_lanes_out_of_range_or_named_twice_and_empty_replays_are_refused() -> None:
    replay = make()
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="lanes must be 0 to 1"):
        put(replay, 2, 0)
    with pytest.raises(ValueError, match="one decision an append"):
        replay.append(np.array([1, 1]), empty_decisions(replay.fields, (2,)))


def test_sum_tree_draws_by_weight() -> None:
    tree = SumTree(5)
    tree.set(np.array([0, 1, 4, 1]), np.array([1.0, 9.0, 2.0, 3.0]))  # of leaf 1 the last: 3
    assert tree.total == 6.0 and tree.leaves.tolist() == [1, 3, 0, 0, 2]
    shares = np.array([0.0, 0.16, 0.17, 0.66, 0.67, 0.999999])
    assert tree.draw(shares).tolist() == [0, 0, 1, 1, 4, 4]
    tree.set(np.array([0, 4]), 0.0)
    assert set(tree.draw(np.linspace(0.0, 1.0, 50))) == {1}


def test_extra_fields_come_back_with_their_decisions() -> None:
    """As they were declared, at every position, and through a checkpoint."""
    extras = {"cost": Field((3, 2), np.float16), "seen": Field((5,), np.bool_)}
    replay, saved = make(extras=extras), make(extras=extras)
    assert replay.nbytes - make().nbytes == 40 * (3 * 2 * 2 + 1)

    def cost(number: int) -> np.ndarray:
        return np.array([[number, 0.5], [np.inf, -1.0], [0.25, number + 0.5]], np.float16)

    for number in range(8):
        seen = np.arange(5) < number
        put(replay, 0, number, extras={"cost": cost(number)[None], "seen": seen[None]})
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    saved.load_state_dict(torch.load(file, weights_only=True))
    assert_same(*(one.sample(50, np.random.default_rng(0)) for one in (replay, saved)))
    row = row_of(saved, 2).decisions
    assert row.extras["cost"].dtype == np.float16 and row.extras["seen"].dtype == bool
    np.testing.assert_array_equal(row.extras["cost"], [cost(number) for number in range(2, 6)])
    assert row.extras["seen"].sum(axis=1).tolist() == [2, 3, 4, 5]
    with pytest.raises(ValueError, match="cost"):
        make().load_state_dict(replay.state_dict())
    with pytest.raises(ValueError, match="this replay keeps cost, which the decisions do not have"):
        put(replay, 0, 8)
    with pytest.raises(ValueError, match="decisions have a field 'reward' already"):
        make(extras={"reward": Field((), np.float32)})
