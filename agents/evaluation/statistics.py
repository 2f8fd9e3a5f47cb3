"""Metrics of episode records, with bootstrap intervals over scenarios.

Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987), calls the interval used here the
percentile interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from agents.evaluation.records import EpisodeRecord, EvaluationResult

RESAMPLES = 10_000  # drawn with replacement
CONFIDENCE = 0.95
_SEED = 0  # of the resampling: the same figures always get the same interval


class Estimate(NamedTuple):
    """A mean over episodes and how sure it is."""

    mean: float
    low: float  # of the 95 % bootstrap interval
    high: float


class Metric(NamedTuple):
    """A figure of an episode, of which tables show the mean."""

    name: str  # in files and logs
    heading: str  # in tables; {reward} stands for the protocol's
    digits: int  # after the point
    of: Callable[[EpisodeRecord], float | None]  # None where the episode has none


def _steps_percent(episode: EpisodeRecord) -> float | None:
    return None if episode.max_steps is None else 100.0 * episode.steps / episode.max_steps


METRICS: tuple[Metric, ...] = (
    Metric("steps_percent", "steps %", 1, _steps_percent),
    Metric("completed_percent", "completed %", 1, lambda episode: 100.0 * episode.completed),
    Metric("reward", "{reward} reward", 1, lambda episode: episode.reward),
    Metric("episode_steps", "steps", 1, lambda episode: episode.steps),
    Metric("decisions", "decisions", 1, lambda episode: episode.decisions),
    Metric("actions", "actions", 1, lambda episode: len(episode.actions)),
    Metric("mean_distance", "distance", 2, lambda episode: episode.mean_distance),
    Metric("final_distance", "final distance", 2, lambda episode: episode.final_distance),
    Metric("attacks", "attacks", 1, lambda episode: episode.attacks),
    Metric("attacks_survived", "attacks survived", 1, lambda episode: episode.attacks_survived),
    Metric("simulator_calls", "simulated", 0, lambda episode: episode.simulator_calls),
    Metric("illegal_actions", "illegal", 2, lambda episode: episode.illegal_actions),
    Metric("agent_errors", "errors", 2, lambda episode: float(episode.agent_error is not None)),
)
METRIC = {metric.name: metric for metric in METRICS}


def values(episodes: Sequence[EpisodeRecord], metric: Metric) -> np.ndarray | None:
    """Return ``[N]`` float64, a metric of N episodes; None unless all of them have it."""
    found = [metric.of(episode) for episode in episodes]
    if any(value is None for value in found):
        return None
    return np.array(found, dtype=np.float64)


def mean(episodes: Sequence[EpisodeRecord], name: str) -> float | None:
    """Return the mean of the metric called ``name``; None unless all episodes have it."""
    found = values(episodes, METRIC[name])
    return None if found is None else float(found.mean())


def estimate(samples: np.ndarray) -> Estimate:
    """Return the mean of ``[N]`` values and its 95 % bootstrap interval (percentile method).

    The same N gets the same resamples, so intervals of two metrics, or of paired differences, are
    of the same scenarios drawn.

    Args:
        samples: of N scenarios.
    """
    count = len(samples)
    rng = np.random.default_rng(_SEED)
    means = np.empty(RESAMPLES)
    batch = max(1, 1_000_000 // count)  # bounds the memory
    for start in range(0, RESAMPLES, batch):
        drawn = rng.integers(count, size=(min(batch, RESAMPLES - start), count))
        means[start : start + len(drawn)] = samples[drawn].mean(axis=1)
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return Estimate(float(samples.mean()), float(low), float(high))


def summarize(result: EvaluationResult) -> dict[str, Estimate]:
    """Return metric name -> mean over all episodes and its interval, of the metrics there are."""
    found = ((metric.name, values(result.episodes, metric)) for metric in METRICS)
    return {name: estimate(samples) for name, samples in found if samples is not None}


def score(episodes: Sequence[EpisodeRecord]) -> float:
    """Return what training should raise.

    It is the share of steps survived plus a hundredth of the share completed where episodes are
    of scenarios, and the mean return elsewhere.
    """
    steps = mean(episodes, "steps_percent")
    if steps is None or not any(episode.scenario for episode in episodes):
        return float(np.mean([episode.reward for episode in episodes]))
    return steps / 100.0 + float(np.mean([episode.completed for episode in episodes])) / 100.0


def log_metrics(episodes: Sequence[EpisodeRecord]) -> dict[str, float]:
    """Return the means to log, without intervals: what an evaluation during training tells."""
    means = {metric.name: mean(episodes, metric.name) for metric in METRICS}
    decisions = sum(episode.decisions for episode in episodes)
    seconds = sum(episode.seconds for episode in episodes)
    return {
        **{name: value for name, value in means.items() if value is not None},
        "ms_per_decision": 1e3 * seconds / decisions if decisions else 0.0,
        "score": score(episodes),
    }
