"""Evaluates an agent beside the baselines, and writes the table down."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from tqdm import tqdm

from agents.base import Agent
from agents.composition import build_agent
from agents.composition import build_evaluation_factory
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator
from agents.evaluation import EpisodePlan
from agents.evaluation import EpisodeRecord
from agents.gif import record_episode
from agents.reports import EvaluationResult
from agents.reports import format_table
from agents.reports import write_results


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An agent to evaluate."""

    name: str  # in the table
    agent: Agent
    make_environment: EnvironmentFactory


def agent_name(agent: Mapping[str, Any]) -> str:
    """Return the table name of a configured agent: ``MuZeroAgent`` is "muzero".

    Args:
        agent: the config group.
    """
    name = str(agent["_target_"]).rpartition(".")[2].removesuffix("Agent")
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return {"mu_zero": "muzero"}.get(snake, snake)


def baseline_entries(
    env: Mapping[str, Any],
    *,
    split: str,
    max_steps: int | None,
    observation_space: gym.spaces.Box,
    action_space: gym.spaces.Discrete,
    seed: int,
) -> list[Entry]:
    """Return the environment's baselines, ready to be evaluated.

    Args:
        env: the config group.
        split: of the scenarios.
        max_steps: cap of an episode, environment steps; None for none.
        observation_space: of one environment.
        action_space: of one environment.
        seed: of the agents.
    """
    return [
        Entry(
            name=name,
            agent=build_agent(
                config,
                observation_space=observation_space,
                action_space=action_space,
                seed=seed,
            ),
            make_environment=build_evaluation_factory(
                env, split=split, max_steps=max_steps, plain=name in env["plain_agents"]
            ),
        )
        for name, config in env["baselines"].items()
    ]


def compare(
    entries: Sequence[Entry],
    plan: Sequence[EpisodePlan],
    *,
    num_envs: int,
    num_workers: int,
) -> list[EvaluationResult]:
    """Play every entry over the same episodes, with a progress bar on a terminal.

    Args:
        entries: agents, in the order of the table.
        plan: the episodes.
        num_envs: episodes side by side.
        num_workers: processes; 0 plays in this one.
    """
    results = []
    for entry in entries:
        with tqdm(
            total=len(plan), desc=entry.name, unit="episode", disable=not sys.stderr.isatty()
        ) as bar:

            def advance(episode: EpisodeRecord, bar: tqdm = bar) -> None:
                bar.update(1)

            evaluator = EpisodeEvaluator(
                entry.make_environment,
                plan,
                num_envs=num_envs,
                num_workers=num_workers,
                on_episode=advance,
            )
            try:
                results.append(evaluator.evaluate(entry.agent, name=entry.name))
            finally:
                evaluator.close()
    return results


def report(
    results: Sequence[EvaluationResult], env: Mapping[str, Any], *, split: str, folder: Path
) -> None:
    """Print the table and write JSON and CSV into ``folder``.

    Args:
        results: one per agent.
        env: the config group, for the heading.
        split: of the scenarios.
        folder: an existing folder.
    """
    print(f"\n{_heading(results, env, split)}\n{format_table(results)}")
    json_path, csv_path = write_results(folder, results)
    print(f"\nWritten to {json_path} and {csv_path}")


def draw(entry: Entry, plan: EpisodePlan, path: Path) -> None:
    """Write a GIF of the entry's first episode.

    Args:
        entry: who plays.
        plan: the episode.
        path: the GIF; its folder must exist.
    """
    frames = record_episode(entry.agent, entry.make_environment, plan, path)
    print(f"Drew {frames} decisions into {path}")


def _heading(results: Sequence[EvaluationResult], env: Mapping[str, Any], split: str) -> str:
    episodes = results[0].episodes
    limits = sorted({episode.max_steps for episode in episodes if episode.max_steps is not None})
    length = "" if not limits else f" of {limits[0]} steps" if len(limits) == 1 else ""
    kwargs = env["kwargs"]
    if "scenarios" not in kwargs:
        return f"{env['id']}: {len(episodes)} episodes{length}"
    wrappers = []
    if kwargs.get("idle_gate") is not None:
        wrappers.append(f"idle gate at rho {kwargs['idle_gate']}")
    if kwargs.get("reconnect_lines"):
        wrappers.append("lines reconnected")
    extra = f"; {', '.join(wrappers)}" if wrappers else ""
    bare = [result.agent for result in results if result.agent in env["plain_agents"]]
    if wrappers and bare and len(bare) < len(results):
        extra += f" (but for {', '.join(bare)})"
    played = f"{len(episodes)} scenarios{length}"
    return f"{env['id']}: {played}, {kwargs['scenarios']}, split {split}{extra}"
