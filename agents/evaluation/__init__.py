"""Plays an agent over a fixed list of episodes: the one loop for every agent, in every tool.

- ``plans``: which episodes.
- ``player``: plays a group of them side by side, in the agent's batch; ``actions`` checks what the
  agent returns, ``ledger`` keeps the books.
- ``workers``: shares groups out over processes.
- ``evaluator``: all of it, from an agent to its result.
- ``replay``: plays what was recorded again, every step looked at.
"""

from agents.evaluation.evaluator import AgentNotes
from agents.evaluation.evaluator import EpisodeEvaluator
from agents.evaluation.plans import DEFAULT_SEED
from agents.evaluation.plans import EpisodePlan
from agents.evaluation.plans import plan_episodes
from agents.evaluation.player import DecisionWatch
from agents.evaluation.player import EpisodePlayer
from agents.evaluation.replay import Trace
from agents.evaluation.replay import replay_episodes

__all__ = [
    "DEFAULT_SEED",
    "AgentNotes",
    "DecisionWatch",
    "EpisodeEvaluator",
    "EpisodePlan",
    "EpisodePlayer",
    "Trace",
    "plan_episodes",
    "replay_episodes",
]
