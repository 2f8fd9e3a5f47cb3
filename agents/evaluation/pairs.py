"""Compares results on the same scenarios: paired differences from the first.

Pairing matters: scenarios differ far more than agents do, and the difference on one and the same
scenario leaves that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple

from agents.evaluation.protocol import Protocol, differing_fields, explain_difference
from agents.evaluation.records import EvaluationResult
from agents.evaluation.statistics import METRIC, Estimate, estimate, summarize, values
from agents.evaluation.tables import heading, markdown, mean_text, with_interval
from powergrid_muzero.names import choose

COMPARED = ("steps_percent", "completed_percent", "reward")  # with intervals and differences
_MEANS = ("decisions", "actions", "mean_distance", "simulator_calls")
_COUNTED = ("illegal_actions", "agent_errors")  # columns only where there are any


class Comparison(NamedTuple):
    """Agents on the same scenarios."""

    results: tuple[EvaluationResult, ...]  # the first is what the others are compared with
    summaries: tuple[dict[str, Estimate], ...]  # one per result: metric name -> its mean
    differences: tuple[dict[str, Estimate], ...]  # one per result but the first: of it minus it
    across: tuple[str, ...]  # fields of the protocol in which they differ, as was allowed


def compare_results(
    results: Sequence[EvaluationResult], *, across: Sequence[str] = ()
) -> Comparison:
    """Compare each result with the first, scenario by scenario.

    Args:
        results: at least two; a repeated one is dropped, so files may share their baselines.
        across: fields of the protocol that may differ, such as "idle_gate"; the table then has a
            column for each.

    Raises:
        ValueError: fewer than two different results, or results of different protocols; one line
            names the first fields that differ.
    """
    for name in across:
        choose("protocol field", name, [one.name for one in fields(Protocol)])
    different = _without_repeats(results)
    if len(different) < 2:
        raise ValueError(
            f"{len(different)} result is there to compare; at least 2 different ones are needed."
        )
    first = different[0]
    for other in different[1:]:
        _require_same_protocol(first, other, across)
    episodes = [result.episodes for result in different]
    differences = []
    for other in episodes[1:]:
        found: dict[str, Estimate] = {}
        for name in (*COMPARED, *_MEANS):
            ours, theirs = values(other, METRIC[name]), values(first.episodes, METRIC[name])
            if ours is not None and theirs is not None:
                found[name] = estimate(ours - theirs)
        differences.append(found)
    return Comparison(
        results=tuple(_with_own_names(different)),
        summaries=tuple(summarize(result) for result in different),
        differences=tuple(differences),
        across=tuple(
            name
            for name in across
            if any(
                getattr(result.protocol, name) != getattr(first.protocol, name)
                for result in different
            )
        ),
    )


def to_markdown(comparison: Comparison) -> str:
    """Return the comparison as one markdown table with a line on how it was made."""
    results, summaries = comparison.results, comparison.summaries
    first = results[0]
    columns = [["agent", *(result.agent for result in results)]]
    for name in comparison.across:
        columns.append([name, *(str(getattr(result.protocol, name)) for result in results)])
    for name in COMPARED:
        metric = METRIC[name]
        found = [summary.get(name) for summary in summaries]
        if all(one is None for one in found):
            continue
        columns.append([heading(metric, results), *(with_interval(metric, one) for one in found)])
        paired = [with_interval(metric, one.get(name), sign="+") for one in comparison.differences]
        columns.append([f"difference to {first.agent}", "", *paired])
    for name in (*_MEANS, *_COUNTED):
        metric = METRIC[name]
        found = [summary.get(name) for summary in summaries]
        if all(one is None for one in found):
            continue
        if name in _COUNTED and not any(one is not None and one.mean for one in found):
            continue
        columns.append([heading(metric, results), *(mean_text(metric, one) for one in found)])
    latencies = (f"{result.latency.median:.2f} / {result.latency.p99:.2f}" for result in results)
    columns.append(["ms/decision, median / 99 %", *latencies])
    return f"{markdown(columns)}\n\n{_footnote(comparison)}\n"


def _require_same_protocol(
    first: EvaluationResult, other: EvaluationResult, across: Sequence[str]
) -> None:
    differing = differing_fields(first.protocol, other.protocol)
    if set(differing) <= set(across):
        return
    allowed = {name: getattr(first.protocol, name) for name in across}
    ours, theirs = first.protocol, replace(other.protocol, **allowed)
    raise ValueError(
        f"{first.agent} (protocol {ours.short_hash}) and {other.agent} (protocol "
        f"{other.protocol.short_hash}) were not played by the same protocol: they differ in "
        f"{explain_difference(ours, theirs)}. Evaluate one of them again."
    )


def _without_repeats(results: Sequence[EvaluationResult]) -> list[EvaluationResult]:
    """Leave out results of the same agent with the same outcome."""
    kept: dict[object, EvaluationResult] = {}
    for result in results:
        outcome = tuple(
            replace(episode, seconds=0.0, median_ms=0.0, p99_ms=0.0) for episode in result.episodes
        )
        kept.setdefault((result.agent, result.protocol, outcome), result)
    return list(kept.values())


def _with_own_names(results: Sequence[EvaluationResult]) -> list[EvaluationResult]:
    """Tell agents of one name apart by their weights or a number."""
    named = []
    taken: set[str] = set()
    for result in results:
        name = result.agent
        if name in taken and result.conditions.weights:
            name = f"{name} ({result.conditions.weights})"
        number = 1
        while name in taken:
            number += 1
            name = f"{result.agent} ({number})"
        taken.add(name)
        named.append(replace(result, agent=name))
    return named


def _footnote(comparison: Comparison) -> str:
    protocol = comparison.results[0].protocol
    what = f"{protocol.episodes} episodes of {protocol.environment}"
    if protocol.grid:
        what = (
            f"{protocol.episodes} scenarios of {protocol.environment} ({protocol.scenarios}, split "
            f"{protocol.split})"
        )
    versions = ", ".join(f"{one.name} {one.value}" for one in protocol.versions)
    return (
        f"Means over {what}; in brackets 95 % bootstrap intervals over them, of differences paired "
        f"by scenario. Protocol `{protocol.short_hash}`: {versions}."
    )
