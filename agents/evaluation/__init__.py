"""Plays agents over fixed lists of episodes, and records the results.

Playing:

- ``episode_list``: which episodes.
- ``player``: plays a group of them side by side, in the agent's batch; ``action_checks`` checks
  what the agent returns, ``episode_log`` records what happens.
- ``workers``: shares groups out over processes.
- ``evaluator``: all of it, from an agent to its result.
- ``playback``: plays what was recorded again, every step looked at.

Results:

- ``records``: one record per episode, one per agent.
- ``pieces``: merges results of parts of a list.
- ``protocol``: what must be the same for two results to be compared, and its hash.
- ``statistics``: means with bootstrap intervals.
- ``result_files``: JSON, read back strictly, and CSV.
- ``tables``, ``pairs``: tables for people; differences paired by scenario.
"""

from agents.evaluation.episode_list import DEFAULT_SEED, EpisodeSpec, list_episodes
from agents.evaluation.evaluator import AgentNotes, EpisodeEvaluator
from agents.evaluation.pairs import compare_results, to_markdown
from agents.evaluation.pieces import merge_by_agent, merge_pieces
from agents.evaluation.playback import LoadingTrace, play_back
from agents.evaluation.player import EpisodePlayer
from agents.evaluation.protocol import Protocol, Setting, describe_protocol, explain_difference
from agents.evaluation.records import Conditions, EpisodeRecord, EvaluationResult, Incident, Latency
from agents.evaluation.result_files import read_results, result_paths, write_results
from agents.evaluation.statistics import estimate, log_metrics, summarize
from agents.evaluation.tables import markdown_summary

__all__ = [
    "DEFAULT_SEED",
    "AgentNotes",
    "Conditions",
    "EpisodeEvaluator",
    "EpisodeSpec",
    "EpisodePlayer",
    "EpisodeRecord",
    "EvaluationResult",
    "Incident",
    "Latency",
    "Protocol",
    "Setting",
    "LoadingTrace",
    "compare_results",
    "describe_protocol",
    "estimate",
    "explain_difference",
    "log_metrics",
    "markdown_summary",
    "merge_by_agent",
    "merge_pieces",
    "list_episodes",
    "read_results",
    "result_paths",
    "play_back",
    "summarize",
    "to_markdown",
    "write_results",
]
