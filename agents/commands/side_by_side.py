"""Evaluates several agents on the same episodes, and prints, writes and logs the results."""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from agents.agent import Agent
from agents.configuration.composition import build_agent, build_evaluation_factory
from agents.environments import EnvironmentFactory
from agents.evaluation import (
    AgentNotes,
    EpisodeEvaluator,
    EpisodeRecord,
    EpisodeSpec,
    EvaluationResult,
    log_metrics,
    summarize,
    write_results,
)
from agents.evaluation.protocol import Protocol, explain_difference
from agents.evaluation.tables import format_table, tell_incidents
from agents.pictures.gif import record_episode
from agents.runs.devices import choose_device
from agents.runs.loggers import CompositeLogger

_EPISODE_COLUMNS = (  # of the logged table
    *("scenario", "seed", "steps", "completed", "reward", "decisions", "attacks"),
    *("attacks_survived", "end"),
)


@dataclass(frozen=True, kw_only=True)
class EvaluatedAgent:
    """An agent to evaluate."""

    name: str  # in the table
    agent: Agent
    make_environment: EnvironmentFactory
    notes: AgentNotes = field(default_factory=AgentNotes)


def agent_name(agent: Mapping[str, Any], option: str | None = None) -> str:
    """Return what tables call a configured agent: its option, as in ``agent=greedy``.

    Args:
        agent: the config group.
        option: that was chosen; None where nobody knows: ``MuZeroAgent`` is "muzero".
    """
    if option is not None:
        return option
    name = str(agent["_target_"]).rpartition(".")[2].removesuffix("Agent")
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return {"mu_zero": "muzero"}.get(snake, snake)


def agent_notes(agent: Mapping[str, Any], *, seed: int, weights: str = "") -> AgentNotes:
    """Return what a result says of a configured agent.

    Args:
        agent: the config group.
        seed: of the agent.
        weights: run folder or file that they came from.
    """
    device = str(choose_device(agent["device"])) if "device" in agent else ""
    configuration = json.dumps(agent, sort_keys=True, default=str)
    return AgentNotes(configuration=configuration, weights=weights, seed=seed, device=device)


def baseline_entries(
    env: Mapping[str, Any],
    *,
    split: str,
    max_steps: int | None,
    observation_space: gym.spaces.Box,
    action_space: gym.spaces.Discrete,
    seed: int,
) -> list[EvaluatedAgent]:
    """Return the environment's baselines, ready to be evaluated.

    Args:
        env: of ``evaluation_environment``.
        split: of the scenarios.
        max_steps: cap of an episode, environment steps; None for none.
        observation_space: of one environment.
        action_space: of one environment.
        seed: of the agents.
    """
    entries = []
    for name, config in env["baselines"].items():
        agent = build_agent(
            config,
            observation_space=observation_space,
            action_space=action_space,
            seed=seed,
            key=f"env.baselines.{name}",
        )
        make_environment = build_evaluation_factory(
            env, split=split, max_steps=max_steps, changes=agent.as_baseline
        )
        notes = agent_notes(config, seed=seed)
        entries.append(
            EvaluatedAgent(name=name, agent=agent, make_environment=make_environment, notes=notes)
        )
    return entries


def meet(entry: EvaluatedAgent) -> None:
    """Let a copy of the agent meet its environment, before anything is played.

    Args:
        entry: who plays where.

    Raises:
        ValueError: they do not go together.
    """
    env = entry.make_environment(1)
    try:
        pickle.loads(pickle.dumps(entry.agent)).bind(env)
    finally:
        env.close()


def evaluate_entries(
    entries: Sequence[EvaluatedAgent],
    episode_list: Sequence[EpisodeSpec],
    *,
    split: str,
    num_envs: int,
    num_workers: int,
) -> list[EvaluationResult]:
    """Play every entry over the same episodes, with a progress bar on a terminal.

    An agent that fails ends the episode in which it does; the result counts it.

    Args:
        entries: agents, in the order of the table.
        episode_list: the episodes.
        split: that they are of.
        num_envs: episodes side by side.
        num_workers: processes; 0 plays in this one.
    """
    results = []
    for entry in entries:
        with tqdm(
            total=len(episode_list),
            desc=entry.name,
            unit="episode",
            disable=not sys.stderr.isatty(),
        ) as bar:

            def advance(episode: EpisodeRecord, bar: tqdm = bar) -> None:
                bar.update(1)

            evaluator = EpisodeEvaluator(
                entry.make_environment,
                episode_list,
                num_envs=num_envs,
                num_workers=num_workers,
                record_errors=True,
                on_episode=advance,
            )
            try:
                results.append(
                    evaluator.evaluate(entry.agent, name=entry.name, split=split, notes=entry.notes)
                )
            finally:
                evaluator.close()
    return results


def report(results: Sequence[EvaluationResult], *, folder: Path) -> None:
    """Write JSON and CSV into ``folder``; print the table, and what agents did wrong.

    Args:
        results: one per agent.
        folder: an existing folder.
    """
    try:
        json_path, csv_path = write_results(folder, results)
    finally:  # what was played must not be lost to a full disk, nor to a closed terminal
        print(f"\n{heading(results)}\n{format_table(results)}")
        for result in results:
            for line in tell_incidents(result):
                print(line)
    print(f"\nWritten to {json_path} and {csv_path}")


def heading(results: Sequence[EvaluationResult]) -> str:
    """Return one line that says what was played, by the last result's protocol.

    Args:
        results: one per agent.
    """
    result = results[-1]
    protocol, episodes = result.protocol, result.episodes
    limits = sorted({episode.max_steps for episode in episodes if episode.max_steps is not None})
    length = "" if not limits else f" of {limits[0]} steps" if len(limits) == 1 else ""
    if not protocol.grid:
        return f"{protocol.environment}: {len(episodes)} episodes{length}"
    wrappers = []
    if protocol.idle_gate is not None:
        wrappers.append(f"idle gate at rho {protocol.idle_gate}")
    if protocol.reconnect_lines:
        wrappers.append("lines reconnected")
    extra = f"; {', '.join(wrappers)}" if wrappers else ""
    return (
        f"{protocol.environment}: {len(episodes)} scenarios{length}, {protocol.scenarios}, split "
        f"{protocol.split}{extra}; protocol {protocol.short_hash}{_others(results, protocol)}"
    )


def log_results(
    results: Sequence[EvaluationResult],
    logger: CompositeLogger,
    *,
    prefix: str,
    env_steps: int = 0,
) -> None:
    """Log each agent's means under ``prefix/agent/metric``, with its intervals' ends, in one row.

    And a table of all episodes, ``prefix/episodes``.

    Args:
        results: one per agent.
        logger: gets the figures.
        prefix: such as "test".
        env_steps: where on the axis of a training they belong.
    """
    metrics: dict[str, float] = {}
    for result in results:
        name = f"{prefix}/{result.agent}"
        metrics.update({f"{name}/{key}": one for key, one in log_metrics(result.episodes).items()})
        for key, estimate in summarize(result).items():
            metrics[f"{name}/{key}_low"] = estimate.low
            metrics[f"{name}/{key}_high"] = estimate.high
        metrics[f"{name}/ms_median"] = result.latency.median
        metrics[f"{name}/ms_p99"] = result.latency.p99
    logger.log(metrics, env_steps=env_steps)
    rows = [
        (result.agent, *(getattr(episode, name) for name in _EPISODE_COLUMNS))
        for result in results
        for episode in result.episodes
    ]
    logger.log_table(f"{prefix}/episodes", ("agent", *_EPISODE_COLUMNS), rows, env_steps=env_steps)
    for result in results:
        counts = np.array([episode.substation_actions for episode in result.episodes])
        if counts.size:
            logger.log_histogram(
                f"{prefix}/{result.agent}/actions_by_substation",
                counts.sum(axis=0),
                env_steps=env_steps,
            )


def draw(entry: EvaluatedAgent, spec: EpisodeSpec, path: Path) -> None:
    """Write a GIF of the entry's first episode.

    Args:
        entry: who plays.
        spec: the episode.
        path: the GIF; its folder must exist.
    """
    frames = record_episode(entry.agent, entry.make_environment, spec, path)
    print(f"Drew {frames} decisions into {path}")


def _others(results: Sequence[EvaluationResult], protocol: Protocol) -> str:
    """Say which agents played by another protocol."""
    told = [
        f"{result.agent} played by another protocol: "
        f"{explain_difference(result.protocol, protocol)}"
        for result in results
        if result.protocol != protocol
    ]
    return "".join(f" ({text})" for text in told)
