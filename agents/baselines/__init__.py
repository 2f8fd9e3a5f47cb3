"""Agents that learn nothing: what a learned agent must beat."""

from agents.baselines.do_nothing import DoNothingAgent
from agents.baselines.greedy import GreedyAgent
from agents.baselines.random import RandomAgent
from agents.baselines.reconnect import ReconnectAgent

__all__ = ["DoNothingAgent", "GreedyAgent", "RandomAgent", "ReconnectAgent"]
