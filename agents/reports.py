"""What an evaluation found: one record per episode, and the table, JSON and CSV made of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path

import numpy as np

from agents.files import atomic_write

_RESAMPLES = 2_000  # of the bootstrap; the interval's own error is then well under a point


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One episode as it was played."""

    scenario: str  # name, "" where the environment has no scenarios
    seed: int  # of the environment's reset
    steps: int  # environment steps survived; under an idle gate the calm ones count
    max_steps: int | None  # steps the episode could have lasted, None where unknown
    completed: bool  # lasted to the end (truncated, not terminated)
    end: str  # why it ended, in the environment's words
    reward: float  # sum over the episode, undiscounted
    decisions: int  # times the agent was asked
    simulator_calls: int  # actions looked ahead at in the environment's simulator
    seconds: float  # spent in the agent, its share of each batch


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """One agent's episodes over a fixed list."""

    agent: str  # name in tables
    episodes: tuple[EpisodeRecord, ...]

    @property
    def steps_percent(self) -> float | None:
        """Mean over episodes of steps survived, in percent of what was possible."""
        shares = self._shares()
        return None if shares is None else float(100.0 * shares.mean())

    @property
    def completed_percent(self) -> float:
        """Episodes that lasted to the end, percent."""
        return float(100.0 * np.mean([episode.completed for episode in self.episodes]))

    @property
    def mean_reward(self) -> float:
        """Mean undiscounted return of an episode."""
        return float(np.mean([episode.reward for episode in self.episodes]))

    @property
    def mean_steps(self) -> float:
        """Mean length of an episode, environment steps."""
        return float(np.mean([episode.steps for episode in self.episodes]))

    @property
    def mean_decisions(self) -> float:
        """Mean decisions of an episode."""
        return float(np.mean([episode.decisions for episode in self.episodes]))

    @property
    def mean_simulator_calls(self) -> float:
        """Mean actions looked ahead at in an episode."""
        return float(np.mean([episode.simulator_calls for episode in self.episodes]))

    @property
    def milliseconds_per_decision(self) -> float:
        """Time in the agent over decisions taken, milliseconds; 0 if it was never asked."""
        decisions = sum(episode.decisions for episode in self.episodes)
        seconds = sum(episode.seconds for episode in self.episodes)
        return 1e3 * seconds / decisions if decisions else 0.0

    def steps_interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the bootstrap interval of ``steps_percent`` over episodes (percentile method).

        Args:
            confidence: of the interval, between 0 and 1.
        """
        shares = self._shares()
        if shares is None:
            return None
        rng = np.random.default_rng(0)
        draws = rng.integers(len(shares), size=(_RESAMPLES, len(shares)))
        means = 100.0 * shares[draws].mean(axis=1)
        tail = 50.0 * (1.0 - confidence)
        low, high = np.percentile(means, [tail, 100.0 - tail])
        return float(low), float(high)

    def metrics(self) -> dict[str, float]:
        """Return the figures to log. ``score``: what training should raise.

        It is the share of steps survived plus a hundredth of the share completed where
        episodes are of scenarios, and the mean return elsewhere.
        """
        metrics = {
            "reward": self.mean_reward,
            "episode_steps": self.mean_steps,
            "completed_percent": self.completed_percent,
            "decisions": self.mean_decisions,
            "simulator_calls": self.mean_simulator_calls,
            "ms_per_decision": self.milliseconds_per_decision,
        }
        score = self.mean_reward
        steps = self.steps_percent
        if steps is not None:
            metrics["steps_percent"] = steps
            if any(episode.scenario for episode in self.episodes):
                score = steps / 100.0 + self.completed_percent / 1e4
        metrics["score"] = score
        return metrics

    def _shares(self) -> np.ndarray | None:
        pairs = [(episode.steps, episode.max_steps) for episode in self.episodes]
        if any(limit is None for _, limit in pairs):
            return None
        return np.array([steps / limit for steps, limit in pairs if limit], dtype=np.float64)


def format_table(results: Sequence[EvaluationResult]) -> str:
    """Return the results as a table in plain text, one agent a line."""
    header = (
        "agent",
        "steps %",
        "95% interval",
        "completed %",
        "reward",
        "decisions",
        "simulated",
        "ms/decision",
    )
    rows: list[tuple[str, ...]] = [header]
    for result in results:
        steps, interval = result.steps_percent, result.steps_interval()
        rows.append(
            (
                result.agent,
                "-" if steps is None else f"{steps:.1f}",
                "-" if interval is None else f"{interval[0]:.1f} .. {interval[1]:.1f}",
                f"{result.completed_percent:.1f}",
                f"{result.mean_reward:.1f}",
                f"{result.mean_decisions:.1f}",
                f"{result.mean_simulator_calls:.0f}",
                f"{result.milliseconds_per_decision:.2f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def write_results(
    folder: Path, results: Sequence[EvaluationResult], *, name: str = "evaluation"
) -> tuple[Path, Path]:
    """Write ``name.json`` (everything) and ``name.csv`` (one row per episode) whole or not at all.

    Args:
        folder: an existing folder.
        results: one per agent.
        name: of both files, without a suffix.

    Returns:
        The paths of the JSON and CSV files.
    """
    document = [
        {
            "agent": result.agent,
            "metrics": result.metrics(),
            "steps_percent_interval_95": result.steps_interval(),
            "episodes": [asdict(episode) for episode in result.episodes],
        }
        for result in results
    ]
    json_path, csv_path = folder / f"{name}.json", folder / f"{name}.csv"
    with atomic_write(json_path) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [column.name for column in fields(EpisodeRecord)]
    writer.writerow(["agent", *columns])
    for result in results:
        for episode in result.episodes:
            row = asdict(episode)
            writer.writerow([result.agent, *(row[column] for column in columns)])
    with atomic_write(csv_path) as file:
        file.write(text.getvalue().encode())
    return json_path, csv_path
