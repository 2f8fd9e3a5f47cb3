"""Plays an agent and keeps every decision together with the simulator's look-ahead.

Shape letters: A actions, B environments, N decisions, M truncated episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from agents.agent import Agent, full_masks
from agents.environments import EnvironmentFactory, VectorEnvironment
from agents.evaluation import EpisodeSpec
from agents.muzero.targets import CONTINUING, TERMINATED, TRUNCATED
from agents.power_grid.grid_access import first_grid, grid_states
from envs import GridState


class Decisions(NamedTuple):
    """N decisions in the order they were made, episode after episode."""

    episode: np.ndarray  # [N] int64, number in the list of episodes
    observation: np.ndarray  # [N, ...] float32
    action: np.ndarray  # [N] int64, played
    chosen: np.ndarray  # [N] int64, the agent's own; another one where it explored
    reward: np.ndarray  # [N] float64, of all environment steps covered
    duration: np.ndarray  # [N] int64, environment steps covered
    end: np.ndarray  # [N] uint8, one of ``targets.END_CODES``
    final_observation: np.ndarray  # [M, ...] float32, where truncated, in order
    rho: np.ndarray | None  # [N, A] float32, see ``ranking``; None where nothing can be simulated


class _Decision(NamedTuple):
    """One of them."""

    observation: np.ndarray  # [...] float32
    action: int
    chosen: int
    reward: float
    duration: int
    end: int
    final: np.ndarray | None  # [...] float32, where truncated
    rho: np.ndarray | None  # [A] float32


def play_decisions(
    agent: Agent,
    make_environment: EnvironmentFactory,
    episode_list: Sequence[EpisodeSpec],
    *,
    explore: float = 0.0,
    seed: int = 0,
    num_envs: int = 16,
    most_decisions: int | None = None,
) -> Decisions:
    """Play each episode to its end and keep its decisions.

    Args:
        agent: plays, as it does in evaluations.
        make_environment: of the environment.
        episode_list: the episodes, at least one.
        explore: share of decisions in which a legal action drawn at random is played instead.
        seed: of those draws; each episode has its own.
        num_envs: episodes side by side.
        most_decisions: of an episode, which is then truncated; None for no limit.
    """
    groups = [
        episode_list[start : start + num_envs] for start in range(0, len(episode_list), num_envs)
    ]
    played: list[list[_Decision]] = []
    for group in groups:
        first = len(played)
        rngs = [np.random.default_rng([seed, first + row]) for row in range(len(group))]
        env = make_environment(len(group), autoreset="disabled")
        try:
            played += _play_group(agent, env, group, explore, rngs, most_decisions)
        finally:
            env.close()
    every = [one for episode in played for one in episode]
    observation = np.stack([one.observation for one in every])
    finals = [one.final for one in every if one.final is not None]
    looked_ahead = [one.rho for one in every if one.rho is not None]
    return Decisions(
        episode=np.repeat(np.arange(len(played)), [len(episode) for episode in played]),
        observation=observation,
        action=np.array([one.action for one in every], np.int64),
        chosen=np.array([one.chosen for one in every], np.int64),
        reward=np.array([one.reward for one in every], np.float64),
        duration=np.array([one.duration for one in every], np.int64),
        end=np.array([one.end for one in every], np.uint8),
        final_observation=np.stack(finals) if finals else observation[:0],
        rho=np.stack(looked_ahead) if looked_ahead else None,
    )


def _play_group(
    agent: Agent,
    env: VectorEnvironment,
    group: Sequence[EpisodeSpec],
    explore: float,
    rngs: Sequence[np.random.Generator],
    most_decisions: int | None,
) -> list[list[_Decision]]:
    """Return the decisions of each episode of ``group``, played side by side."""
    agent.bind(env)
    options = {"scenario": [one.scenario for one in group]} if group[0].scenario else None
    observations, infos = env.reset(seed=[one.seed for one in group], options=options)
    episodes: list[list[_Decision]] = [[] for _ in group]
    active = np.ones(len(group), dtype=bool)
    while active.any():
        masks = full_masks(infos, len(group), env.num_actions) != 0
        chosen = agent.act(observations, infos, active)
        actions = chosen.copy()
        playing = [int(index) for index in np.flatnonzero(active)]
        for index in playing:
            if rngs[index].random() < explore:
                actions[index] = rngs[index].choice(np.flatnonzero(masks[index]))
        rho = _look_ahead(env, masks, chosen, active)
        before = np.array(observations, np.float32)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        if (actions != chosen).any():
            agent.bind(env)  # no search goes on from an action that was not played
        duration = infos.get("duration", np.ones(len(group)))
        for index in playing:
            lost = bool(terminated[index])
            full = len(episodes[index]) + 1 == most_decisions
            stopped = not lost and (bool(truncated[index]) or full)
            active[index] = not (lost or stopped)
            episodes[index].append(
                _Decision(
                    observation=before[index],
                    action=int(actions[index]),
                    chosen=int(chosen[index]),
                    reward=float(rewards[index]),
                    duration=int(duration[index]),
                    end=TERMINATED if lost else TRUNCATED if stopped else CONTINUING,
                    final=np.array(observations[index], np.float32) if stopped else None,
                    rho=None if rho is None else rho[index],
                )
            )
    return episodes


def _look_ahead(
    env: VectorEnvironment, masks: np.ndarray, chosen: np.ndarray, active: np.ndarray
) -> np.ndarray | None:
    """Return rho ``[B, A]`` of one legal action for each topology, and of those chosen.

    Args:
        env: of power grids, or other ones, for which None is returned.
        masks: ``[B, A]`` bool, what the agent was offered.
        chosen: ``[B]`` int64, what it chose.
        active: ``[B]`` bool, where there is something to look ahead at.
    """
    grid = first_grid(env)
    if grid is None:
        return None
    rho = np.full(masks.shape, np.nan, np.float32)
    playing = np.flatnonzero(active)
    states = GridState(*(rows[playing] for rows in grid_states(env)))
    distinct = masks[playing] & (grid.catalogue.distinct(states) != 0)
    distinct[np.arange(len(playing)), chosen[playing]] = True
    candidates: list[np.ndarray | None] = [None] * len(masks)
    for index, row in zip(playing, distinct, strict=True):
        candidates[index] = np.flatnonzero(row)
    for index, outlook in enumerate(env.simulate(candidates)):
        if outlook is not None:
            rho[index, candidates[index]] = outlook.rho_max
    return rho
