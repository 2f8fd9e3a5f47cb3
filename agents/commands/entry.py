"""Entry points of the commands, which load nothing heavy before the command line is read."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from agents.commands.command_line import run_command

COMPARE, MERGE = "compare", "merge"  # subcommands of powergrid-evaluate


def train() -> None:
    """Run ``powergrid-train``."""
    run_command(_train, "train")


def evaluate() -> None:
    """Run ``powergrid-evaluate``, or its subcommand ``compare`` or ``merge``."""
    if sys.argv[1:2] in ([COMPARE], [MERGE]):
        import_module("agents.commands.results").main(sys.argv[1:])
    run_command(_evaluate, "evaluate")


def _train(config: DictConfig) -> Any:
    return import_module("agents.commands.train").train(config)


def _evaluate(config: DictConfig) -> Any:
    return import_module("agents.commands.evaluate").evaluate(config)
