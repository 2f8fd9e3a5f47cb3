"""Plots of results as PNG files, drawn without a display and without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agents.evaluation import EvaluationResult, LoadingTrace
from agents.evaluation.statistics import METRIC
from agents.evaluation.tables import heading
from agents.runs.files import atomic_write

_SIZE = (8.0, 4.5)  # inches
_DPI = 120
_STEPS_PER_DAY = 288  # five minutes each


def write_plots(
    folder: Path, results: Sequence[EvaluationResult], traces: Sequence[LoadingTrace] = ()
) -> list[Path]:
    """Write what there is to draw: ``survival.png``, ``actions.png``, ``reward_latency.png``.

    And ``rho_1.png``, ``rho_2.png``, ... of the traces.

    Args:
        folder: an existing folder.
        results: one per agent, over the same episodes.
        traces: of episodes of the last agent.

    Returns:
        The files written, in this order.
    """
    paths = [
        write_plot(folder / "survival.png", lambda axes: draw_survival(axes, results)),
        write_plot(folder / "reward_latency.png", lambda axes: draw_reward_latency(axes, results)),
    ]
    if any(episode.substation_actions for result in results for episode in result.episodes):
        paths.insert(
            1, write_plot(folder / "actions.png", lambda axes: draw_actions(axes, results))
        )
    for number, trace in enumerate(traces, start=1):
        draw = partial(draw_rho, trace=trace, agent=results[-1].agent)
        paths.append(write_plot(folder / f"rho_{number}.png", draw))
    return paths


def draw_survival(axes: Axes, results: Sequence[EvaluationResult]) -> None:
    """Draw the share of episodes still running after each step, one curve per agent."""
    longest = 1
    for result in results:
        episodes = result.episodes
        lost = np.sort([episode.steps for episode in episodes if not episode.completed])
        last = max(episode.max_steps or episode.steps for episode in episodes)
        longest = max(longest, last)
        running = 100.0 * (1.0 - np.arange(len(lost) + 1) / len(episodes))
        steps = np.concatenate([[0], lost, [last]])
        shares = np.append(running, running[-1])
        axes.step(steps, shares, where="post", label=result.agent)
    axes.set(xlabel="environment steps", ylabel="episodes running, %")
    axes.set(xlim=(0, longest), ylim=(0, 103))
    axes.set_title(f"Survival over {len(results[0].episodes)} episodes")
    axes.legend()
    axes.grid(alpha=0.3)


def draw_actions(axes: Axes, results: Sequence[EvaluationResult]) -> None:
    """Draw how often each agent acted at each substation, and on lines, a bar each."""
    width = 0.8 / len(results)
    num_substations = max(len(episode.substation_actions) for episode in results[0].episodes)
    places = np.arange(num_substations + 1)
    for number, result in enumerate(results):
        by_substation = np.sum([one.substation_actions for one in result.episodes], axis=0)
        lines = sum(sum(one.line_actions) for one in result.episodes)
        heights = np.append(by_substation, lines) / len(result.episodes)
        axes.bar(places + (number + 0.5) * width - 0.4, heights, width, label=result.agent)
    axes.set_xticks(places, [*map(str, range(num_substations)), "lines"])
    axes.set(xlabel="substation acted on", ylabel="actions per episode")
    axes.set_title("Where agents act")
    axes.legend()
    axes.grid(axis="y", alpha=0.3)


def draw_reward_latency(axes: Axes, results: Sequence[EvaluationResult]) -> None:
    """Draw each agent's mean reward against its median milliseconds a decision."""
    metric = METRIC["reward"]
    for result in results:
        reward = float(np.mean([episode.reward for episode in result.episodes]))
        axes.scatter(max(result.latency.median, 1e-4), reward)
        axes.annotate(
            result.agent,
            (max(result.latency.median, 1e-4), reward),
            textcoords="offset points",
            xytext=(6, 4),
        )
    axes.set_xscale("log")
    axes.margins(x=0.2, y=0.15)
    axes.set(xlabel="milliseconds per decision, median", ylabel=f"mean {heading(metric, results)}")
    axes.set_title("Reward against latency")
    axes.grid(alpha=0.3)


def draw_rho(axes: Axes, *, trace: LoadingTrace, agent: str) -> None:
    """Draw the highest loading over time, with the agent's actions marked."""
    record, rho = trace.record, trace.rho_max
    if not record.completed and record.agent_error is None:
        rho = rho[:-1]  # after the blackout there is nothing to load
    days = np.arange(len(rho)) / _STEPS_PER_DAY
    axes.plot(days, rho, linewidth=0.6, color="tab:blue", label="highest rho")
    acted = np.array([step for step in record.action_steps if step < len(rho)], dtype=np.int64)
    if len(acted):
        axes.scatter(
            days[acted], rho[acted], marker="v", s=22, color="tab:red", label="action", zorder=3
        )
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle="--", label="limit")
    axes.set(xlabel="days", ylabel="highest rho", xlim=(0, max(days[-1], 1 / _STEPS_PER_DAY)))
    axes.set_title(f"{agent}, {record.scenario}\n{_short(record.end)}", fontsize=9)
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)


def draw_coverage(
    axes: Axes,
    coverage: np.ndarray,
    elsewhere: np.ndarray,
    among_best: np.ndarray,
    *,
    always: int,
) -> None:
    """Draw what sets of ``always`` to K mined actions cover.

    Args:
        axes: to draw on.
        coverage: ``[K]`` mean relief of the cases that they were chosen on, of what is possible.
        elsewhere: ``[K]`` the same of cases that they were not chosen on; nan where there are none.
        among_best: ``[K]`` share of cases that one of the best actions is there for.
        always: actions that every set has.
    """
    shown = slice(always - 1, None)
    sizes = np.arange(always, len(coverage) + 1)
    axes.plot(sizes, coverage[shown], label="relief, of the cases chosen on")
    axes.plot(sizes, elsewhere[shown], label="relief, of other cases")
    axes.plot(sizes, among_best[shown], linestyle=":", label="share of cases with one of the best")
    axes.set(xlabel="actions in the set", ylabel="coverage", ylim=(0.0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def write_plot(path: Path, draw: Callable[[Axes], None]) -> Path:
    """Write what ``draw`` draws as a PNG file; return its path."""
    # a figure with a canvas of its own: pyplot would keep it in a global list
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    with atomic_write(path) as file:
        canvas.print_png(file)
    return path


def _short(text: str) -> str:
    return text if len(text) <= 110 else text[:107] + "..."
