"""n-step values against sums written out by hand, and against the formula in plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from agents.muzero.targets import (
    CONTINUING,
    CUT,
    TERMINATED,
    TRUNCATED,
    edge_discounts,
    n_step_values,
    spread_rewards,
    unroll_masks,
)

REWARDS = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
VALUES = np.array([[10.0, 20.0, 30.0, 40.0, 50.0]])
FINAL = np.array([[0.0, 0.0, 100.0, 0.0, 0.0]])


def values(ends: list[int], durations: list[int] | None = None) -> list[float]:
    """The first three positions with td_steps 2 and gamma 0.5."""
    result = n_step_values(
        REWARDS,
        VALUES,
        np.array([ends]),
        FINAL,
        discount=0.5,
        td_steps=2,
        num_positions=3,
        durations=None if durations is None else np.array([durations]),
    )
    assert result.dtype == np.float32
    return result[0].tolist()


def test_long_episode_bootstraps_after_td_steps() -> None:
    assert values([0, 0, 0, 0, 0]) == [
        1 + 0.5 * 2 + 0.25 * 30,
        2 + 0.5 * 3 + 0.25 * 40,
        3 + 0.5 * 4 + 0.25 * 50,
    ]


def test_termination_keeps_its_reward_and_does_not_bootstrap() -> None:
    assert values([0, 0, TERMINATED, 0, 0]) == [
        1 + 0.5 * 2 + 0.25 * 30,  # the end lies at T - t = 3 > td_steps
        2 + 0.5 * 3,
        3,
    ]


def test_an_edge_discounts_what_follows_unless_nothing_does() -> None:
    ends = np.array([[CONTINUING, TERMINATED, TRUNCATED, CUT, CONTINUING]])
    discounts = edge_discounts(ends, discount=0.5, num_steps=4)
    assert discounts.dtype == np.float32
    assert discounts.tolist() == [[0.5, 0.0, 0.5, 0.5]]
    durations = np.array([[3, 2, 1, 2, 9]])
    discounts = edge_discounts(ends, discount=0.5, num_steps=4, durations=durations)
    assert discounts.tolist() == [[0.5**3, 0.0, 0.5, 0.25]]
    assert edge_discounts(ends, discount=0.5, num_steps=0).shape == (1, 0)


def test_truncation_bootstraps_with_the_final_value() -> None:
    assert values([0, 0, TRUNCATED, 0, 0]) == [
        1 + 0.5 * 2 + 0.25 * 30,
        2 + 0.5 * 3 + 0.25 * 100,
        3 + 0.5 * 100,
    ]


def test_cut_bootstraps_with_the_last_root_value() -> None:
    assert values([0, 0, CUT, 0, 0]) == [1 + 0.5 * 2 + 0.25 * 30, 2 + 0.5 * 30, 30]


def test_discount_per_environment_step() -> None:
    # The first decision took 3 steps, the second 2: what follows them is that much further away.
    assert values([0, 0, 0, 0, 0], durations=[3, 2, 1, 1, 1]) == [
        1 + 0.5**3 * 2 + 0.5**5 * 30,
        2 + 0.5**2 * 3 + 0.5**3 * 40,
        3 + 0.5 * 4 + 0.25 * 50,
    ]
    assert values([0, 0, TRUNCATED, 0, 0], durations=[1, 1, 4, 1, 1])[2] == 3 + 0.5**4 * 100


def test_rewards_are_spread_over_their_steps() -> None:
    rewards, durations = np.array([6.0, 6.0, -2.0]), np.array([1, 3, 2])
    spread = spread_rewards(rewards, durations, 0.5)
    assert spread.tolist() == [6, 2 + 1 + 0.5, -1 - 0.5]
    assert spread_rewards(rewards, durations, 1.0).tolist() == rewards.tolist()


def test_specification_constants() -> None:
    """gamma 0.9, td_steps 7: seven rewards and the value of the eighth decision."""
    rewards, roots = np.full((1, 8), 2.0), np.full((1, 8), 3.0)
    zeros = np.zeros((1, 8))
    result = n_step_values(rewards, roots, zeros, zeros, discount=0.9, td_steps=7, num_positions=1)
    expected = 2.0 * sum(0.9**i for i in range(7)) + 0.9**7 * 3.0
    assert result[0, 0] == pytest.approx(expected)


def plain_loop(rewards, roots, ends, finals, durations, gamma, td_steps, start) -> float:
    total, weight = 0.0, 1.0
    for t in range(start, start + td_steps):
        if ends[t] == CUT:
            return total + weight * roots[t]
        total += weight * rewards[t]
        weight *= gamma ** durations[t]
        if ends[t] == TERMINATED:
            return total
        if ends[t] == TRUNCATED:
            return total + weight * finals[t]
    return total + weight * roots[start + td_steps]


def test_random_windows_match_plain_loops() -> None:
    rng = np.random.default_rng(3)
    shape = (200, 13)
    rewards, roots, finals = rng.normal(size=(3, *shape))
    ends = rng.choice([0, 1, 2, 3], size=shape, p=[0.7, 0.1, 0.1, 0.1])
    durations = rng.integers(1, 6, shape)
    result = n_step_values(
        rewards, roots, ends, finals, discount=0.9, td_steps=7, num_positions=6,
        durations=durations,
    )  # fmt: skip
    for row in range(shape[0]):
        for start in range(6):
            expected = plain_loop(
                rewards[row], roots[row], ends[row], finals[row], durations[row], 0.9, 7, start
            )
            assert result[row, start] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_wrong_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        n_step_values(REWARDS, VALUES, FINAL, FINAL, discount=0.9, td_steps=3, num_positions=3)
    with pytest.raises(ValueError, match="td_steps"):
        n_step_values(REWARDS, VALUES, FINAL, FINAL, discount=0.9, td_steps=0, num_positions=3)


def test_unroll_masks_after_each_kind_of_end() -> None:
    ends = np.array(
        [
            [CONTINUING, CONTINUING, CONTINUING],
            [CONTINUING, TERMINATED, CONTINUING],
            [TRUNCATED, TERMINATED, CONTINUING],  # the second end is of another episode
            [CONTINUING, CUT, TERMINATED],
        ]
    )
    masks = unroll_masks(ends, 4)
    assert masks.real.astype(int).tolist() == [
        [1, 1, 1, 1],
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 0, 0],
    ]
    assert masks.absorbing.astype(int).tolist() == [
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
