"""Evaluates an agent on a fixed list of episodes."""

from __future__ import annotations

import os
import pickle
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import cloudpickle
import numpy as np

from agents.agent import Agent
from agents.environments import EnvironmentFactory
from agents.evaluation.episode_list import EpisodeSpec, Group
from agents.evaluation.episode_log import PlayedEpisode
from agents.evaluation.player import EpisodePlayer
from agents.evaluation.protocol import Protocol, Setting, describe_protocol, package_version
from agents.evaluation.records import Conditions, EpisodeRecord, EvaluationResult, Latency
from agents.evaluation.statistics import log_metrics
from agents.evaluation.workers import play_in_workers
from agents.runs.cluster import worker_count
from agents.runs.devices import torch_threads


@dataclass(frozen=True, kw_only=True)
class AgentNotes:
    """What a result says of the agent beside its name."""

    configuration: str = ""  # as JSON
    weights: str = ""  # run folder or file
    seed: int = 0
    device: str = ""  # of its networks, if any


class EpisodeEvaluator:
    """Plays the same episodes with each agent it is given; an ``Evaluator`` of ``agents.agent``.

    The agent given is copied (pickled), never changed: its random generators stay as they were.
    Episodes are played in groups of ``num_envs`` side by side, each by a fresh copy, so the outcome
    depends neither on the number of worker processes nor on what the agent did before.
    """

    def __init__(
        self,
        make_environment: EnvironmentFactory,
        episode_list: Sequence[EpisodeSpec],
        *,
        num_envs: int = 4,
        num_workers: int = 0,
        record_errors: bool = False,
        on_episode: Callable[[EpisodeRecord], None] | None = None,
    ) -> None:
        """Make an evaluator.

        Args:
            make_environment: of the environments to play in.
            episode_list: the episodes.
            num_envs: episodes played side by side, a group.
            num_workers: processes that share the groups; 0 plays in this process.
            record_errors: whether an agent that raises, or gives no valid action, ends only the
                episode in which it does, which is then counted; else its exception comes through.
            on_episode: called with each episode when its group is done.

        Raises:
            ValueError: no episodes, ``num_envs`` below 1, or ``num_workers`` below 0.
        """
        if not episode_list:
            raise ValueError("the evaluation has no episodes; at least 1 is needed.")
        if num_envs < 1:
            raise ValueError(f"evaluation num_envs is {num_envs}; at least 1 is needed.")
        if num_workers < 0:
            raise ValueError(f"evaluation num_workers is {num_workers}; 0 or more is expected.")
        self._make_environment = make_environment
        self._episode_list = tuple(episode_list)
        self._groups: list[Group] = [
            self._episode_list[start : start + num_envs]
            for start in range(0, len(episode_list), num_envs)
        ]
        self._num_envs = num_envs
        self._num_workers = min(num_workers, len(self._groups))
        self._record_errors = record_errors
        self._on_episode = on_episode
        self._player = EpisodePlayer(make_environment, record_errors=record_errors)
        self._protocol: Protocol | None = None

    def __call__(self, agent: Agent) -> Mapping[str, float]:
        """Play the agent; return the figures of ``agents.evaluation.log_metrics``."""
        return log_metrics([episode.record for episode in self._play_all(agent)])

    def evaluate(
        self,
        agent: Agent,
        *,
        name: str,
        split: str | None = None,
        notes: AgentNotes | None = None,
    ) -> EvaluationResult:
        """Play the agent over all episodes.

        Args:
            agent: must pickle.
            name: of the agent in tables.
            split: that the episodes are of; None for the environment's own.
            notes: what the result should say of the agent.

        Raises:
            RuntimeError: a worker failed; its traceback is in the message.
            WorkersLostError: a worker was lost again and again.
            ValueError: the agent and the environment do not go together, or the agent failed and
                errors are not recorded.
        """
        if self._protocol is None:
            self._protocol = describe_protocol(
                self._make_environment, self._episode_list, split=split
            )
        notes = AgentNotes() if notes is None else notes
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        begin = time.perf_counter()
        played = self._play_all(agent)
        conditions = Conditions(
            agent_configuration=notes.configuration,
            weights=notes.weights,
            seed=notes.seed,
            num_envs=self._num_envs,
            num_workers=self._num_workers,
            device=notes.device,
            machine=_machine(),
            started=started,
            seconds=time.perf_counter() - begin,
            versions=_versions(),
        )
        return EvaluationResult(
            agent=name,
            protocol=self._protocol,
            conditions=conditions,
            latency=_latency(played),
            episodes=tuple(episode.record for episode in played),
        )

    def close(self) -> None:
        """Close the environments of this process."""
        self._player.close()

    def _play_all(self, agent: Agent) -> list[PlayedEpisode]:
        payload = _pickled(agent, for_workers=self._num_workers > 0)
        with torch_threads(1):  # as in the workers: the same sums, and no fight over few cores
            return self._play_groups(payload)

    def _play_groups(self, payload: bytes) -> list[PlayedEpisode]:
        results: list[list[PlayedEpisode]] = [[] for _ in self._groups]
        if self._num_workers:
            self._num_workers = worker_count(
                self._num_workers, len(self._groups), "evaluation.num_workers"
            )
            played = play_in_workers(
                self._make_environment,
                payload,
                self._groups,
                self._num_workers,
                record_errors=self._record_errors,
            )
        else:
            played = (
                (number, self._player.play(payload, group))
                for number, group in enumerate(self._groups)
            )
        for number, episodes in played:
            results[number] = episodes
            if self._on_episode is not None:
                for episode in episodes:
                    self._on_episode(episode.record)
        return [episode for group in results for episode in group]


def _pickled(agent: Agent, *, for_workers: bool) -> bytes:
    """Return the pickled agent; for workers, with its class where they cannot import that."""
    if not for_workers:
        return pickle.dumps(agent)
    return bytes(cloudpickle.dumps(agent))


def _latency(played: Sequence[PlayedEpisode]) -> Latency:
    seconds = np.concatenate([episode.seconds for episode in played])
    if not len(seconds):
        return Latency(mean=0.0, median=0.0, p99=0.0)
    milliseconds = 1e3 * seconds
    median, p99 = np.percentile(milliseconds, [50, 99])
    return Latency(mean=float(milliseconds.mean()), median=float(median), p99=float(p99))


def _machine() -> str:
    processor = platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def _versions() -> tuple[Setting, ...]:
    return (
        Setting(name="python", value=sys.version.split()[0]),
        *(Setting(name=name, value=package_version(name)) for name in ("numpy", "torch")),
    )
