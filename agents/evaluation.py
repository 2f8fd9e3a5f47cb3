"""Plays an agent over a fixed list of episodes: the one loop for every agent, in every tool.

Episodes are played in groups of ``num_envs`` side by side, each by a fresh copy of the agent, so
the outcome depends neither on the number of worker processes nor on what the agent did before.
"""

from __future__ import annotations

import multiprocessing
import pickle
import time
import traceback
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import torch

from agents.base import Agent
from agents.environments import EnvironmentFactory
from agents.environments import VectorEnvironment
from agents.reports import EpisodeRecord
from agents.reports import EvaluationResult
from envs.power_grid import PowerGridEnv
from envs.vector import PowerGridVectorEnv

DEFAULT_SEED = 20_190_106  # of the environments' resets; the same for all agents


@dataclass(frozen=True, kw_only=True)
class EpisodePlan:
    """An episode to play."""

    scenario: str  # "" where the environment has none
    seed: int


Group = tuple[EpisodePlan, ...]


def plan_episodes(
    scenario_names: Sequence[str] | None, *, episodes: int | None = None, seed: int = DEFAULT_SEED
) -> tuple[EpisodePlan, ...]:
    """Return what to play: each scenario once, or ``episodes`` episodes told apart by seed.

    Args:
        scenario_names: scenarios, or None for an environment without them.
        episodes: how many, of the first ``scenario_names`` where given; None for all of them.
        seed: of the first episode; the next ones follow by 1.

    Raises:
        ValueError: nothing to play, or more than there is.
    """
    if scenario_names is None:
        if episodes is None or episodes < 1:
            raise ValueError(f"episodes is {episodes}; at least 1 is needed without scenarios.")
        return tuple(EpisodePlan(scenario="", seed=seed + i) for i in range(episodes))
    if not scenario_names:
        raise ValueError("the list of scenarios is empty; at least 1 is needed.")
    count = len(scenario_names) if episodes is None else episodes
    if not 1 <= count <= len(scenario_names):
        raise ValueError(
            f"episodes is {episodes}; expected 1 to {len(scenario_names)}, the scenarios there are."
        )
    return tuple(
        EpisodePlan(scenario=name, seed=seed + i) for i, name in enumerate(scenario_names[:count])
    )


class EpisodePlayer:
    """Plays groups of episodes in this process, keeping its environments between groups."""

    def __init__(self, make_environment: EnvironmentFactory) -> None:
        """Make a player.

        Args:
            make_environment: makes the environments, when first needed.
        """
        self._make_environment = make_environment
        self._environments: dict[int, VectorEnvironment] = {}  # by number
        self._warm = False

    def play(self, agent: Agent, group: Group) -> list[EpisodeRecord]:
        """Play the group's episodes side by side to their ends.

        Args:
            agent: what plays; it must pickle, is bound to the environment and may change.
            group: the episodes, one environment each.
        """
        env = self._environment(len(group))
        options = {"scenario": [plan.scenario for plan in group]} if group[0].scenario else None
        observations, infos = env.reset(seed=[plan.seed for plan in group], options=options)
        num_envs = len(group)
        active = np.ones(num_envs, dtype=bool)
        if not self._warm:  # a copy compiles and allocates outside the timed decisions
            copy = pickle.loads(pickle.dumps(agent))
            copy.bind(env)
            copy.act(observations, infos, active)
            self._warm = True
        agent.bind(env)
        calls_before = env.simulator_calls.copy()
        completed = np.zeros(num_envs, dtype=bool)
        seconds = np.zeros(num_envs)
        decisions = np.zeros(num_envs, dtype=np.int64)
        # under an idle gate the reset plays calm steps too
        rewards = np.array(infos.get("reset_reward", np.zeros(num_envs)), dtype=np.float64)
        steps = np.array(infos.get("duration", np.zeros(num_envs)), dtype=np.int64)
        ends = [""] * num_envs
        while active.any():
            begin = time.perf_counter()
            actions = agent.act(observations, infos, active)
            seconds[active] += (time.perf_counter() - begin) / active.sum()
            decisions[active] += 1
            observations, reward, terminated, truncated, infos = env.step(actions)
            rewards[active] += reward[active]
            steps[active] += np.asarray(infos.get("duration", np.ones(num_envs, int)))[active]
            for index in np.flatnonzero(active & (terminated | truncated)):
                active[index] = False
                completed[index] = truncated[index] and not terminated[index]
                ends[index] = _end(infos, int(index), terminated=bool(terminated[index]))
        calls = env.simulator_calls - calls_before
        return [
            EpisodeRecord(
                scenario=plan.scenario,
                seed=plan.seed,
                steps=int(steps[index]),
                max_steps=_episode_limit(env, index),
                completed=bool(completed[index]),
                end=ends[index],
                reward=float(rewards[index]),
                decisions=int(decisions[index]),
                simulator_calls=int(calls[index]),
                seconds=float(seconds[index]),
            )
            for index, plan in enumerate(group)
        ]

    def close(self) -> None:
        """Close the environments."""
        for env in self._environments.values():
            env.close()
        self._environments.clear()

    def _environment(self, num_envs: int) -> VectorEnvironment:
        if num_envs not in self._environments:
            self._environments[num_envs] = self._make_environment(num_envs, autoreset="disabled")
        return self._environments[num_envs]


class EpisodeEvaluator:
    """Plays the same episodes with each agent it is given; an ``Evaluator`` of ``agents.base``.

    The agent given is copied (pickled), never changed: its random generators stay as they were.
    """

    def __init__(
        self,
        make_environment: EnvironmentFactory,
        plan: Sequence[EpisodePlan],
        *,
        num_envs: int = 4,
        num_workers: int = 0,
        on_episode: Callable[[EpisodeRecord], None] | None = None,
    ) -> None:
        """Make an evaluator.

        Args:
            make_environment: of the environments to play in.
            plan: the episodes.
            num_envs: episodes played side by side, a group.
            num_workers: processes that share the groups; 0 plays in this process.
            on_episode: called with each episode when its group is done.

        Raises:
            ValueError: an empty plan, ``num_envs`` below 1, or ``num_workers`` below 0.
        """
        if not plan:
            raise ValueError("the evaluation has no episodes; at least 1 is needed.")
        if num_envs < 1:
            raise ValueError(f"evaluation num_envs is {num_envs}; at least 1 is needed.")
        if num_workers < 0:
            raise ValueError(f"evaluation num_workers is {num_workers}; 0 or more is expected.")
        self._make_environment = make_environment
        self._groups: list[Group] = [
            tuple(plan[start : start + num_envs]) for start in range(0, len(plan), num_envs)
        ]
        self._num_workers = min(num_workers, len(self._groups))
        self._on_episode = on_episode
        self._player = EpisodePlayer(make_environment)

    def __call__(self, agent: Agent) -> Mapping[str, float]:
        """Play the agent; return the figures of ``EvaluationResult.metrics``."""
        return self.evaluate(agent, name=type(agent).__name__).metrics()

    def evaluate(self, agent: Agent, *, name: str) -> EvaluationResult:
        """Play the agent over all episodes.

        Args:
            agent: must pickle.
            name: of the agent in tables.

        Raises:
            RuntimeError: a worker process died or failed; the message names it.
        """
        payload = pickle.dumps(agent)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in the workers: the same sums, and no fight over few cores
        try:
            return EvaluationResult(agent=name, episodes=tuple(self._play_all(payload)))
        finally:
            torch.set_num_threads(threads)

    def _play_all(self, payload: bytes) -> list[EpisodeRecord]:
        records: list[list[EpisodeRecord]] = [[] for _ in self._groups]
        if self._num_workers:
            played = _play_in_workers(
                self._make_environment, payload, self._groups, self._num_workers
            )
        else:
            played = (
                (number, self._player.play(pickle.loads(payload), group))
                for number, group in enumerate(self._groups)
            )
        for number, episodes in played:
            records[number] = episodes
            if self._on_episode is not None:
                for episode in episodes:
                    self._on_episode(episode)
        return [episode for group in records for episode in group]

    def close(self) -> None:
        """Close the environments of this process."""
        self._player.close()


def _play_in_workers(
    make_environment: EnvironmentFactory, payload: bytes, groups: Sequence[Group], num_workers: int
):
    """Yield (group number, its episodes) as worker processes finish them."""
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, Any] = {}
    waiting = list(enumerate(groups))[::-1]
    try:
        for number in range(num_workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_worker,
                args=(theirs, make_environment, payload),
                name=f"evaluation worker {number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            workers[ours] = process
            ours.send(waiting.pop())
        remaining = len(groups)
        while remaining:
            for ready in wait(list(workers)):
                connection = ready
                assert isinstance(connection, Connection)
                process = workers[connection]
                try:
                    number, outcome = connection.recv()
                except (EOFError, ConnectionResetError) as error:
                    process.join(timeout=5.0)
                    raise RuntimeError(
                        f"{process.name} (process {process.pid}) died with exit code "
                        f"{process.exitcode}; no result of its episodes came back. Short of "
                        "memory? Try fewer evaluation.num_workers."
                    ) from error
                if isinstance(outcome, str):
                    raise RuntimeError(f"{process.name} failed:\n{outcome}")
                remaining -= 1
                if waiting:
                    connection.send(waiting.pop())
                yield number, outcome
    finally:
        for connection, process in workers.items():
            with suppress(BrokenPipeError):  # the worker may be gone already
                connection.send(None)
            connection.close()
            process.join(timeout=2.0)
            if process.is_alive():
                process.terminate()
                process.join()


def _worker(connection: Connection, make_environment: EnvironmentFactory, payload: bytes) -> None:
    """Play the groups that come through ``connection`` until None comes."""
    torch.set_num_threads(1)
    player = EpisodePlayer(make_environment)
    try:
        while (task := connection.recv()) is not None:
            number, group = task
            try:
                outcome: Any = player.play(pickle.loads(payload), group)
            except Exception:  # reported by the parent, with this text
                outcome = traceback.format_exc()
            connection.send((number, outcome))
    except (EOFError, KeyboardInterrupt):  # the parent is gone or going
        pass
    finally:
        player.close()


def _end(infos: Mapping[str, Any], index: int, *, terminated: bool) -> str:
    end = infos["end"][index] if "end" in infos else ""
    return str(end) if end else ("terminated" if terminated else "time limit")


def _episode_limit(env: VectorEnvironment, index: int) -> int | None:
    """Return the steps that the episode just played could have lasted, None where unknown."""
    if isinstance(env, PowerGridVectorEnv):
        whole, cap = int(env.state.max_step[index]), env.max_steps
    else:
        one = env.envs[index]
        grid = one.unwrapped
        if not isinstance(grid, PowerGridEnv):
            return one.spec.max_episode_steps if one.spec is not None else None
        whole, cap = int(grid.state.max_step[0]), grid.max_steps
    return whole if cap is None else min(whole, cap)
