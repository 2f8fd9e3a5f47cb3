"""Rank correlation between an action's score and the simulator's look-ahead; pure functions.

``rho [N, A]`` is the highest line loading that the look-ahead gives each action at N decisions: NaN
where an action is no candidate, inf where it would end the game. At least one action of each
decision is a candidate.

Shape letters: N decisions, A actions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata


class Choices(NamedTuple):
    """What choices come to on the forecast; NaN where there is nothing to say."""

    safe: float  # share of decisions in which rho is below the gate, where some action's is
    ends_game: float  # share in which the game would end, where some action would not end it
    regret: float  # mean rho above the least there is, where the choice would not end the game
    safe_count: int  # decisions in which some action is safe
    survivable_count: int  # decisions in which some action would not end the game


class MedianEstimate(NamedTuple):
    """A median over states and how sure it is; NaN where there are none."""

    median: float
    low: float  # of the 95 % bootstrap interval
    high: float
    count: int  # states in it


def median_estimate(
    samples: np.ndarray, episodes: np.ndarray, *, resamples: int = 2000
) -> MedianEstimate:
    """Return the median of ``[N]`` values, NaN left out, and its 95 % bootstrap interval.

    States of one episode are alike, so whole episodes are drawn (percentile method).

    Args:
        samples: of N states.
        episodes: ``[N]`` int, that the states are of.
        resamples: drawn with replacement.
    """
    known = ~np.isnan(samples)
    samples, episodes = samples[known], episodes[known]
    if not len(samples):
        nan = float("nan")
        return MedianEstimate(nan, nan, nan, 0)
    parts = [samples[episodes == one] for one in np.unique(episodes)]
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(parts), size=(resamples, len(parts)))
    medians = [np.median(np.concatenate([parts[place] for place in row])) for row in drawn]
    low, high = np.percentile(medians, [2.5, 97.5])
    return MedianEstimate(float(np.median(samples)), float(low), float(high), len(samples))


def rank_correlations(scores: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Return ``[N]`` Spearman rank correlations of scores with low loadings.

    1: the highest score has the least loading, and so on; equal ones share their mean rank, and so
    do all actions that would end the game, below the others. NaN where all scores or all loadings
    are equal.

    Args:
        scores: ``[N, A]``, higher is better; finite for candidates.
        rho: ``[N, A]``, see the module.
    """
    correlations = np.full(len(rho), np.nan)
    for row, loadings in enumerate(rho):
        candidates = ~np.isnan(loadings)
        ranks = rankdata(scores[row, candidates]), rankdata(-loadings[candidates])
        if all(np.ptp(one) > 0 for one in ranks):
            correlations[row] = np.corrcoef(*ranks)[0, 1]
    return correlations


def best_actions(scores: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Return ``[N]`` int64, the candidate with the highest score, the first of equal ones.

    Args:
        scores: ``[N, A]``.
        rho: ``[N, A]``, see the module.
    """
    return np.where(np.isnan(rho), -np.inf, scores).argmax(axis=1)


def hits_best(scores: np.ndarray, rho: np.ndarray, *, count: int = 5) -> np.ndarray:
    """Return ``[N]`` bool: an action of least loading is among the ``count`` highest scores.

    Args:
        scores: ``[N, A]``; of equal ones the first are taken.
        rho: ``[N, A]``, see the module.
        count: of the scores.
    """
    candidates = ~np.isnan(rho)
    order = np.where(candidates, -scores, np.inf).argsort(axis=1, kind="stable")[:, :count]
    least = rho.min(axis=1, where=candidates, initial=np.inf, keepdims=True)
    return (np.take_along_axis(rho, order, axis=1) == least).any(axis=1)


def judge_choices(chosen: np.ndarray, rho: np.ndarray, *, gate: float) -> Choices:
    """Return what one action a decision comes to.

    Args:
        chosen: ``[N]`` int, each a candidate.
        rho: ``[N, A]``, see the module.
        gate: rho below which an action is safe.

    Raises:
        ValueError: a chosen action is no candidate.
    """
    policy = np.zeros(rho.shape)
    policy[np.arange(len(rho)), chosen] = 1.0
    if np.isnan(rho[policy > 0.0]).any():
        raise ValueError("a chosen action was not looked ahead at")
    return _judge(policy, rho, gate)


def judge_random(rho: np.ndarray, *, gate: float) -> Choices:
    """Return what a uniform draw of the candidates comes to, in expectation.

    Args:
        rho: ``[N, A]``, see the module.
        gate: rho below which an action is safe.
    """
    candidates = ~np.isnan(rho)
    return _judge(candidates / candidates.sum(axis=1, keepdims=True), rho, gate)


def _judge(policy: np.ndarray, rho: np.ndarray, gate: float) -> Choices:
    """Return what drawing from ``policy [N, A]`` comes to, in expectation."""
    safe, survives = rho < gate, np.isfinite(rho)  # False where NaN
    some_safe, some_survive = safe.any(axis=1), survives.any(axis=1)
    least = rho.min(axis=1, where=survives, initial=np.inf, keepdims=True)
    above = np.subtract(rho, least, out=np.zeros(rho.shape), where=survives)
    surviving = (policy * survives).sum()
    return Choices(
        safe=mean((policy * safe).sum(axis=1)[some_safe]),
        ends_game=mean((policy * np.isinf(rho)).sum(axis=1)[some_survive]),
        regret=float((policy * above).sum() / surviving) if surviving else float("nan"),
        safe_count=int(some_safe.sum()),
        survivable_count=int(some_survive.sum()),
    )


def mean(values: np.ndarray) -> float:
    """Return the mean of ``[n]`` values, NaN of none."""
    return float(values.mean()) if len(values) else float("nan")
