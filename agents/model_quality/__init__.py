"""Measures how good a trained model is, against what was played and what can be simulated.

- ``decisions``: plays an agent and keeps every decision; the only part that meets an environment.
- ``predictions``: what the network says of those decisions.
- ``errors``: of predicted rewards and values, by the depth of the unroll.
- ``calibration``: of the predicted end of the episode.
- ``ranking``: of the actions that can be taken now, beside the simulator's look-ahead.
- ``assessment``: all of it.
- ``stressed_states``: a fixed list of attacked or stressed grids.
- ``planned_values``: what actions lead to there, several actions ahead, in the simulator.
- ``foresight``: errors of loadings and endings foreseen several actions deep.
- ``attacked``: the assessment on these grids; ``plots`` draws it.

Errors, calibration and ranking are functions of arrays alone.
"""

from agents.model_quality.assessment import Assessment, Ranked, assess
from agents.model_quality.attacked import (
    AttackedAssessment,
    ScoreRanks,
    Truth,
    assess_attacked,
    find_truth,
)
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
from agents.model_quality.foresight import (
    EndingErrors,
    LoadingErrors,
    ending_errors,
    foresee_along,
    loading_errors,
    over_by,
    roc_auc,
)
from agents.model_quality.planned_values import (
    PlannedValues,
    Plans,
    draw_plans,
    find_planned_values,
    make_beam,
)
from agents.model_quality.plots import write_attacked_plots
from agents.model_quality.predictions import (
    Predictions,
    predict_actions,
    predict_along,
    predict_roots,
)
from agents.model_quality.ranking import (
    Choices,
    MedianEstimate,
    best_actions,
    hits_best,
    judge_choices,
    judge_random,
    median_estimate,
    rank_correlations,
)
from agents.model_quality.stressed_states import StressedState, StressedStates

__all__ = [
    "Assessment",
    "AttackedAssessment",
    "Bin",
    "Calibration",
    "Choices",
    "Decisions",
    "EndingErrors",
    "Errors",
    "LoadingErrors",
    "MedianEstimate",
    "PlannedValues",
    "Plans",
    "Predictions",
    "Ranked",
    "Returns",
    "ScoreRanks",
    "StressedState",
    "StressedStates",
    "Truth",
    "Windows",
    "assess",
    "assess_attacked",
    "best_actions",
    "calibrate",
    "draw_plans",
    "end_probability",
    "ending_errors",
    "errors_by_depth",
    "find_planned_values",
    "find_truth",
    "foresee_along",
    "hits_best",
    "judge_choices",
    "judge_random",
    "loading_errors",
    "look_along",
    "make_beam",
    "median_estimate",
    "observed_returns",
    "over_by",
    "play_decisions",
    "predict_actions",
    "predict_along",
    "predict_roots",
    "prediction_errors",
    "rank_correlations",
    "roc_auc",
    "write_attacked_plots",
]
