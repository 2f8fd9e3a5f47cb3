"""The report of an evaluation that people look at: one HTML file that works offline.

- ``trace``: what an episode was, step by step.
- ``recorder``: plays an agent as the evaluation does and keeps every step.
- ``encoding``: packs series into short texts.
- ``positions``: where substations are drawn.
- ``page``: puts it all into one file, with ``assets``: the page, its style and its scripts.
- ``report``: all of it in one call.
"""

from agents.report.page import render_page
from agents.report.recorder import Recording
from agents.report.recorder import grid_of
from agents.report.recorder import record_episodes
from agents.report.report import write_report
from agents.report.trace import DecisionTrace
from agents.report.trace import EpisodeTrace
from agents.report.trace import SearchTrace
from agents.report.trace import TopologyTrace

__all__ = [
    "DecisionTrace",
    "EpisodeTrace",
    "Recording",
    "SearchTrace",
    "TopologyTrace",
    "grid_of",
    "record_episodes",
    "render_page",
    "write_report",
]
