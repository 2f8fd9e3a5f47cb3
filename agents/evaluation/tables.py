"""Tables of results: plain text for a terminal, markdown for documents."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from agents.evaluation.records import EpisodeRecord, EvaluationResult
from agents.evaluation.statistics import METRIC, Estimate, Metric, summarize

_SHOWN = ("steps_percent", "completed_percent", "reward", "decisions", "actions", "mean_distance")
_WITH_INTERVAL = ("steps_percent", "completed_percent", "reward")
_ATTACKS = ("attacks", "attacks_survived")  # columns only where there is an opponent
_ERRORS = ("illegal_actions", "agent_errors")  # columns only where there are any
_MOST_BARS = 16  # of episodes in a notebook
_MOST_INCIDENTS = 3  # told of one kind and agent


def format_table(results: Sequence[EvaluationResult], *, width: int = 100) -> str:
    """Return the results as a table in plain text, one agent a line.

    Means over episodes with 95 % bootstrap intervals; milliseconds a decision are the median and
    the 99th percentile over all decisions. What does not fit goes into a second table below.

    Args:
        results: one per agent.
        width: characters of a line.
    """
    summaries = [summarize(result) for result in results]
    agents = ["agent", *(result.agent for result in results)]
    groups: list[list[list[str]]] = []  # columns that stay together
    for name in (*_SHOWN, *_ATTACKS, "simulator_calls", *_ERRORS):
        metric = METRIC[name]
        found = [summary.get(name) for summary in summaries]
        if all(one is None for one in found):
            continue
        if name in _ERRORS and not any(one is not None and one.mean for one in found):
            continue
        groups.append([[heading(metric, results), *(mean_text(metric, one) for one in found)]])
        if name in _WITH_INTERVAL:
            groups[-1].append(["95% interval", *(_interval(metric, one) for one in found)])
    groups.append(
        [
            ["ms median", *(f"{result.latency.median:.2f}" for result in results)],
            ["99%", *(f"{result.latency.p99:.2f}" for result in results)],
        ]
    )
    tables: list[list[list[str]]] = [[agents]]
    for group in groups:
        if len(tables[-1]) > 1 and _width([*tables[-1], *group]) > width:
            tables.append([agents])
        tables[-1] += group
    return "\n\n".join(align(columns) for columns in tables)


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(2 + max(map(len, column)) for column in columns) - 2


def markdown_summary(results: Sequence[EvaluationResult]) -> str:
    """Return the results as a markdown table, one agent a line, with a line on how it was made.

    Unlike the table of ``pairs``, it takes a single result, and results that have different
    episodes: each line says how many, and the hash of the protocol that they were played by.
    """
    of_scenarios = all(result.protocol.grid for result in results)
    columns = [
        ["agent", *(result.agent for result in results)],
        [
            "scenarios" if of_scenarios else "episodes",
            *(str(len(result.episodes)) for result in results),
        ],
    ]
    summaries = [summarize(result) for result in results]
    for name in ("steps_percent", "completed_percent", *_ATTACKS, "decisions", "simulator_calls"):
        metric = METRIC[name]
        found = [summary.get(name) for summary in summaries]
        if all(one is None for one in found):
            continue
        show = with_interval if name in _WITH_INTERVAL else mean_text
        columns.append([heading(metric, results), *(show(metric, one) for one in found)])
    columns += [
        ["ms/decision, mean", *(f"{result.latency.mean:.2f}" for result in results)],
        ["protocol", *(f"`{result.protocol.short_hash}`" for result in results)],
    ]
    protocol = results[0].protocol
    what = f"episodes of {protocol.environment}"
    if of_scenarios:
        what = f"scenarios of {protocol.environment} ({protocol.scenarios}, split {protocol.split})"
    footnote = f"Means over {what}; in brackets 95 % bootstrap intervals over them."
    return f"{markdown(columns)}\n\n{footnote}\n"


def html_summary(results: Sequence[EvaluationResult]) -> str:
    """Return the results as HTML for notebooks: a table, and a bar for each episode of the last.

    A bar is the share of the steps that an episode lasted; pointing at it tells how it ended.
    """
    columns: list[tuple[str, list[str]]] = [("agent", [result.agent for result in results])]
    summaries = [summarize(result) for result in results]
    for name in ("steps_percent", "completed_percent", "reward", "decisions", *_ATTACKS):
        metric = METRIC[name]
        found = [summary.get(name) for summary in summaries]
        if any(one is not None for one in found):
            show = with_interval if name in _WITH_INTERVAL else mean_text
            columns.append((heading(metric, results), [show(metric, one) for one in found]))
    head = "".join(f"<th>{escape(heading)}</th>" for heading, _ in columns)
    rows = zip(*(cells for _, cells in columns), strict=True)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    shown = results[-1].episodes[:_MOST_BARS]
    bars = "".join(_html_bar(number, episode) for number, episode in enumerate(shown, start=1))
    more = len(results[-1].episodes) - len(shown)
    note = f"<p>and {more} more</p>" if more else ""
    return (
        f"<div>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>\n</table>\n"
        f"<p>Episodes of {escape(results[-1].agent)}, and how far they came:</p>\n"
        f"<table>\n<tbody>{bars}</tbody>\n</table>\n{note}</div>"
    )


def _html_bar(number: int, episode: EpisodeRecord) -> str:
    share = 1.0 if episode.max_steps is None else episode.steps / episode.max_steps
    made_of = episode.scenario or f"seed {episode.seed}"
    colour = "#3273ab" if episode.completed else "#cc3a12"
    bar = f"width: {200 * share:.0f}px; height: 10px; background: {colour}"
    frame = "width: 200px; background: #e3e8ed"
    steps = f"{episode.steps:,} steps"
    return (
        f'<tr title="{escape(made_of)}: {escape(episode.end)}"><td>{number}</td><td>'
        f'<div style="{frame}"><div style="{bar}"></div></div></td><td>{steps}</td></tr>'
    )


def with_interval(metric: Metric, found: Estimate | None, *, sign: str = "") -> str:
    """Return a mean with its interval, such as "50.0 [40.0, 60.0]"; "-" where there is none.

    Args:
        metric: of the mean.
        found: the mean.
        sign: "+" to show it for positive numbers too.
    """
    if found is None:
        return "-"
    mean, low, high = (number(value, metric.digits, sign=sign) for value in found)
    return f"{mean} [{low}, {high}]"


def heading(metric: Metric, results: Sequence[EvaluationResult]) -> str:
    """Return a metric's column heading, with the reward's name where all results agree on it.

    Args:
        metric: of the column.
        results: at least one.
    """
    names = {result.protocol.reward for result in results if result.protocol.grid}
    reward = names.pop() if len(names) == 1 else ""
    reward = {"l2rpn": "L2RPN"}.get(reward, reward)
    return metric.heading.format(reward=reward).strip()


def align(columns: Sequence[Sequence[str]]) -> str:
    """Return columns, each a heading and its cells, as lines of equal width; the first to the left.

    Args:
        columns: of equal length.
    """
    padded = []
    for number, column in enumerate(columns):
        width = max(len(cell) for cell in column)
        cells = [cell.rjust(width) if number else cell.ljust(width) for cell in column]
        padded.append([cells[0], "-" * width, *cells[1:]])
    return "\n".join("  ".join(line) for line in zip(*padded, strict=True))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def markdown(columns: Sequence[Sequence[str]]) -> str:
    """Return columns, each a heading and its cells, as a markdown table; the first to the left."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    rows.insert(1, ["---" if not number else "---:" for number in range(len(columns))])
    return "\n".join(_row(row) for row in rows)


def number(value: float, digits: int, *, sign: str = "") -> str:
    """Return a number with ``digits`` after the point, none and commas from 1,000 on.

    Args:
        value: to be shown.
        digits: after the point.
        sign: "+" to show it for positive ones too.
    """
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.{digits}f}"


def mean_text(metric: Metric, found: Estimate | None) -> str:
    """Return a mean alone, "-" where there is none."""
    return "-" if found is None else number(found.mean, metric.digits)


def tell_incidents(result: EvaluationResult) -> list[str]:
    """Return one line for each kind of mistake the agent made, with where it was made first.

    An agent that returned invalid actions, raised, or chose illegal actions is told of by number
    of episodes, scenario, decision and step.
    """
    lines = []
    failed = [episode for episode in result.episodes if episode.agent_error is not None]
    if failed:
        lines.append(
            f"{result.agent} failed in {_episodes(len(failed), len(result.episodes))}, which ended "
            f"there: {_places(failed, 'agent_error')}"
        )
    illegal = [episode for episode in result.episodes if episode.first_illegal is not None]
    if illegal:
        count = sum(episode.illegal_actions for episode in illegal)
        actions = "1 illegal action" if count == 1 else f"{count} illegal actions"
        lines.append(
            f"{result.agent} chose {actions} in {_episodes(len(illegal), len(result.episodes))}, "
            f"which did nothing; first: {_places(illegal, 'first_illegal')}"
        )
    return lines


def _episodes(count: int, of: int) -> str:
    return f"{count} of {of} episode{'s' if of > 1 else ''}"


def _places(episodes: Sequence[EpisodeRecord], field: str) -> str:
    told = []
    for episode in episodes[:_MOST_INCIDENTS]:
        incident = getattr(episode, field)
        name = f"scenario {episode.scenario}" if episode.scenario else f"seed {episode.seed}"
        told.append(
            f"{name}, decision {incident.decision} at step {incident.step}: {incident.text}"
        )
    more = len(episodes) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _interval(metric: Metric, found: Estimate | None) -> str:
    if found is None:
        return "-"
    return f"{number(found.low, metric.digits)} .. {number(found.high, metric.digits)}"
