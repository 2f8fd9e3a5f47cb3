"""Entry points of the commands, which load nothing heavy before the command line is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from omegaconf import DictConfig

from agents.commands.command_line import run_command, run_guarded
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
        _run_subcommand("agents.commands.results")
    run_command(_evaluate, "evaluate")


def actions() -> None:
    """Run ``powergrid-actions``."""
    _run_subcommand("agents.commands.actions")


def _run_subcommand(module: str) -> NoReturn:
    """Run a command without Hydra, of the module that reads its arguments; end the process."""
    run_guarded(lambda: import_module(module).run(sys.argv[1:]))
    sys.exit(0)


def _train(config: DictConfig, note_folder: Callable[[Path], None]) -> float:
    """Train; return what a sweep makes the most of: the best score of the validations."""
    command = import_module("agents.commands.train")
    finished = command.train(composed_by_command(config), command=sys.argv, started=note_folder)
    best = import_module("agents.runs.loggers.csv").best_logged(finished.folder, "val/score")
    return _score(finished.results) if best is None else best


def _evaluate(config: DictConfig, note_folder: Callable[[Path], None]) -> float:
    command = import_module("agents.commands.evaluate")
    prepared = command.prepare(composed_by_command(config))
    return _score(command.evaluate(prepared, started=note_folder))


def _score(results: Sequence[EvaluationResult]) -> float:
    """Return the score of the agent, which comes last."""
    return import_module("agents.evaluation.statistics").score(results[-1].episodes)
