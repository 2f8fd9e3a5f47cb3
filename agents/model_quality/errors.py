"""Errors of predicted rewards and values by depth of the unroll; pure functions.

N decisions stand in the order they were made, episode after episode; ``ends [N]`` says what came
after each, as in ``targets``, and the last one ends its episode.

Shape letters: N decisions, K unrolled steps, M numbers compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agents.muzero.targets import CONTINUING, CUT, TERMINATED, spread_rewards, unroll_masks


class Returns(NamedTuple):
    """What was really earned from each decision on."""

    value: np.ndarray  # [N] float64, discounted
    unseen: np.ndarray  # [N] float64, weight in it of the bootstrap, 0 where all was seen


class Windows(NamedTuple):
    """Each decision and the K positions after it."""

    index: np.ndarray  # [N, K+1] int64, the decision at each position where real
    real: np.ndarray  # [N, K+1] bool, a decision of the same episode
    absorbing: np.ndarray  # [N, K+1] bool, after its termination: reward and value are 0 for ever


class Errors(NamedTuple):
    """How far M predictions are from what was observed; NaN where there is nothing to say."""

    count: int  # M
    observed: float  # mean of what was observed
    mae: float  # mean absolute error
    baseline_mae: float  # of always predicting the observed mean
    bias: float  # mean of predicted - observed
    correlation: float  # Pearson's; NaN where either side does not vary
    r_squared: float  # 1 - squared error / that of the observed mean; below 0: worse than the mean


def observed_returns(
    rewards: np.ndarray,
    ends: np.ndarray,
    final_values: np.ndarray,
    *,
    discount: float,
    durations: np.ndarray | None = None,
) -> Returns:
    """Return the discounted return from each decision to the end of its episode.

    The learner's target (``targets.n_step_values``) with n beyond the end: nothing follows a
    termination; a truncated episode would have gone on, so the value of its final observation
    stands for the rest. Its weight is told apart, since it is a prediction itself.

    Args:
        rewards: ``[N]``, of each decision, all of its environment steps.
        ends: ``[N]``, one of ``targets.END_CODES``, none of them ``CUT``.
        final_values: ``[N]``, value of the final observation where truncated.
        discount: gamma, per decision; with ``durations``, per environment step.
        durations: ``[N]``, environment steps of each decision, whose reward is then spread over
            them (``targets.spread_rewards``); None to discount each decision alike.

    Raises:
        ValueError: the last decision does not end its episode, or one was cut.
    """
    if len(ends) and ends[-1] == CONTINUING or (ends == CUT).any():
        raise ValueError("returns need whole episodes: the last decision of each must end it")
    discounts = np.full(len(ends), discount)
    if durations is not None:
        discounts = np.power(discount, durations, dtype=np.float64)
        rewards = spread_rewards(rewards, durations, discount)
    value, unseen = np.zeros(len(ends)), np.zeros(len(ends))
    for index in reversed(range(len(ends))):
        value[index] = rewards[index]
        if ends[index] == TERMINATED:
            continue
        going_on = ends[index] == CONTINUING
        rest = value[index + 1] if going_on else final_values[index]
        value[index] += discounts[index] * rest
        unseen[index] = discounts[index] * (unseen[index + 1] if going_on else 1.0)
    return Returns(value, unseen)


def look_along(ends: np.ndarray, depth: int) -> Windows:
    """Return where each decision's unroll of ``depth`` steps comes to.

    Args:
        ends: ``[N]``, one of ``targets.END_CODES``.
        depth: K.
    """
    index = np.arange(len(ends))[:, None] + np.arange(depth + 1)
    index = np.minimum(index, len(ends) - 1)
    masks = unroll_masks(ends[index], depth + 1)
    return Windows(index, masks.real, masks.absorbing)


def prediction_errors(predicted: np.ndarray, observed: np.ndarray) -> Errors:
    """Compare M predictions with what was observed.

    Args:
        predicted: ``[M]``.
        observed: ``[M]``.
    """
    nan = float("nan")
    if not len(observed):
        return Errors(0, nan, nan, nan, nan, nan, nan)
    predicted, observed = predicted.astype(np.float64), observed.astype(np.float64)
    error, spread = predicted - observed, observed - observed.mean()
    varying = bool(np.ptp(observed) > 0)
    correlation = nan
    if varying and np.ptp(predicted) > 0:
        correlation = float(np.corrcoef(predicted, observed)[0, 1])
    return Errors(
        count=len(observed),
        observed=float(observed.mean()),
        mae=float(np.abs(error).mean()),
        baseline_mae=float(np.abs(spread).mean()),
        bias=float(error.mean()),
        correlation=correlation,
        r_squared=1.0 - float((error**2).sum() / (spread**2).sum()) if varying else nan,
    )


def errors_by_depth(
    predicted: np.ndarray, observed: np.ndarray, mask: np.ndarray
) -> tuple[Errors, ...]:
    """Return the errors at each of P positions of the unroll.

    Args:
        predicted: ``[N, P]``.
        observed: ``[N, P]``.
        mask: ``[N, P]`` bool, what is compared.
    """
    return tuple(
        prediction_errors(predicted[rows, position], observed[rows, position])
        for position, rows in enumerate(mask.T)
    )
