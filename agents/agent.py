"""The ``Agent`` base class and the records of a training run.

Every agent, baseline or learned, plays B environments at once, so training, evaluation and
tools have one loop for all. A third party's agent is a subclass of ``Agent`` in its own package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

import numpy as np
from annotated_types import Ge, Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from powergrid_muzero.copies import Copyable

if TYPE_CHECKING:
    from agents.environments import EnvironmentFactory, VectorEnvironment
    from agents.muzero.search.record import TreeRecord

Infos = Mapping[str, Any]  # gymnasium's vector infos: key -> [B, ...] array, "_key" -> [B] bool


class Logger(Protocol):
    """Where metrics go. One row a call; keys are grouped by a slash, as in ``train/loss``."""

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """Write one row of scalar metrics at ``env_steps``."""
        ...

    def log_histogram(self, name: str, counts: np.ndarray, *, env_steps: int) -> None:
        """Write a histogram given as counts per bin."""
        ...


class Evaluator(Protocol):
    """Plays the agent on the fixed validation list; returns metrics, ``score`` the one to raise."""

    def __call__(self, agent: Agent) -> Mapping[str, float]:
        """Play ``agent``; its own random state stays as it was."""
        ...


class CheckpointStore(Protocol):
    """Keeps ``latest`` (everything, to resume) and ``best`` (weights) of a run, atomically."""

    def save_latest(self, state: Mapping[str, Any]) -> None:
        """Write the whole training state; a former one stays valid if the write fails."""
        ...

    def save_best(self, state: Mapping[str, Any]) -> None:
        """Write the agent's own ``state_dict`` as the best one so far."""
        ...

    def load_latest(self) -> dict[str, Any] | None:
        """Return the newest undamaged training state, or None for a fresh run."""
        ...


# of torch, which crashes where the system refuses one
ThreadCount = Annotated[int, Ge(1), Le(1024)]


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """How long and how a training runs, whatever the agent."""

    total_env_steps: PositiveInt  # env steps to play; under an idle gate each calm one counts
    num_envs: PositiveInt = 32  # environments played side by side
    envs_per_group: PositiveInt = 16  # that share one search batch: fixes the arithmetic
    num_workers: NonNegativeInt = 0  # self-play processes; 0 plays in the main process
    synchronous: bool = True  # same seed, same weights; False lets self-play run ahead
    evaluation_interval: PositiveInt = 10_000  # env steps between evaluations
    checkpoint_interval: PositiveInt = 10_000  # env steps between checkpoints
    log_interval: PositiveInt = 1_000  # env steps between rows of metrics
    max_minutes: PositiveFloat | None = None  # wall-clock limit of the training, None for none
    learner_threads: ThreadCount = 1  # torch threads of the learner; part of what makes runs repeat
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:0", ...

    def used_up(self, *, env_steps: int, seconds: float) -> str | None:
        """Return the setting that ends a training which has played and lasted so long, if any."""
        if env_steps >= self.total_env_steps:
            return "trainer.total_env_steps"
        late = self.max_minutes is not None and seconds >= 60.0 * self.max_minutes
        return "trainer.max_minutes" if late else None


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Everything a training may use, handed to ``Agent.train``."""

    settings: TrainerSettings
    make_environment: EnvironmentFactory  # training environments, picklable
    evaluate: Evaluator
    logger: Logger
    checkpoints: CheckpointStore
    folder: Path
    seed: int


class Agent(Copyable, ABC):
    """Acts on B environments at once.

    Copied or pickled it goes on as it would have, generators included, but leaves the environment
    that it met behind: ``bind`` the copy to the one that it is to play.
    """

    # options of the environment in which it is a baseline beside another agent, where that has them
    as_baseline: ClassVar[Mapping[str, Any]] = {}

    def preflight(self, make_environment: EnvironmentFactory, settings: TrainerSettings) -> None:
        """Refuse what it could not be trained in or with, before anything is written.

        Args:
            make_environment: training environments.
            settings: of the training.

        Raises:
            ValueError: it could not; the message says why and what to do.
        """

    def bind(self, env: VectorEnvironment) -> None:
        """Meet the vector environment about to be played; look-ahead agents keep it."""

    @abstractmethod
    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Choose an action for each environment.

        Args:
            observations: ``[B, ...]`` as the vector environment gives them.
            infos: vector infos of the same step; ``infos["action_mask"]`` is ``[B, A]`` int8.
            active: ``[B]`` bool, False for environments whose episode is over and whose
                action is ignored; None for all active.

        Returns:
            ``[B]`` int64 actions.
        """

    def train(self, run: TrainingRun) -> None:
        """Learn. Agents with nothing to learn return at once."""

    @property
    def learns(self) -> bool:
        """Whether ``train`` does anything."""
        return type(self).train is not Agent.train

    def used_up(self, saved: Mapping[str, Any], settings: TrainerSettings) -> str | None:
        """Return the setting for which a training resumed from ``saved`` is over already, if any.

        Args:
            saved: training state, as ``train`` gave it to ``CheckpointStore.save_latest``.
            settings: of the resumed training.
        """
        progress = saved.get("progress", {})
        return settings.used_up(
            env_steps=progress.get("env_steps", 0), seconds=progress.get("seconds", 0.0)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs: tensors and plain Python only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the weights that ``state_dict`` gave."""
        if state:
            raise ValueError(
                f"{type(self).__name__} has no weights, but was given {sorted(state)[:5]}. "
                "Name the agent that wrote them."
            )

    def explain(self, texts: Sequence[str] | None = None) -> Mapping[int, TreeRecord]:
        """Return the search behind each action of the last ``act``.

        Args:
            texts: ``[A]`` what each action does; None where there are no words.

        Returns:
            Number of the environment -> its search; only of environments that were active.

        Raises:
            ValueError: this agent searches no trees.
        """
        raise ValueError(
            f"{type(self).__name__} searches no tree that could be shown; choose an agent that "
            "plans, such as agent=muzero"
        )

    @property
    def explains(self) -> bool:
        """Whether ``explain`` shows anything."""
        return type(self).explain is not Agent.explain


def full_masks(infos: Infos, num_envs: int, num_actions: int) -> np.ndarray:
    """Return ``[B, A]`` int8 legality, 1 = legal; all ones where the environment has no masks."""
    mask = infos.get("action_mask")
    if mask is None:
        return np.ones((num_envs, num_actions), dtype=np.int8)
    mask = np.asarray(mask)
    if mask.dtype == object:  # some rows have no info this step (inactive environments)
        blank = np.ones(num_actions, np.int8)
        return np.stack([blank if row is None else np.asarray(row) for row in mask.tolist()])
    return mask
