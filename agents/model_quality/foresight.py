"""Errors of loadings and endings foreseen several actions deep; functions of arrays and networks.

Shape letters: B observations, M plans, D actions in a row, L lines.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from scipy.stats import rankdata

from agents.model_quality.ranking import mean
from agents.muzero.networks.base import MuZeroNetwork
from agents.power_grid.flow import PredictedOutcomes

NEAR_LIMITS = (0.8, 1.3)  # true loadings where an error may change what is chosen
_ROWS = 512  # plans at once


@runtime_checkable
class ForeseesAlong(Protocol):
    """A network that foresees loadings after several actions in a row."""

    def outcomes_along(
        self, observations: torch.Tensor, rows: torch.Tensor, actions: torch.Tensor
    ) -> PredictedOutcomes:
        """Return what it predicts after ``actions [M, D]`` in ``observations[rows]``.

        Returns:
            Fields ``[M, D, ...]``.
        """
        ...


class LoadingErrors(NamedTuple):
    """How far foreseen loadings are from those of the simulator; NaN where there are none."""

    depth: int  # actions
    count: int  # closed lines of all plans
    mean: float  # absolute error
    median: float
    present: float  # mean, of foreseeing the present loadings
    near_count: int  # of these, lines whose true loading is in NEAR_LIMITS
    near_mean: float
    near_median: float
    near_present: float


class EndingErrors(NamedTuple):
    """How well endings within some actions are foreseen; NaN where there is nothing to say."""

    name: str  # what foresees them
    depth: int  # actions
    count: int  # plans
    ended: float  # share of them
    auc: float  # area under the ROC curve: 0.5 is chance
    brier: float  # mean squared error of the probability
    baseline_brier: float  # of always predicting the share


@torch.inference_mode()
def foresee_along(
    network: ForeseesAlong, observations: np.ndarray, rows: np.ndarray, actions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return loadings ``[M, D, L]`` and probabilities ``[M, D]`` that the game is over by then.

    Args:
        network: on any device; left in evaluation mode.
        observations: ``[B, ...]``.
        rows: ``[M]`` int64, of those.
        actions: ``[M, D]`` int64.
    """
    assert isinstance(network, MuZeroNetwork)
    network.eval()
    device = next(network.parameters()).device
    seen = torch.from_numpy(observations).to(device)
    loadings, ends = [], []
    for start in range(0, len(rows), _ROWS):
        some = slice(start, start + _ROWS)
        found = network.outcomes_along(
            seen,
            torch.from_numpy(rows[some]).to(device),
            torch.from_numpy(actions[some]).to(device),
        )
        loadings.append(found.loading.cpu().numpy())
        ends.append(found.end_logit.sigmoid().cpu().numpy())
    return np.concatenate(loadings), over_by(1.0 - np.concatenate(ends))


def over_by(discounts: np.ndarray) -> np.ndarray:
    """Return the probability ``[M, D]`` that an episode is over after each of D actions.

    Args:
        discounts: ``[M, D]``, of each action, as if each were the chance to go on.
    """
    return 1.0 - np.cumprod(np.clip(discounts.astype(np.float64), 0.0, 1.0), axis=1)


def loading_errors(
    foreseen: np.ndarray, true: np.ndarray, present: np.ndarray, valid: np.ndarray, depth: int
) -> LoadingErrors:
    """Compare loadings after ``depth`` actions.

    Args:
        foreseen: ``[M, D, L]``.
        true: ``[M, D, L]``, 0 of open lines, which do not count.
        present: ``[M, L]``, before the first action.
        valid: ``[M, D]`` bool, what is compared.
        depth: of 1 to D.
    """
    place = depth - 1
    counted = valid[:, place, None] & (true[:, place] > 0)
    truth = true[:, place][counted].astype(np.float64)
    errors = np.abs(foreseen[:, place][counted] - truth)
    unchanged = np.abs(present[counted] - truth)
    near = (truth >= NEAR_LIMITS[0]) & (truth <= NEAR_LIMITS[1])
    return LoadingErrors(
        depth,
        *(len(errors), mean(errors), _median(errors), mean(unchanged)),
        *(int(near.sum()), mean(errors[near]), _median(errors[near]), mean(unchanged[near])),
    )


def ending_errors(name: str, predicted: np.ndarray, over: np.ndarray, depth: int) -> EndingErrors:
    """Compare probabilities that the game is over within ``depth`` actions with what happened.

    Args:
        name: of what predicts.
        predicted: ``[M, D]`` in [0, 1].
        over: ``[M, D]`` bool.
        depth: of 1 to D.
    """
    chance, truth = predicted[:, depth - 1], over[:, depth - 1]
    return EndingErrors(
        name,
        depth,
        *(len(truth), mean(truth), roc_auc(chance, truth)),
        *(mean((chance - truth) ** 2), mean((truth - mean(truth)) ** 2)),
    )


def roc_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of pairs of a positive and a negative that scores tell apart.

    A tie counts one half (Mann-Whitney); NaN where there are none of either.

    Args:
        scores: ``[M]``, higher where it is more likely true.
        truth: ``[M]`` bool.
    """
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(scores)[truth].sum() - positive * (positive + 1) / 2
    return float(ranks / (positive * negative))


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
