"""Training metrics: sums and means since the last row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from agents.muzero.learner import LearnerMetrics
from agents.muzero.self_play import EpisodeSummary, Experience
from powergrid_muzero.copies import Copyable


class TrainingMetrics(Copyable):
    """Collects what happened since the last row of metrics."""

    def __init__(self, num_actions: int) -> None:
        self.episodes: deque[EpisodeSummary] = deque(maxlen=100)
        self.num_actions = num_actions
        self.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Return the seconds since the last row: each process has a clock of its own."""
        return {**super().__getstate__(), "since": time.perf_counter() - self.since}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what ``__getstate__`` gave."""
        super().__setstate__(state)
        self.since = time.perf_counter() - self.since

    def clear(self) -> None:
        """Begin a new row; the last hundred episodes stay."""
        self.search: list[Mapping[str, float]] = []
        self.staleness: list[int] = []
        self.losses: list[Mapping[str, float]] = []
        self.action_counts = np.zeros(self.num_actions, np.int64)
        self.decisions = 0
        self.env_steps = 0
        self.since = time.perf_counter()

    def add_experience(self, experience: Experience, *, staleness: int) -> None:
        """Count a round of a group.

        Args:
            experience: of the group.
            staleness: updates made since the weights that it was played with.
        """
        self.staleness.append(staleness)
        self.episodes.extend(experience.episodes)
        self.search.append(experience.search)
        actions = experience.decisions.action.ravel()
        self.action_counts += np.bincount(actions, minlength=self.num_actions)
        self.decisions += len(actions)
        self.env_steps += experience.env_steps

    def add_update(self, metrics: LearnerMetrics) -> None:
        """Count an update of the learner."""
        self.losses.append(_scalars(metrics))

    def metrics(self) -> dict[str, float]:
        """Return one row."""
        elapsed = max(time.perf_counter() - self.since, 1e-9)
        row: dict[str, float] = {
            "time/decisions_per_s": self.decisions / elapsed,
            "time/env_steps_per_s": self.env_steps / elapsed,
            "time/updates_per_s": len(self.losses) / elapsed,
        }
        if self.staleness:
            row["self_play/staleness"] = float(np.mean(self.staleness))
        row.update(_mean_of(self.search, "search"))
        row.update(_mean_of(self.losses, "train"))
        if self.episodes:
            episodes = list(self.episodes)
            row["self_play/reward"] = float(np.mean([e.reward for e in episodes]))
            row["self_play/episode_steps"] = float(np.mean([e.env_steps for e in episodes]))
            row["self_play/episode_decisions"] = float(np.mean([e.decisions for e in episodes]))
            row["self_play/survived"] = float(np.mean([not e.terminated for e in episodes]))
        return row


def _mean_of(rows: list[Mapping[str, float]], prefix: str) -> dict[str, float]:
    if not rows:
        return {}
    return {f"{prefix}/{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _scalars(metrics: LearnerMetrics) -> dict[str, float]:
    numbers = metrics._asdict()
    del numbers["priorities"]
    numbers.update(numbers.pop("auxiliary"))
    return numbers
