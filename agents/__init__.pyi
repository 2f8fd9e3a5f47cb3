from .agent import Agent, TrainerSettings, TrainingRun
from .environments import EnvironmentFactory, VectorEnvironment
from .evaluation import EvaluationResult, summarize
from .interface import LoadedAgent, TrainedRun, evaluate, load, train
from .resumable import ResumableVectorEnv

__all__ = [
    "Agent",
    "EnvironmentFactory",
    "EvaluationResult",
    "LoadedAgent",
    "ResumableVectorEnv",
    "TrainedRun",
    "TrainerSettings",
    "TrainingRun",
    "VectorEnvironment",
    "evaluate",
    "load",
    "summarize",
    "train",
]
