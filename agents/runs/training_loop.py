"""The training loop that learning agents share: rounds, metrics, evaluations, checkpoints."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from agents.agent import Agent, TrainingRun
from agents.runs.cluster import WorkersLostError
from agents.runs.interrupt import Interrupt, deferred_interrupt


@dataclass
class Progress:
    """Counters that survive a resume."""

    env_steps: int = 0
    decisions: int = 0
    rounds: int = 0
    seconds: float = 0.0  # of training, evaluation included, over all resumes
    next_evaluation: int = 0  # env steps, as the next two
    next_checkpoint: int = 0
    next_log: int = 0
    best_score: float = -float("inf")

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go back to what ``vars`` of one returned."""
        for name, value in saved.items():
            setattr(self, name, value)


class TrainingLoop(ABC):
    """Plays rounds until the budget is used up; logs, evaluates and saves when due.

    The best weights are those of the highest validation score; of equal ones the later, which have
    learned more.

    Args:
        run: budget, evaluation, loggers and checkpoints.
        agent: is evaluated, and kept as ``best``.
        progress: counters, which ``_play_round`` advances.
    """

    def __init__(self, run: TrainingRun, agent: Agent, progress: Progress) -> None:
        self._run = run
        self._agent = agent
        self._progress = progress

    @abstractmethod
    def _play_round(self, interrupt: Interrupt) -> None:
        """Play and learn; count environment steps and decisions.

        Raises:
            KeyboardInterrupt: broken off, at a place from which ``_state`` can go on.
        """

    @abstractmethod
    def _log(self) -> None:
        """Log a row of metrics."""

    @abstractmethod
    def _agent_state(self) -> dict[str, Any]:
        """Return the present weights in the form that ``Agent.load_state_dict`` takes."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Return the whole training state, for a checkpoint."""

    def _settle(self) -> None:
        """Finish what is under way between rounds, before an evaluation or a checkpoint."""

    def _evaluating(self) -> AbstractContextManager[None]:
        """Return what surrounds an evaluation."""
        return nullcontext()

    def _loop(self) -> None:
        """Train to the end of the budget; on Ctrl-C keep a final checkpoint and raise.

        Raises:
            KeyboardInterrupt: after the checkpoint was written.
            WorkersLostError: workers die again and again; after the checkpoint was written.
        """
        progress = self._progress
        with deferred_interrupt() as interrupt:
            self._schedule_next()
            start, seconds_before = time.perf_counter(), progress.seconds
            while not self._finished():
                try:
                    self._play_round(interrupt)
                except (KeyboardInterrupt, WorkersLostError):
                    self._run.checkpoints.save_latest(self._state())
                    raise
                progress.rounds += 1
                progress.seconds = seconds_before + time.perf_counter() - start
                if progress.env_steps >= progress.next_log:
                    self._log()
                stop = interrupt.requested
                evaluate = progress.env_steps >= progress.next_evaluation or self._finished()
                if evaluate and not stop:
                    self._settle()
                    stop = self._evaluate(interrupt)
                    progress.seconds = seconds_before + time.perf_counter() - start
                save = progress.env_steps >= progress.next_checkpoint or stop or self._finished()
                if save:
                    self._settle()
                self._schedule_next()
                if save:
                    self._run.checkpoints.save_latest(self._state())
                if stop:
                    raise KeyboardInterrupt

    def _finished(self) -> bool:
        """Whether a budget is used up."""
        counters = {"progress": vars(self._progress)}
        return self._agent.used_up(counters, self._run.settings) is not None

    def _evaluate(self, interrupt: Interrupt) -> bool:
        """Evaluate, keep the best weights; return True if Ctrl-C broke it off."""
        self._agent.load_state_dict(self._agent_state())
        try:
            with interrupt.immediate(), self._evaluating():
                metrics = dict(self._run.evaluate(self._agent))
        except KeyboardInterrupt:
            return True
        row = {f"val/{name}": value for name, value in metrics.items()}
        row["val/best_score"] = max(metrics["score"], self._progress.best_score)
        self._run.logger.log(row, env_steps=self._progress.env_steps)
        if metrics["score"] >= self._progress.best_score:
            self._progress.best_score = metrics["score"]
            self._run.checkpoints.save_best(self._agent.state_dict())
        return False

    def _schedule_next(self) -> None:
        """Move every due date past the present step, to the next multiple of its interval."""
        progress, settings = self._progress, self._run.settings
        now = progress.env_steps
        for name in ("log", "evaluation", "checkpoint"):
            interval = getattr(settings, f"{name}_interval")
            if now >= getattr(progress, f"next_{name}"):
                setattr(progress, f"next_{name}", now - now % interval + interval)
