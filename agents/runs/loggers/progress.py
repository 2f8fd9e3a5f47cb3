"""A progress bar with the most important metrics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from tqdm import tqdm

from agents.runs.loggers.base import RunInfo, RunLogger

_log = logging.getLogger(__name__)


class ProgressLogger(RunLogger):
    """Shows env steps done and the newest values of a few metrics.

    On a terminal it is a bar; elsewhere (a file, a pipe, a copy) each row of metrics is one log
    line.
    """

    _rebuilt = ("_bar",)  # a terminal shows one

    def __init__(self, *, run: RunInfo, show: Mapping[str, str]) -> None:
        """Begin the bar.

        Args:
            run: whose steps are counted.
            show: label -> name of the metric, in the order to be shown.
        """
        self._show = dict(show)
        self._total = run.total_env_steps
        self._values: dict[str, str] = {}
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=run.total_env_steps,
                initial=run.resumed_at or 0,
                unit="step",
                unit_scale=True,
                dynamic_ncols=True,
                smoothing=0.1,
            )

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """See ``RunLogger``."""
        news = {
            label: f"{metrics[name]:.4g}" for label, name in self._show.items() if name in metrics
        }
        self._values.update(news)
        if self._bar is not None:
            self._bar.set_postfix(self._values, refresh=False)
            self._bar.update(max(env_steps - self._bar.n, 0))
        elif news:
            values = ", ".join(f"{label} {value}" for label, value in self._values.items())
            _log.info("%d of %d steps: %s", env_steps, self._total, values)

    def close(self, *, failed: bool = False) -> None:
        """See ``RunLogger``."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
