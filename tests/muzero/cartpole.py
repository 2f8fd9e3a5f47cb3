"""A small MuZero on CartPole for tests of the training loop: real parts, tiny sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents.agent import Agent, TrainerSettings, TrainingRun
from agents.environments import EnvironmentFactory
from agents.muzero.agent import MuZeroAgent
from agents.muzero.networks.mlp import MLPNetwork
from agents.muzero.replay import Replay
from agents.muzero.schedules import Piecewise
from agents.muzero.search import GumbelSearch
from agents.muzero.teacher import Teacher
from agents.muzero.trainer import LearningPlan

FACTORY = EnvironmentFactory("CartPole-v1")


class Rows:
    """A logger that keeps its rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """Keep a row."""
        self.rows.append({**metrics, "env_steps": env_steps})

    def log_histogram(self, name: str, counts: np.ndarray, *, env_steps: int) -> None:
        """Keep the histogram's sum."""
        self.rows.append({name: float(counts.sum()), "env_steps": env_steps})


class Memory:
    """A checkpoint store in memory; copies, as a file would."""

    def __init__(self) -> None:
        self.latest: dict[str, Any] = {}  # empty: never saved
        self.best: dict[str, Any] = {}
        self.saves = 0

    def save_latest(self, state: Mapping[str, Any]) -> None:
        """Keep a copy."""
        self.latest = copy.deepcopy(dict(state))
        self.saves += 1

    def save_best(self, state: Mapping[str, Any]) -> None:
        """Keep a copy."""
        self.best = copy.deepcopy(dict(state))

    def load_latest(self) -> dict[str, Any] | None:
        """Return the copy."""
        return self.latest or None


def evaluate(agent: Agent) -> Mapping[str, float]:
    """Play one episode of at most 30 steps."""
    env = FACTORY(1, autoreset="disabled")
    observations, infos = env.reset(seed=1)
    total = 0.0
    for _ in range(30):
        observations, rewards, *_, infos = env.step(agent.act(observations, infos))
        total += float(rewards[0])
    env.close()
    return {"score": total}


def make_agent(
    seed: int = 0,
    *,
    network: Mapping[str, Any] | None = None,
    network_class: type[MLPNetwork] = MLPNetwork,
    teacher: Callable[[], Teacher] | None = None,
    taught_decisions: int = 0,
    **search: Any,
) -> MuZeroAgent:
    """Return an untrained agent; ``search`` are options of its search, ``network`` of that."""
    env = gym.make("CartPole-v1")
    assert isinstance(env.observation_space, gym.spaces.Box)
    assert isinstance(env.action_space, gym.spaces.Discrete)
    return MuZeroAgent(
        observation_space=env.observation_space,
        action_space=env.action_space,
        seed=seed,
        network=partial(network_class, hidden_size=16, state_size=16, **(network or {})),
        search=partial(GumbelSearch, num_simulations=4, max_considered=2, **search),
        replay=partial(Replay, capacity=2000),
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        learning={"l2": 1e-4},
        plan=LearningPlan(
            batch_size=8,
            updates_per_decision=0.3,
            decisions_per_round=5,
            learning_starts=20,
            temperature=Piecewise((), (1.0,)),
            taught_decisions=taught_decisions,
        ),
        teacher=teacher,
        discount=0.99,
        device="cpu",
    )


def make_run(
    folder: Path,
    *,
    total_env_steps: int = 240,
    checkpoints: Memory | None = None,
    logger: Rows | None = None,
    make_environment: EnvironmentFactory = FACTORY,
    **settings: Any,
) -> TrainingRun:
    """Return a training run that logs to ``Rows`` and keeps checkpoints in ``Memory``."""
    options = {
        "num_envs": 4,
        "envs_per_group": 2,
        "evaluation_interval": 100,
        "checkpoint_interval": 100,
        "log_interval": 50,
        **settings,
    }
    return TrainingRun(
        settings=TrainerSettings(total_env_steps=total_env_steps, **options),
        make_environment=make_environment,
        evaluate=evaluate,
        logger=logger or Rows(),
        checkpoints=checkpoints or Memory(),
        folder=folder,
        seed=0,
    )


def weights(agent: MuZeroAgent) -> dict[str, torch.Tensor]:
    """Return a copy of the agent's weights."""
    return {name: tensor.clone() for name, tensor in agent.network.state_dict().items()}


def assert_same_weights(first: MuZeroAgent, second: MuZeroAgent) -> None:
    """Bit for bit."""
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
