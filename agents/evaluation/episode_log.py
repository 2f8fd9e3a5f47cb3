"""Records a group of episodes while they are played.

Shape letters: A actions, B environments, E element ends, L lines, S substations, T batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from agents.environments import VectorEnvironment
from agents.evaluation.action_checks import lines_acted_on, substations_acted_on
from agents.evaluation.episode_list import Group
from agents.evaluation.records import EpisodeRecord, Incident
from agents.power_grid.grid_access import first_grid, grid_states
from agents.resumable import ResumableVectorEnv
from envs import DO_NOTHING, REFERENCE_BUSBAR, ActionCatalogue

_ATTACKS = ("attacks", "attacks_survived")  # infos, and fields of the record


class PlayedEpisode(NamedTuple):
    """An episode's record, and what latencies over many episodes are made of."""

    record: EpisodeRecord
    seconds: np.ndarray  # [decisions] float64, the agent's, each a share of its batch


class GridWatch:
    """What is read of power grids under a vector environment."""

    def __init__(self, env: VectorEnvironment, catalogue: ActionCatalogue) -> None:
        """Watch ``env``, whose actions are those of ``catalogue``."""
        self._env = env
        self.substations = substations_acted_on(catalogue)  # [A, S] bool
        self.lines = lines_acted_on(catalogue)  # [A, L] bool

    @classmethod
    def of(cls, env: VectorEnvironment) -> GridWatch | None:
        """Return a watch of ``env``, None if it is of no power grids."""
        grid = first_grid(env)
        return None if grid is None else cls(env, grid.catalogue)

    def distances(self) -> np.ndarray:
        """Return ``[B]`` int64, element ends that are not as in the reference topology."""
        return (grid_states(self._env).topo_vect != REFERENCE_BUSBAR).sum(axis=1)


class EpisodeLog:
    """What happened so far in B episodes."""

    def __init__(
        self, env: VectorEnvironment, watch: GridWatch | None, infos: Mapping[str, Any]
    ) -> None:
        """Open the books after the reset.

        Args:
            env: that was reset.
            watch: of its grids, None without.
            infos: of the reset; under an idle gate it played calm steps.
        """
        num_envs = env.num_envs
        self._env, self._watch = env, watch
        self._calls_before = env.simulator_calls.copy()
        self._calls = np.zeros(num_envs, dtype=np.int64)  # [B] of episodes that are over
        self._steps = np.array(infos.get("duration", np.zeros(num_envs)), dtype=np.int64)
        self._rewards = np.array(infos.get("reset_reward", np.zeros(num_envs)), dtype=np.float64)
        self._decisions = np.zeros(num_envs, dtype=np.int64)
        self._shares: list[float] = []  # T, seconds in the agent for one environment of the batch
        self._asked: list[np.ndarray] = []  # T of [B] bool
        self._distance = np.zeros(num_envs, dtype=np.int64)  # [B] at the latest decision
        self._distances = np.zeros(num_envs, dtype=np.int64)  # [B] sum over decisions
        self._actions: list[list[tuple[int, int, bool]]] = [[] for _ in range(num_envs)]
        self._first_illegal: list[Incident | None] = [None] * num_envs
        self._errors: list[Incident | None] = [None] * num_envs
        self._completed = np.zeros(num_envs, dtype=np.bool_)
        self._attacks = {name: infos[name].copy() for name in _ATTACKS if name in infos}
        self._ends = [""] * num_envs
        self._limits: list[int | None] = [None] * num_envs

    @property
    def steps(self) -> np.ndarray:
        """``[B]`` int64, environment steps played."""
        return self._steps.copy()

    def note_asked(self, active: np.ndarray) -> None:
        """Note that the agent is to decide for ``active``, ``[B]`` bool."""
        self._decisions += active
        if self._watch is not None:
            self._distance = np.where(active, self._watch.distances(), self._distance)
            self._distances += np.where(active, self._distance, 0)

    def note_answer(self, active: np.ndarray, seconds: float) -> None:
        """Note that it took the agent ``seconds`` to decide for ``active``."""
        self._shares.append(seconds / int(active.sum()))
        self._asked.append(active.copy())

    def note_step(
        self,
        active: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        infos: Mapping[str, Any],
    ) -> None:
        """Note what ``[B]`` actions came to.

        Args:
            active: ``[B]`` bool, whose.
            actions: ``[B]`` int64.
            rewards: ``[B]``.
            infos: of the step.
        """
        if self._watch is not None:
            for index in np.flatnonzero(active & ((actions != DO_NOTHING) | infos["illegal"])):
                self._note_action(int(index), int(actions[index]), infos)
        self._rewards[active] += rewards[active]
        self._steps[active] += np.asarray(infos.get("duration", np.ones(len(active), int)))[active]
        for name, counts in self._attacks.items():
            counts[active] = infos[name][active]

    def _note_action(self, index: int, action: int, infos: Mapping[str, Any]) -> None:
        illegal = bool(infos["illegal"][index])
        self._actions[index].append((int(self._steps[index]), action, not illegal))
        if illegal and self._first_illegal[index] is None:
            reason = self._env.info_texts()["illegal_reason"][index]
            self._first_illegal[index] = self._incident(index, f"action {action} {reason}")

    def note_end(self, index: int, end: str, *, completed: bool) -> None:
        """Note that an episode is over, by the environment."""
        self._ends[index], self._completed[index] = end, completed
        if completed and self._watch is not None:  # after a blackout there is no topology left
            self._distance[index] = self._watch.distances()[index]
        self._close(index)

    def note_error(self, index: int, text: str) -> Incident:
        """Note that an episode is over because its agent failed; return the incident."""
        incident = self._errors[index] = self._incident(index, text)
        self._ends[index] = f"agent error: {text}"
        self._close(index)
        return incident

    def _incident(self, index: int, text: str) -> Incident:
        return Incident(
            decision=int(self._decisions[index]), step=int(self._steps[index]), text=text
        )

    def _close(self, index: int) -> None:
        self._calls[index] = self._env.simulator_calls[index] - self._calls_before[index]
        self._limits[index] = episode_limit(self._env, index)

    def episodes(self, group: Group) -> list[PlayedEpisode]:
        """Return the records of ``group``, whose episodes are all over."""
        asked = np.array(self._asked).reshape(len(self._asked), len(group))
        shares = np.array(self._shares)
        return [
            self._episode(index, spec.scenario, spec.seed, shares[asked[:, index]])
            for index, spec in enumerate(group)
        ]

    def _episode(self, index: int, scenario: str, seed: int, seconds: np.ndarray) -> PlayedEpisode:
        played = self._actions[index]
        legal = [action for _, action, is_legal in played if is_legal]
        watch, decisions = self._watch, int(self._decisions[index])
        median, p99 = np.percentile(seconds, [50, 99]) if len(seconds) else (0.0, 0.0)
        record = EpisodeRecord(
            scenario=scenario,
            seed=seed,
            steps=int(self._steps[index]),
            max_steps=self._limits[index],
            completed=bool(self._completed[index]),
            end=self._ends[index],
            reward=float(self._rewards[index]),
            decisions=decisions,
            action_steps=tuple(step for step, _, _ in played),
            actions=tuple(action for _, action, _ in played),
            substation_actions=() if watch is None else _count(watch.substations, legal),
            line_actions=() if watch is None else _count(watch.lines, legal),
            mean_distance=(
                None if watch is None else float(self._distances[index]) / max(decisions, 1)
            ),
            final_distance=None if watch is None else int(self._distance[index]),
            **{
                name: int(self._attacks[name][index]) if name in self._attacks else None
                for name in _ATTACKS
            },
            illegal_actions=len(played) - len(legal),
            first_illegal=self._first_illegal[index],
            agent_error=self._errors[index],
            simulator_calls=int(self._calls[index]),
            seconds=float(seconds.sum()),
            median_ms=1e3 * float(median),
            p99_ms=1e3 * float(p99),
        )
        return PlayedEpisode(record, seconds)


def episode_limit(env: VectorEnvironment, index: int) -> int | None:
    """Return the steps that the episode just played could have lasted, None where unknown.

    Args:
        env: the vector environment.
        index: of the environment in it.
    """
    grid = first_grid(env)
    if grid is None:
        spec = env.envs[index].spec if isinstance(env, ResumableVectorEnv) else None
        return None if spec is None else spec.max_episode_steps
    whole, cap = int(grid_states(env).max_step[index]), grid.max_steps
    return whole if cap is None else min(whole, cap)


def _count(touched: np.ndarray, actions: list[int]) -> tuple[int, ...]:
    return tuple(int(count) for count in touched[actions].sum(axis=0))
