"""Trains and evaluates on two Ray nodes of this machine, one of which is killed meanwhile.

    python -m tests.muzero.two_nodes

Run in a process of its own, since a process has one connection to Ray. It prints one JSON object,
for ``test_cluster`` to compare with what is played without Ray.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from ray.cluster_utils import Cluster

from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator, list_episodes
from agents.runs.cluster import connect, disconnect
from tests.muzero.cartpole import Memory, Rows, make_agent, make_run

CARTPOLE = EnvironmentFactory("CartPole-v1")
STEPS = 4000


class Told(logging.Handler):
    """Keeps what is told of lost workers."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.lines.append(record.getMessage())


class Watched(Rows):
    """Does something a moment after the first row: in the middle of a round."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self._act: Callable[[], Any] | None = act

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """Keep a row."""
        super().log(metrics, env_steps=env_steps)
        if self._act is not None:
            threading.Timer(0.05, self._act).start()
            self._act = None


def trained(num_workers: int, act: Callable[[], Any] = lambda: None) -> str:
    """Return a hash of the weights after a training."""
    run = make_run(
        Path(),
        total_env_steps=STEPS,
        logger=Watched(act),
        checkpoints=Memory(),
        num_workers=num_workers,
        evaluation_interval=10**6,
        checkpoint_interval=10**6,
    )
    torch.manual_seed(0)
    agent = make_agent()
    agent.train(run)
    digest = hashlib.sha256()
    for tensor in agent.network.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def evaluated(num_workers: int, act: Callable[[], Any] = lambda: None) -> list[float]:
    """Return the rewards of some episodes."""
    episodes = list_episodes(None, episodes=300)
    acted = False

    def watch(episode: Any) -> None:
        nonlocal acted
        if not acted:
            acted = True
            act()

    evaluator = EpisodeEvaluator(
        CARTPOLE, episodes, num_envs=1, num_workers=num_workers, on_episode=watch
    )
    found = evaluator.evaluate(make_agent(), name="muzero")
    evaluator.close()
    return [episode.reward for episode in found.episodes]


def main() -> None:
    """Run."""
    told = Told()
    logging.getLogger("agents").addHandler(told)
    found: dict[str, Any] = {}
    for name, play in (("weights", trained), ("rewards", evaluated)):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        second = cluster.add_node(num_cpus=1)
        connect(cluster.address)

        def kill(cluster: Cluster = cluster, second: Any = second) -> None:
            cluster.remove_node(second, allow_graceful=False)

        begin = time.perf_counter()
        found[name] = play(2, kill)
        found[f"{name}_seconds"] = round(time.perf_counter() - begin, 1)
        disconnect()
        cluster.shutdown()
    print(json.dumps({**found, "told": told.lines}))


if __name__ == "__main__":
    main()
