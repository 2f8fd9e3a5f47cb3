"""Measures how good a trained model is, against what was played and what can be simulated.

- ``decisions``: plays an agent and keeps every decision; the only part that meets an environment.
- ``predictions``: what the network says of those decisions.
- ``errors``: of predicted rewards and values, by the depth of the unroll.
- ``calibration``: of the predicted end of the episode.
- ``ranking``: of the actions that can be taken now, beside the simulator's look-ahead.
- ``assessment``: all of it.

Errors, calibration and ranking are functions of arrays alone.
"""

from agents.model_quality.assessment import Assessment, Ranked, assess
from agents.model_quality.calibration import Bin, Calibration, calibrate, end_probability
from agents.model_quality.decisions import Decisions, play_decisions
from agents.model_quality.errors import (
    Errors,
    Returns,
    Windows,
    errors_by_depth,
    look_along,
    observed_returns,
    prediction_errors,
)
from agents.model_quality.predictions import (
    Predictions,
    predict_actions,
    predict_along,
    predict_roots,
)
from agents.model_quality.ranking import (
    Choices,
    best_actions,
    hits_best,
    judge_choices,
    judge_random,
    rank_correlations,
)

__all__ = [
    "Assessment",
    "Bin",
    "Calibration",
    "Choices",
    "Decisions",
    "Errors",
    "Predictions",
    "Ranked",
    "Returns",
    "Windows",
    "assess",
    "best_actions",
    "calibrate",
    "end_probability",
    "errors_by_depth",
    "hits_best",
    "judge_choices",
    "judge_random",
    "look_along",
    "observed_returns",
    "play_decisions",
    "predict_actions",
    "predict_along",
    "predict_roots",
    "prediction_errors",
    "rank_correlations",
]
