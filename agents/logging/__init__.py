"""Where the figures of a training go: CSV, W&B, a progress bar, or all of them."""

from agents.logging.base import CompositeLogger
from agents.logging.base import RunInfo
from agents.logging.base import RunLogger
from agents.logging.csv import CsvLogger
from agents.logging.progress import ProgressLogger
from agents.logging.wandb import WandbLogger

__all__ = [
    "CompositeLogger",
    "CsvLogger",
    "ProgressLogger",
    "RunInfo",
    "RunLogger",
    "WandbLogger",
]
