from .do_nothing import DoNothingAgent
from .expert import ExpertAgent
from .greedy import GreedyAgent
from .greedy2 import Greedy2Agent
from .random import RandomAgent
from .reconnect import ReconnectAgent
from .revert import RevertAgent

__all__ = [
    "DoNothingAgent",
    "ExpertAgent",
    "Greedy2Agent",
    "GreedyAgent",
    "RandomAgent",
    "ReconnectAgent",
    "RevertAgent",
]
