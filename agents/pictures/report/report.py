"""Plays an agent and writes its HTML report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.agent import Agent
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeRecord, EpisodeSpec, Protocol, describe_protocol
from agents.pictures.report.losses import MOST_LINES
from agents.pictures.report.page import render_page
from agents.pictures.report.recorder import Recording, record_episodes
from agents.pictures.report.trace import EpisodeTrace
from agents.runs.files import atomic_write


def write_report(
    path: Path,
    agent: Agent,
    make_environment: EnvironmentFactory,
    episode_list: Sequence[EpisodeSpec],
    *,
    name: str,
    episodes: int | None = None,
    num_envs: int = 4,
    protocol: Protocol | None = None,
    evaluated: Sequence[EpisodeRecord] = (),
) -> tuple[EpisodeTrace, ...]:
    """Play an agent as the evaluation does and write the report of it.

    Args:
        path: the HTML file; its folder must exist.
        agent: must pickle; a copy of it plays.
        make_environment: of the evaluation's environments.
        episode_list: all episodes of the evaluation.
        name: of the agent.
        episodes: how many of ``episode_list`` to show, from the first on; None for all.
        num_envs: episodes that the evaluation plays side by side.
        protocol: of the evaluation; None to derive it.
        evaluated: what the evaluation found of the first episodes, in order; where the agent does
            not repeat itself, the report says so.

    Returns:
        What was recorded.

    Raises:
        ValueError: not a power grid, more episodes than there are, or none.
    """
    recording = record_episodes(
        agent, make_environment, episode_list, episodes=episodes, num_envs=num_envs
    )
    if protocol is None:
        protocol = describe_protocol(make_environment, episode_list)
    facts = {
        **protocol_facts(protocol),
        **_risk_facts(recording, protocol),
        **_differences(evaluated, [one.record for one in recording.episodes]),
    }
    page = render_page(
        recording,
        agent=name,
        facts=facts,
        idle_gate=protocol.idle_gate,
        n1_gate=_option(protocol, "n1_gate"),
    )
    with atomic_write(path) as file:
        file.write(page.encode())
    return recording.episodes


def protocol_facts(protocol: Protocol) -> Mapping[str, str]:
    """Return what a reader must know about how it was played, label -> text."""
    gate = protocol.idle_gate
    steps = protocol.max_steps
    listed = f"{protocol.scenarios}, {protocol.split} split, {protocol.episodes} in all"
    parameters = ", ".join(f"{one.name} {json.loads(one.value)}" for one in protocol.parameters)
    return {
        "Environment": f"{protocol.environment}, {protocol.grid}, {protocol.simulator}",
        "Scenarios": listed,
        "Length": "whole scenarios" if steps is None else f"at most {steps:,} steps",
        "Idle gate": (
            "none: it decides at every step"
            if gate is None
            else f"asked from {gate:.0%} loading on"
        ),
        "Open lines": "put back for it" if protocol.reconnect_lines else "its own business",
        "Rules": parameters or "the grid's own",
        "Versions": ", ".join(f"{one.name} {one.value}" for one in protocol.versions),
        "Protocol": protocol.short_hash,
    }


def _risk_facts(recording: Recording, protocol: Protocol) -> Mapping[str, str]:
    """Say who takes lines out, when else the agent is asked, and which losses are looked at."""
    opponent, layout = _option(protocol, "opponent"), recording.layout
    asked = []
    if every := _option(protocol, "ask_every"):
        asked.append(f"every {every} steps")
    if _option(protocol, "ask_at_attacks"):
        asked.append("when an attack begins or ends")
    if limit := _option(protocol, "n1_gate"):
        asked.append(f"from {limit:.0%} loading after the worst loss on")
    names = [
        f"{layout.line_or_substation[line]}\u2013{layout.line_ex_substation[line]}"
        for line in recording.at_risk
    ]
    whose = "that the opponent may take out" if opponent else "that the grid can lose"
    most = f", at each step the {MOST_LINES} most loaded" if len(names) > MOST_LINES else ""
    facts = {
        "Also asked": "; ".join(asked),
        "Opponent": _opponent_text(opponent) if opponent else "",
        "Losses looked at": f"the {len(names)} lines {whose}{most}: {', '.join(names)}"
        + ("; also while an attack holds one of them out" if opponent else ""),
    }
    return {label: text for label, text in facts.items() if text}


def _opponent_text(opponent: Mapping[str, Any]) -> str:
    if {"duration", "period"} <= opponent.keys():
        return f"{opponent['kind']}, {opponent['duration']} steps of every {opponent['period']}"
    return str(opponent["kind"])


def _option(protocol: Protocol, name: str) -> Any:
    """Return an option that the environments were made with, None if they were not."""
    return next((json.loads(one.value) for one in protocol.options if one.name == name), None)


def _differences(
    evaluated: Sequence[EpisodeRecord], shown: Sequence[EpisodeRecord]
) -> Mapping[str, str]:
    """Say which episodes did not go as in the evaluation, as networks on a GPU may have it."""
    differing = [
        f"{before.scenario} lasted {before.steps:,} steps in the evaluation, {after.steps:,} here"
        for before, after in zip(evaluated, shown, strict=False)
        if _course(before) != _course(after)
    ]
    return {"Played again, it went otherwise": "; ".join(differing)} if differing else {}


def _course(record: EpisodeRecord) -> tuple[object, ...]:
    return record.scenario, record.seed, record.steps, record.action_steps, record.actions
