"""How good a trained model is: its predictions beside what was played and what can be simulated.

- ``decisions``: plays an agent and keeps every decision; the only part that meets an environment.
- ``predictions``: what the network says of those decisions.
- ``errors``: of predicted rewards and values, by the depth of the unroll.
- ``calibration``: of the predicted end of the episode.
- ``ranking``: of the actions that can be taken now, beside the simulator's look-ahead.
- ``assessment``: all of it.

Errors, calibration and ranking are functions of arrays alone.
"""

from agents.muzero.quality.assessment import Assessment
from agents.muzero.quality.assessment import Ranked
from agents.muzero.quality.assessment import assess
from agents.muzero.quality.calibration import Bin
from agents.muzero.quality.calibration import Calibration
from agents.muzero.quality.calibration import calibrate
from agents.muzero.quality.calibration import end_probability
from agents.muzero.quality.decisions import Decisions
from agents.muzero.quality.decisions import play_decisions
from agents.muzero.quality.errors import Errors
from agents.muzero.quality.errors import Returns
from agents.muzero.quality.errors import Windows
from agents.muzero.quality.errors import errors_by_depth
from agents.muzero.quality.errors import look_along
from agents.muzero.quality.errors import observed_returns
from agents.muzero.quality.errors import prediction_errors
from agents.muzero.quality.predictions import Predictions
from agents.muzero.quality.predictions import predict_actions
from agents.muzero.quality.predictions import predict_along
from agents.muzero.quality.predictions import predict_roots
from agents.muzero.quality.ranking import Choices
from agents.muzero.quality.ranking import best_actions
from agents.muzero.quality.ranking import hits_best
from agents.muzero.quality.ranking import judge_choices
from agents.muzero.quality.ranking import judge_random
from agents.muzero.quality.ranking import rank_correlations

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
