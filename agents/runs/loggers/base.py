"""The base class of loggers, and several loggers as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from powergrid_muzero.copies import Copyable


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The run that a logger writes of."""

    name: str  # of the kind of run, such as "quickstart"
    folder: Path  # of the run; exists
    config: Mapping[str, Any]  # resolved, plain Python
    total_env_steps: int  # at which the training will end
    resumed_at: int | None = None  # env steps of the checkpoint that is resumed, None if new
    max_minutes: float | None = None  # after which the training ends, if that comes first
    job: str = "train"  # what the run does: "train" or "evaluate"


class RunLogger(Copyable, ABC):
    """A ``Logger`` of ``agents.agent`` with an end, and files.

    A logger class is built with the keyword ``run: RunInfo`` beside its own options. If it has a
    ``preflight`` class method, that is called with the options alone before anything is written,
    to refuse what cannot work.
    """

    @abstractmethod
    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """Write one row of scalar metrics at ``env_steps``."""

    def log_histogram(self, name: str, counts: np.ndarray, *, env_steps: int) -> None:
        """Write a histogram given as counts per bin ``[N]``; ignored where there is no place."""

    def log_animation(self, name: str, path: Path, *, env_steps: int) -> None:
        """Show the GIF at ``path``; ignored where there is no place."""

    def log_image(self, name: str, path: Path, *, env_steps: int) -> None:
        """Show the picture at ``path``; ignored where there is no place."""

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, env_steps: int
    ) -> None:
        """Show a table of texts and numbers; ignored where there is no place."""

    def keep_files(self, name: str, paths: Sequence[Path], *, kind: str) -> None:
        """Keep copies of files, as they are now, with the run; ignored where there is no place.

        Args:
            name: of them together, such as "best".
            paths: of the files.
            kind: what they are: "model", "evaluation", "report".
        """

    def close(self, *, failed: bool = False) -> None:
        """End the log; calling it twice does no harm.

        Args:
            failed: whether the run ended by an error or Ctrl-C.
        """


class CompositeLogger(RunLogger):
    """Passes everything on to several loggers."""

    def __init__(self, loggers: Sequence[RunLogger], *, env_steps: int = 0) -> None:
        """Use ``loggers``, in order; ``env_steps`` is where a resumed run goes on."""
        self._loggers = tuple(loggers)
        self.env_steps = env_steps  # of the latest row

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """See ``RunLogger``."""
        self.env_steps = max(self.env_steps, env_steps)
        for logger in self._loggers:
            logger.log(metrics, env_steps=env_steps)

    def log_histogram(self, name: str, counts: np.ndarray, *, env_steps: int) -> None:
        """See ``RunLogger``."""
        for logger in self._loggers:
            logger.log_histogram(name, counts, env_steps=env_steps)

    def log_animation(self, name: str, path: Path, *, env_steps: int) -> None:
        """See ``RunLogger``."""
        for logger in self._loggers:
            logger.log_animation(name, path, env_steps=env_steps)

    def log_image(self, name: str, path: Path, *, env_steps: int) -> None:
        """See ``RunLogger``."""
        for logger in self._loggers:
            logger.log_image(name, path, env_steps=env_steps)

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, env_steps: int
    ) -> None:
        """See ``RunLogger``."""
        for logger in self._loggers:
            logger.log_table(name, columns, rows, env_steps=env_steps)

    def keep_files(self, name: str, paths: Sequence[Path], *, kind: str) -> None:
        """See ``RunLogger``."""
        for logger in self._loggers:
            logger.keep_files(name, paths, kind=kind)

    def close(self, *, failed: bool = False) -> None:
        """Close all, even if one fails."""
        with ExitStack() as stack:
            for logger in reversed(self._loggers):
                stack.callback(logger.close, failed=failed)
