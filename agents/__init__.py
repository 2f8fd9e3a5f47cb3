"""Agents: baselines and MuZero, the commands that train and evaluate them, and their plumbing."""

from powergrid_muzero import check_own_packages

check_own_packages("envs")  # before another project's is imported in its place

from agents.base import Agent  # noqa: E402
from agents.base import TrainerSettings  # noqa: E402
from agents.base import TrainingRun  # noqa: E402
from agents.environments import EnvironmentFactory  # noqa: E402
from agents.environments import ResumableVectorEnv  # noqa: E402
from agents.environments import VectorEnvironment  # noqa: E402

__all__ = [
    "Agent",
    "EnvironmentFactory",
    "ResumableVectorEnv",
    "TrainerSettings",
    "TrainingRun",
    "VectorEnvironment",
]
