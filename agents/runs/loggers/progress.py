"""A progress bar with the most important metrics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from tqdm import tqdm

from agents.runs.loggers.base import RunInfo, RunLogger

_log = logging.getLogger(__name__)


_MINUTES = "progress/minutes"  # metric: of training, over all resumes
_BAR = "{percentage:3.0f}%|{bar}| {desc}{postfix}"


class ProgressLogger(RunLogger):
    """Shows how much is done, the time left, and the newest values of a few metrics.

    It counts environment steps, or minutes where the clock is what will end the run. On a terminal
    it is a bar; elsewhere (a file, a pipe, a copy) each row of metrics is one log line.
    """

    _rebuilt = ("_bar",)  # a terminal shows one

    def __init__(self, *, run: RunInfo, show: Mapping[str, str]) -> None:
        """Begin the bar.

        Args:
            run: whose steps or minutes are counted.
            show: label -> name of the metric, in the order to be shown.
        """
        self._show = dict(show)
        self._total = run.total_env_steps
        self._max_minutes = run.max_minutes
        self._minutes: float | None = None  # of training, when last told
        self._minutes_at = 0  # env steps
        self._values: dict[str, str] = {}
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=100.0, bar_format=_BAR, dynamic_ncols=True)
            self._show_bar(run.resumed_at or 0)

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """See ``RunLogger``."""
        if _MINUTES in metrics:
            self._minutes, self._minutes_at = metrics[_MINUTES], env_steps
        news = {
            label: f"{metrics[name]:.4g}" for label, name in self._show.items() if name in metrics
        }
        self._values.update(news)
        if self._bar is not None:
            self._bar.set_postfix(self._values, refresh=False)
            self._show_bar(env_steps)
        elif news:
            values = ", ".join(f"{label} {value}" for label, value in self._values.items())
            _log.info("%s: %s", self._done(env_steps)[1], values)

    def _show_bar(self, env_steps: int) -> None:
        assert self._bar is not None
        share, text = self._done(env_steps)
        self._bar.set_description_str(text, refresh=False)
        self._bar.n = 100.0 * min(share, 1.0)
        self._bar.refresh()

    def _done(self, env_steps: int) -> tuple[float, str]:
        """Return the share of the run that is done, and how much that is, with the time left."""
        share = env_steps / self._total if self._total else 1.0
        text = f"{env_steps:,} of {self._total:,} steps"
        if self._minutes is None:
            return share, text
        by_clock = self._minutes / self._max_minutes if self._max_minutes else 0.0
        at_the_same_time = self._minutes_at / self._total if self._total else 1.0
        if self._max_minutes and by_clock >= at_the_same_time:
            left = max(self._max_minutes - self._minutes, 0.0)
            text = f"{self._minutes:.1f} of {self._max_minutes:g} minutes"
            return by_clock, f"{text}, {_time(left)} left"
        if not at_the_same_time:
            return share, text
        left = self._minutes * max(1.0 - at_the_same_time, 0.0) / at_the_same_time
        return share, f"{text}, about {_time(left)} left"

    def close(self, *, failed: bool = False) -> None:
        """See ``RunLogger``."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _time(minutes: float) -> str:
    """Return "40 s", "12 min" or "3 h 05 min"."""
    if minutes < 1.0:
        return f"{60 * minutes:.0f} s"
    if minutes < 60.0:
        return f"{minutes:.0f} min"
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest:02d} min"
