"""Where the figures of a training go: CSV, W&B, a progress bar, or all of them."""

from agents.loggers.base import CompositeLogger
from agents.loggers.base import RunInfo
from agents.loggers.base import RunLogger
from agents.loggers.csv import CsvLogger
from agents.loggers.progress import ProgressLogger
from agents.loggers.wandb import WandbLogger

__all__ = [
    "CompositeLogger",
    "CsvLogger",
    "ProgressLogger",
    "RunInfo",
    "RunLogger",
    "WandbLogger",
]
