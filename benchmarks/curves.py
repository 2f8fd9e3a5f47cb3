"""Learning curves of training runs by steps, decisions and minutes.

    python -m benchmarks.curves RUN RUN ... [--output FOLDER]

Prints one line per evaluation of each run, and with ``--output`` writes ``validation_NAME.csv`` for
each run (``NAME`` is its folder's) and ``curves.png`` with all of them. Runs are read as
``metrics.csv``, so any agent's will do. The last line is one JSON object.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agents.commands.command_line import OneLineParser, path_argument, run_guarded
from agents.runs.files import atomic_write
from agents.runs.loggers.csv import METRICS, read_log


class Point(NamedTuple):
    """One evaluation during training."""

    env_steps: int
    decisions: int  # played in training until the last row logged before
    minutes: float  # of training until then, evaluations included
    steps_percent: float
    completed_percent: float
    decisions_per_scenario: float
    mean_distance: float  # element ends off the reference topology


def main() -> None:
    """Read, print and write."""
    parser = OneLineParser(description="Learning curves of training runs.")
    parser.add_argument(
        "runs", nargs="+", type=path_argument, metavar="RUN", help="folder of a run"
    )
    parser.add_argument(
        "--output", type=path_argument, help="folder for the CSV files and the picture"
    )
    arguments = parser.parse_args()
    curves = {run.resolve().name: read_curve(run) for run in arguments.runs}
    if len(curves) < len(arguments.runs):
        raise ValueError("two runs have folders of one name; give each a name of its own.")
    for name, points in curves.items():
        for point in points:
            print(f"{name:>12}", *(f"{number:>12,g}" for number in point))
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        for name, points in curves.items():
            write_curve(arguments.output / f"validation_{name}.csv", points)
        draw_curves(arguments.output / "curves.png", curves)
    last = [points[-1] for points in curves.values()]
    summary = {
        "runs": len(curves),
        "last_steps_percent": round(statistics.mean(point.steps_percent for point in last), 2),
        "last_completed_percent": round(
            statistics.mean(point.completed_percent for point in last), 2
        ),
        "minutes": round(statistics.mean(point.minutes for point in last), 1),
    }
    print(json.dumps(summary))


def read_curve(run: Path) -> list[Point]:
    """Return the evaluations that ``run/metrics.csv`` holds, in order.

    Raises:
        ValueError: there is no such file, no evaluation in it, or it is damaged.
    """
    file = run / METRICS
    if not file.is_file():
        raise ValueError(f"{file} does not exist; name the folder of a training run.")
    points: list[Point] = []
    logged = {"progress/decisions": "0", "progress/minutes": "0"}
    for row in read_log(file)[1]:
        if row.get("progress/minutes"):
            logged = row
        if row.get("val/steps_percent"):
            points.append(
                Point(
                    env_steps=int(row["env_steps"]),
                    decisions=int(float(logged["progress/decisions"])),
                    minutes=round(float(logged["progress/minutes"]), 2),
                    steps_percent=round(float(row["val/steps_percent"]), 2),
                    completed_percent=round(float(row["val/completed_percent"]), 2),
                    decisions_per_scenario=round(float(row["val/decisions"]), 2),
                    mean_distance=round(float(row["val/mean_distance"] or "nan"), 2),
                )
            )
    if not points:
        raise ValueError(f"{file} holds no evaluation yet: trainer.evaluation_interval is longer.")
    return points


def write_curve(path: Path, points: Sequence[Point]) -> None:
    """Write one row per evaluation as CSV."""
    lines = [Point._fields, *points]
    with atomic_write(path) as file:
        file.write("".join(",".join(map(str, line)) + "\n" for line in lines).encode())


def draw_curves(path: Path, curves: dict[str, list[Point]]) -> None:
    """Draw the steps survived on validation against decisions and minutes, side by side."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    by_decisions, by_minutes = figure.subplots(1, 2, sharey=True)
    for name, points in curves.items():
        survived = [point.steps_percent for point in points]
        by_decisions.plot([point.decisions for point in points], survived, label=name)
        by_minutes.plot([point.minutes for point in points], survived, label=name)
    by_decisions.set_xlabel("decisions played in training")
    by_minutes.set_xlabel("minutes of training")
    by_decisions.set_ylabel("validation: steps survived, %")
    for axes in (by_decisions, by_minutes):
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
    by_minutes.legend(loc="lower right", fontsize="small")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


if __name__ == "__main__":
    run_guarded(main)
