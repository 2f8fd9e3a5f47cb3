"""Calibration of predicted probabilities: reliability bins, Brier score, calibration error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Episodes seldom end, so most predictions lie near 0: narrow bins there.
END_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
DISCOUNT_EDGES = tuple(step / 10 for step in range(11))


class Bin(NamedTuple):
    """Predictions of about the same size; means are NaN where there are none."""

    low: float  # predictions from here
    high: float  # to below here; the last bin holds its edge
    count: int
    predicted: float  # their mean
    observed: float  # mean of what was then observed


class Calibration(NamedTuple):
    """How far predictions in [0, 1] are from what was observed; NaN where there are none."""

    count: int
    predicted: float  # mean
    observed: float  # mean: of events, their frequency
    brier: float  # mean squared error (Brier 1950)
    baseline_brier: float  # of always predicting the observed mean
    calibration_error: float  # expected (ECE): of bins' mean predictions, weighted by count
    bins: tuple[Bin, ...]


def end_probability(discounts: np.ndarray, discount: float) -> np.ndarray:
    """Return the predicted probability that a decision ends the episode for good.

    The learner's target of a predicted discount d is gamma where the episode goes on and 0 where
    it terminates, so d = gamma (1 - p) and p = 1 - d / gamma; 0 where d is above gamma. This holds
    where each decision discounts alike: with a discount per step the target varies with the
    decision's duration, and the discounts themselves are to be compared.

    Args:
        discounts: predicted, any shape.
        discount: gamma, per decision.
    """
    return np.clip(1.0 - np.asarray(discounts, np.float64) / discount, 0.0, 1.0)


def calibrate(
    predicted: np.ndarray, observed: np.ndarray, edges: tuple[float, ...] = DISCOUNT_EDGES
) -> Calibration:
    """Compare predictions with what was observed, in bins of the prediction.

    Guo et al. 2017, "On calibration of modern neural networks"
    (https://arxiv.org/abs/1706.04599), section 2.

    Args:
        predicted: ``[M]`` in [0, 1].
        observed: ``[M]`` in [0, 1]: 1 where the event came true, or the number predicted.
        edges: of the bins, rising from 0 to 1.

    Raises:
        ValueError: a prediction is not in [0, 1].
    """
    nan = float("nan")
    predicted, observed = np.asarray(predicted, np.float64), np.asarray(observed, np.float64)
    if not ((predicted >= 0.0) & (predicted <= 1.0)).all():
        raise ValueError("predictions must be 0 to 1")
    place = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, len(edges) - 2)
    bins = []
    for number, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        inside = place == number
        means = (
            (float(predicted[inside].mean()), float(observed[inside].mean()))
            if inside.any()
            else (nan, nan)
        )
        bins.append(Bin(low, high, int(inside.sum()), *means))
    if not len(observed):
        return Calibration(0, nan, nan, nan, nan, nan, tuple(bins))
    gaps = [one.count * abs(one.predicted - one.observed) for one in bins if one.count]
    return Calibration(
        count=len(observed),
        predicted=float(predicted.mean()),
        observed=float(observed.mean()),
        brier=float(((predicted - observed) ** 2).mean()),
        baseline_brier=float(observed.var()),
        calibration_error=sum(gaps) / len(observed),
        bins=tuple(bins),
    )
