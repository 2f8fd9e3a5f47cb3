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
from agents.model_quality.attacked import AttackedAssessment, assess_attacked, find_truth
from agents.model_quality.calibration import Calibration
from agents.model_quality.decisions import play_decisions
from agents.model_quality.errors import Errors
from agents.model_quality.plots import write_attacked_plots
from agents.model_quality.stressed_states import StressedStates

__all__ = [
    "Assessment",
    "AttackedAssessment",
    "Calibration",
    "Errors",
    "Ranked",
    "StressedStates",
    "assess",
    "assess_attacked",
    "find_truth",
    "play_decisions",
    "write_attacked_plots",
]
