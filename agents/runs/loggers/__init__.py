"""Loggers of training metrics: CSV, W&B, a progress bar.

- ``base``: the base class, and several loggers as one; ``csv``, ``wandb``, ``progress``.
"""

from agents.runs.loggers.base import CompositeLogger, RunInfo, RunLogger
from agents.runs.loggers.csv import CsvLogger
from agents.runs.loggers.progress import ProgressLogger
from agents.runs.loggers.wandb import WandbLogger

__all__ = [
    "CompositeLogger",
    "CsvLogger",
    "ProgressLogger",
    "RunInfo",
    "RunLogger",
    "WandbLogger",
]
