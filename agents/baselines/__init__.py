"""What a learned agent must beat: rules, look-ahead, and a policy-gradient agent of others."""

from agents.baselines.do_nothing import DoNothingAgent
from agents.baselines.expert import ExpertAgent
from agents.baselines.greedy import GreedyAgent
from agents.baselines.greedy2 import Greedy2Agent
from agents.baselines.random import RandomAgent
from agents.baselines.reconnect import ReconnectAgent
from agents.baselines.revert import RevertAgent

__all__ = [
    "DoNothingAgent",
    "ExpertAgent",
    "Greedy2Agent",
    "GreedyAgent",
    "RandomAgent",
    "ReconnectAgent",
    "RevertAgent",
]
