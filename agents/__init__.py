"""Agents: baselines and MuZero, the commands that train and evaluate them, and their plumbing."""

from agents.base import Agent
from agents.base import TrainerSettings
from agents.base import TrainingRun
from agents.environments import EnvironmentFactory
from agents.environments import ResumableVectorEnv

__all__ = [
    "Agent",
    "EnvironmentFactory",
    "ResumableVectorEnv",
    "TrainerSettings",
    "TrainingRun",
]
