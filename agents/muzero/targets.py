"""Computes the learner's targets from windows of consecutive decisions; pure functions.

A window row holds L decisions of one environment in order; episodes may end inside it, and the
next one follows at once. ``ends`` says what came after each decision.

Shape letters: B windows, L decisions in a window, P positions wanted (unroll steps + 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CONTINUING = 0  # the next decision of the window is of the same episode
TERMINATED = 1  # the episode is over for good (a blackout): nothing follows, value 0
TRUNCATED = 2  # the episode was stopped (end of the scenario, time limit): it had a value
CUT = 3  # what followed was lost or is not there yet: a replaced worker, the newest decision
END_CODES = (CONTINUING, TERMINATED, TRUNCATED, CUT)


class UnrollMasks(NamedTuple):
    """Which of P positions along a window are part of its first decision's episode."""

    real: np.ndarray  # [B, P] bool, a decision of the episode: value and policy are known
    absorbing: np.ndarray  # [B, P] bool, after its termination: value and reward are 0 for ever


def n_step_values(
    rewards: np.ndarray,
    root_values: np.ndarray,
    ends: np.ndarray,
    final_values: np.ndarray,
    *,
    discount: float,
    td_steps: int,
    num_positions: int,
    durations: np.ndarray | None = None,
) -> np.ndarray:
    """Return the n-step value target ``[B, P]`` float32 of the first P decisions of each window.

    z_t = sum_{i < n} gamma^i r_{t+i} + gamma^n V_{t+n} with n = min(td_steps, T - t), where T is
    the end of the episode (the specification; MuZero equation 2):

    * n = td_steps: bootstraps with the search's value of that decision.
    * terminated before: no bootstrap, since nothing follows. The terminal reward counts.
    * truncated before: bootstraps with the value of the final observation.
    * cut before: bootstraps with the search's value of the last decision, whose reward is left
      out, since what it led to is unknown.

    Args:
        rewards: ``[B, L]``, reward of each decision, worth so much at its start.
        root_values: ``[B, L]``, the search's value before each decision.
        ends: ``[B, L]``, one of ``END_CODES``.
        final_values: ``[B, L]``, value of the final observation where truncated.
        discount: gamma, per decision; with ``durations``, per environment step.
        td_steps: n where the episode is long enough, at least 1.
        num_positions: P; the window must hold ``P + td_steps`` decisions. Where it holds fewer,
            mark its last one as ``CUT`` and fill up.
        durations: ``[B, L]``, environment steps that each decision took, or None to discount
            each decision alike.

    Raises:
        ValueError: ``td_steps`` is below 1, or the window is too short.
    """
    if td_steps < 1:
        raise ValueError(f"td_steps must be at least 1: {td_steps}")
    if rewards.shape[1] < num_positions + td_steps:
        raise ValueError(
            f"a window of {rewards.shape[1]} decisions is too short: {num_positions} positions "
            f"with td_steps={td_steps} need {num_positions + td_steps}"
        )
    discounts = _discounts(ends, discount, durations)
    # Per decision: what it adds if reached, and the factor on what follows it (0 at an end).
    added = np.where(ends == CUT, root_values, rewards).astype(np.float64)
    added += np.where(ends == TRUNCATED, discounts * final_values, 0.0)
    factors = np.where(ends == CONTINUING, discounts, 0.0)
    values = np.zeros((rewards.shape[0], num_positions))
    weight = np.ones_like(values)
    for step in range(td_steps):
        window = slice(step, step + num_positions)
        values += weight * added[:, window]
        weight *= factors[:, window]
    values += weight * root_values[:, td_steps : td_steps + num_positions]
    return values.astype(np.float32)


def edge_discounts(
    ends: np.ndarray,
    *,
    discount: float,
    num_steps: int,
    durations: np.ndarray | None = None,
) -> np.ndarray:
    """Return ``[B, K]`` float32: what follows the first K decisions counts so much at their start.

    gamma, or gamma^d of a decision of d environment steps; 0 where the episode terminated, since
    nothing follows. A truncated or cut episode would have gone on (Oh et al. 2017, "Value
    prediction network", https://arxiv.org/abs/1707.03497).

    Args:
        ends: ``[B, L]`` with L at least K, one of ``END_CODES``.
        discount: gamma, per decision; with ``durations``, per environment step.
        num_steps: K.
        durations: ``[B, L]``, environment steps that each decision took, or None.
    """
    discounts = _discounts(ends, discount, durations)[:, :num_steps]
    return np.where(ends[:, :num_steps] == TERMINATED, 0.0, discounts).astype(np.float32)


def _discounts(ends: np.ndarray, discount: float, durations: np.ndarray | None) -> np.ndarray:
    """Return the discount ``[B, L]`` float64 of each decision of ``ends``, wherever it led."""
    if durations is None:
        return np.full(ends.shape, discount)
    return np.power(discount, durations, dtype=np.float64)


def spread_rewards(rewards: np.ndarray, durations: np.ndarray, discount: float) -> np.ndarray:
    """Return what the rewards of decisions are worth at their start, as float32.

    The reward of a decision of d environment steps is their sum. It counts as paid in d equal
    parts, each discounted by the steps before it: r / d (1 + gamma + ... + gamma^(d-1)).

    Args:
        rewards: ``[...]``.
        durations: ``[...]``, environment steps, at least 1.
        discount: gamma, per environment step.
    """
    if discount == 1.0:
        return rewards.astype(np.float32)
    powers = np.power(discount, durations, dtype=np.float64)
    return (rewards * (1.0 - powers) / ((1.0 - discount) * durations)).astype(np.float32)


def unroll_masks(ends: np.ndarray, num_positions: int) -> UnrollMasks:
    """Say which of the first P positions belong to the window's first episode.

    After a termination the positions are absorbing (MuZero's pseudocode): reward 0 and value 0
    are trained, the policy is not. After a truncation or a cut nothing is trained.

    Args:
        ends: ``[B, L]`` with L at least P - 1, one of ``END_CODES``.
        num_positions: P.
    """
    state = np.zeros((ends.shape[0], num_positions), dtype=np.uint8)  # the first end before
    for position in range(1, num_positions):
        before = state[:, position - 1]
        state[:, position] = np.where(before == CONTINUING, ends[:, position - 1], before)
    return UnrollMasks(real=state == CONTINUING, absorbing=state == TERMINATED)
