"""Plays groups of episodes to their ends: the one evaluation loop for every agent."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from agents.agent import Agent
from agents.environments import EnvironmentFactory, VectorEnvironment
from agents.evaluation.action_checks import check_batch, out_of_range
from agents.evaluation.episode_list import EpisodeSpec, Group
from agents.evaluation.episode_log import EpisodeLog, GridWatch, PlayedEpisode
from envs import DO_NOTHING


class _BatchFailed(Exception):
    """The agent failed for a batch of several environments; its cause says how."""


class DecisionWatch(Protocol):
    """Looks over an agent's shoulder while it plays."""

    def begin(self, group: Group) -> None:
        """Note that ``group`` is played now, from the beginning, perhaps not for the first time."""
        ...

    def decide(
        self, agent: Agent, active: np.ndarray, actions: np.ndarray, steps: np.ndarray
    ) -> None:
        """Note what the agent just decided, before it is played.

        Args:
            agent: who decided.
            active: ``[B]`` bool, for which episodes.
            actions: ``[B]`` int64, valid where active.
            steps: ``[B]`` int64, environment steps played before.
        """
        ...


class EpisodePlayer:
    """Plays groups of episodes in this process, keeping its environments between groups."""

    def __init__(
        self,
        make_environment: EnvironmentFactory,
        *,
        record_errors: bool = False,
        watch: DecisionWatch | None = None,
    ) -> None:
        """Make a player.

        Args:
            make_environment: makes the environments, when first needed.
            record_errors: whether an agent that raises, or gives no valid action, ends only the
                episode in which it does; else its exception comes through.
            watch: told of every decision.
        """
        self._make_environment = make_environment
        self._record_errors = record_errors
        self._watch = watch
        self._environments: dict[int, VectorEnvironment] = {}  # by number
        self._watches: dict[int, GridWatch | None] = {}  # by number
        self._warm = False

    def play(self, payload: bytes, group: Group) -> list[PlayedEpisode]:
        """Play the group's episodes side by side to their ends.

        Where the agent fails for the whole batch, and errors are recorded, nobody can say in which
        episode. Then each is played again by itself, by a fresh copy of the agent.

        Args:
            payload: the pickled agent; a copy of it plays.
            group: the episodes, one environment each.
        """
        try:
            return self._play(payload, group)
        except _BatchFailed:
            return [episode for spec in group for episode in self._play(payload, (spec,))]

    def close(self) -> None:
        """Close the environments."""
        for env in self._environments.values():
            env.close()
        self._environments.clear()
        self._watches.clear()

    def _play(self, payload: bytes, group: Group) -> list[PlayedEpisode]:
        env = self._environment(len(group))
        options = {"scenario": [spec.scenario for spec in group]} if group[0].scenario else None
        observations, infos = env.reset(seed=[spec.seed for spec in group], options=options)
        active = np.ones(len(group), dtype=bool)
        if not self._warm:  # a copy compiles and allocates outside the timed decisions
            self._warm = True
            self._act(_bound(payload, env), observations, infos, active)
        agent = _bound(payload, env)
        if self._watch is not None:
            self._watch.begin(group)
        log = EpisodeLog(env, self._watches[len(group)], infos)
        while active.any():
            log.note_asked(active)
            begin = time.perf_counter()
            actions, fault = self._act(agent, observations, infos, active)
            log.note_answer(active, time.perf_counter() - begin)
            for index, text in self._faults(actions, fault, active, env.num_actions).items():
                incident = log.note_error(index, text)
                if not self._record_errors:
                    raise ValueError(
                        f"{_where(group[index])}, decision {incident.decision} at step "
                        f"{incident.step}: the agent failed: {text}"
                    )
                active[index], actions[index] = False, DO_NOTHING
            if not active.any():
                break
            if self._watch is not None:
                self._watch.decide(agent, active, actions, log.steps)
            observations, rewards, terminated, truncated, infos = env.step(actions)
            log.note_step(active, actions, rewards, infos)
            for index in np.flatnonzero(active & (terminated | truncated)):
                active[index] = False
                lost = bool(terminated[index])
                log.note_end(int(index), _end(env, int(index), lost=lost), completed=not lost)
        return log.episodes(group)

    def _act(
        self, agent: Agent, observations: Any, infos: Mapping[str, Any], active: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """Return ``[B]`` int64 actions, and what is wrong with all of them, "" if nothing is."""
        num_envs = len(active)
        try:
            return check_batch(agent.act(observations, infos, active), num_envs), ""
        except MemoryError:  # the machine's fault
            raise
        except Exception as error:
            if not self._record_errors:
                raise
            if num_envs > 1:
                raise _BatchFailed from error
            return np.full(num_envs, DO_NOTHING), _say(error)

    @staticmethod
    def _faults(
        actions: np.ndarray, fault: str, active: np.ndarray, num_actions: int
    ) -> dict[int, str]:
        """Return environment -> what is wrong with its action, where something is."""
        wrong = active & (bool(fault) | (actions < 0) | (actions >= num_actions))
        return {
            int(index): fault or out_of_range(int(actions[index]), num_actions)
            for index in np.flatnonzero(wrong)
        }

    def _environment(self, num_envs: int) -> VectorEnvironment:
        if num_envs not in self._environments:
            env = self._make_environment(num_envs, autoreset="disabled")
            self._environments[num_envs], self._watches[num_envs] = env, GridWatch.of(env)
        return self._environments[num_envs]


def _bound(payload: bytes, env: VectorEnvironment) -> Agent:
    agent: Agent = pickle.loads(payload)
    agent.bind(env)
    return agent


def _say(error: Exception) -> str:
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if type(error).__module__.startswith("agents.evaluation") else f"{name}: {text}"


def _where(spec: EpisodeSpec) -> str:
    return f"scenario {spec.scenario}" if spec.scenario else f"seed {spec.seed}"


def _end(env: VectorEnvironment, index: int, *, lost: bool) -> str:
    ends = env.info_texts().get("end")
    end = "" if ends is None else str(ends[index])
    return end or ("terminated" if lost else "time limit")
