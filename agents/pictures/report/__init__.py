"""The HTML report of an evaluation: one file that works offline.

- ``trace``: what an episode was, step by step.
- ``recorder``: plays an agent as the evaluation does and keeps every step.
- ``losses``: the N-1 state at decisions.
- ``encoding``: packs series into short texts.
- ``page``: puts it all into one file, with ``assets``: the page, its style and its scripts.
- ``report``: all of it in one call.
"""

from agents.pictures.report.page import render_page
from agents.pictures.report.recorder import Recording, grid_of, record_episodes
from agents.pictures.report.report import write_report
from agents.pictures.report.trace import (
    DecisionTrace,
    EpisodeTrace,
    LossTrace,
    SearchTrace,
    TopologyTrace,
)

__all__ = [
    "DecisionTrace",
    "EpisodeTrace",
    "LossTrace",
    "Recording",
    "SearchTrace",
    "TopologyTrace",
    "grid_of",
    "record_episodes",
    "render_page",
    "write_report",
]
