from .agent import Agent, TrainerSettings, TrainingRun
from .environments import EnvironmentFactory, VectorEnvironment
from .resumable import ResumableVectorEnv

__all__ = [
    "Agent",
    "EnvironmentFactory",
    "ResumableVectorEnv",
    "TrainerSettings",
    "TrainingRun",
    "VectorEnvironment",
]
