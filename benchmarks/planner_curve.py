"""What the planner's depth and width are worth on attacked months, and what they cost.

    python -m benchmarks.planner_curve [--opponent rl4pnc] [--first 16] [--episodes 8]
                                       [--results runs/planner_curve] [--output FOLDER] [--rest]

Plays ``agent=planner`` with each of ``SETTINGS`` by ``powergrid-evaluate`` on the same validation
months, with the months of each in a folder of ``--results``, and prints a table. ``--rest`` keeps
what is there. With ``--output`` the table's figures go to ``planner_curve_OPPONENT.csv`` there, and
a picture of them beside it. Hours: the default setting takes some minutes a month.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import envs
from agents.commands.command_line import OneLineParser, path_argument, run_guarded, whole_number
from agents.evaluation import EvaluationResult, summarize
from agents.runs.files import atomic_write
from agents.runs.output_folders import check_writable
from benchmarks.ladder import PREVENTIVE, Rung, evaluated
from powergrid_muzero.names import choose

SCENARIOS = "recombined_more"


class Setting(NamedTuple):
    """Of the planner: how far it looks, and how much of what it sees it follows on."""

    depth: int  # actions ahead under stress
    width: int  # plans of each length followed on
    solved: int  # of each length whose power flows are solved
    answer_depth: int  # the same for answers to a loss
    answer_width: int
    answer_solved: int

    @property
    def name(self) -> str:
        """Of its folder and its row."""
        return f"d{self.depth}_w{self.width}_a{self.answer_depth}_{self.answer_width}"


DEFAULT = Setting(4, 20, 60, 3, 6, 24)
DEEPER = (
    Setting(1, 20, 60, 1, 6, 24),
    Setting(2, 20, 60, 2, 6, 24),
    Setting(3, 20, 60, 3, 6, 24),
    DEFAULT,
)
WIDER = (
    Setting(4, 2, 6, 3, 1, 4),
    Setting(4, 5, 15, 3, 2, 8),
    Setting(4, 10, 30, 3, 3, 12),
    DEFAULT,
)
SETTINGS = tuple(dict.fromkeys((*DEEPER, *WIDER)))


class Point(NamedTuple):
    """What a setting comes to."""

    setting: str
    months: int
    steps_percent: float
    steps_low: float  # of the 95 % interval
    steps_high: float
    completed_percent: float
    decisions: float  # a month
    simulator_calls: float  # a month
    milliseconds: float  # a decision, mean
    protocol: str


def main() -> None:
    """Play, print and write."""
    parser = OneLineParser(description="What the planner's depth and width are worth.")
    parser.add_argument("--opponent", default="rl4pnc")
    parser.add_argument("--first", type=whole_number(0), default=16, help="month to begin with")
    parser.add_argument("--episodes", type=whole_number(1), default=8, help="months")
    parser.add_argument("--results", type=path_argument, default=Path("runs/planner_curve"))
    parser.add_argument("--output", type=path_argument, help="folder for the CSV and the picture")
    parser.add_argument(
        "--rest", action="store_true", help="keep results that are there, play the missing ones"
    )
    options = parser.parse_args()
    choose("opponent", options.opponent, tuple(envs.OPPONENTS))
    months = len(envs.make_source(SCENARIOS).names("val"))
    if options.first + options.episodes > months:
        raise ValueError(
            f"--first {options.first} --episodes {options.episodes}: expected at most {months} "
            "months together, those that there are."
        )
    path = None
    if options.output is not None:
        path = options.output / f"planner_curve_{options.opponent}.csv"
        check_writable(path)
    points: dict[Setting, Point] = {}
    print(_row(Point._fields), _row(["---"] * len(Point._fields)), sep="\n", flush=True)
    for setting in SETTINGS:
        folder = options.results / options.opponent / setting.name
        result = evaluated(_rung(setting, options), folder, keep=options.rest)
        point = points[setting] = _point(setting, result)
        first = points[SETTINGS[0]]
        if (point.months, point.protocol) != (first.months, first.protocol):
            raise ValueError(
                f"{folder} has {point.months} months of protocol {point.protocol}, and "
                f"{first.setting} has {first.months} of {first.protocol}: play all anew in another "
                "--results."
            )
        print(_row(point), flush=True)
    if path is not None:
        _write(path, list(points.values()))
        draw(path.with_suffix(".png"), options.opponent, points)


def _rung(setting: Setting, options: Namespace) -> Rung:
    """Return how a setting is played: four months side by side, in this process alone."""
    return Rung(
        setting.name,
        (
            "agent=planner",
            *(f"agent.{name}={value}" for name, value in setting._asdict().items()),
            *(f"opponent={options.opponent}", PREVENTIVE, "split=val"),
            *("evaluation.num_workers=0", "evaluation.plots=false", "evaluation.num_envs=4"),
            f"evaluation.env.scenarios={SCENARIOS}",
            *(f"evaluation.first={options.first}", f"evaluation.episodes={options.episodes}"),
        ),
    )


def _point(setting: Setting, result: EvaluationResult) -> Point:
    summary = summarize(result)
    steps, completed = summary["steps_percent"], summary["completed_percent"]
    decisions, calls = summary["decisions"], summary["simulator_calls"]
    assert steps and completed and decisions and calls
    return Point(
        setting.name,
        len(result.episodes),
        round(steps.mean, 1),
        round(steps.low, 1),
        round(steps.high, 1),
        round(completed.mean, 1),
        round(decisions.mean),
        round(calls.mean),
        round(result.latency.mean, 1),
        result.protocol.short_hash,
    )


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _write(path: Path, points: Sequence[Point]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (Point._fields, *points)
    with atomic_write(path) as file:
        file.write("".join(",".join(map(str, line)) + "\n" for line in lines).encode())


def draw(path: Path, opponent: str, points: dict[Setting, Point]) -> None:
    """Draw the steps kept by depth and by width, each with what a decision takes."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    months = next(iter(points.values())).months
    figure.suptitle(f"agent=planner under {opponent}, {months} months")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, settings, what in (
        (panels[0], DEEPER, "depth"),
        (panels[1], WIDER, "width"),
    ):
        found = [points[setting] for setting in settings]
        means = [point.steps_percent for point in found]
        below = [point.steps_percent - point.steps_low for point in found]
        above = [point.steps_high - point.steps_percent for point in found]
        axes.errorbar(range(len(found)), means, [below, above], marker="o", capsize=4)
        axes.set_xticks(
            range(len(found)),
            [
                f"{getattr(setting, what)}\n{point.milliseconds:.0f} ms"
                for setting, point in zip(settings, found, strict=True)
            ],
        )
        other = f"width {DEFAULT.width}" if what == "depth" else f"depth {DEFAULT.depth}"
        axes.set(ylim=(0, 103), xlabel=f"{what}, at {other}; mean milliseconds a decision")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("steps survived, %, with 95 % intervals")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


if __name__ == "__main__":
    run_guarded(main)
