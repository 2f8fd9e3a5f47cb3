"""What a learned agent must beat: rules, look-ahead, and a policy-gradient agent of others."""

from agents.power_grid.baselines.do_nothing import DoNothingAgent
from agents.power_grid.baselines.expert import ExpertAgent
from agents.power_grid.baselines.greedy import GreedyAgent
from agents.power_grid.baselines.greedy2 import Greedy2Agent
from agents.power_grid.baselines.random import RandomAgent
from agents.power_grid.baselines.reconnect import ReconnectAgent
from agents.power_grid.baselines.revert import RevertAgent

__all__ = [
    "DoNothingAgent",
    "ExpertAgent",
    "Greedy2Agent",
    "GreedyAgent",
    "RandomAgent",
    "ReconnectAgent",
    "RevertAgent",
]
