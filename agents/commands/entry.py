"""Entry points of the commands, which load nothing heavy before the command line is read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from agents.commands.command_line import run_command
from agents.configuration.composed import composed_by_command

if TYPE_CHECKING:
    from agents.evaluation import EvaluationResult

COMPARE, MERGE = "compare", "merge"  # subcommands of powergrid-evaluate


def train() -> None:
    """Run ``powergrid-train``."""
    run_command(_train, "train")


def evaluate() -> None:
    """Run ``powergrid-evaluate``, or its subcommand ``compare`` or ``merge``."""
    if sys.argv[1:2] in ([COMPARE], [MERGE]):
        import_module("agents.commands.results").main(sys.argv[1:])
    run_command(_evaluate, "evaluate")


def _train(config: DictConfig) -> float:
    command = import_module("agents.commands.train")
    return _score(command.train(composed_by_command(config), command=sys.argv).results)


def _evaluate(config: DictConfig) -> float:
    command = import_module("agents.commands.evaluate")
    return _score(command.evaluate(command.prepare(composed_by_command(config))))


def _score(results: Sequence[EvaluationResult]) -> float:
    """Return what a sweep makes the most of: the agent's score, which comes last."""
    return import_module("agents.evaluation.statistics").score(results[-1].episodes)
