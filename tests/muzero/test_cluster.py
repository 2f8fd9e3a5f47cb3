"""Workers on one machine or many: addresses, versions, how many, and lost nodes."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import agents
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator, list_episodes
from agents.power_grid.baselines import RandomAgent
from agents.runs.cluster import Workers, WorkersLostError, connect, connection, worker_count
from benchmarks.playing import no_work
from tests.muzero.two_nodes import evaluated, trained

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ("cartpole", "trainer.num_workers=1", "logger=csv")


@pytest.mark.slow
def test_a_lost_node_changes_nothing() -> None:
    """One of two nodes is killed in the middle of a round, and of an evaluation."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.muzero.two_nodes"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    assert found["weights"] == trained(0)
    assert found["rewards"] == evaluated(0)
    lost = [line for line in found["told"] if "lost" in line or "ended" in line]
    assert {line.split(" worker")[0] for line in lost} == {"self-play", "evaluation"}, lost
    assert finished.stdout.count("\n") == 1  # not what Ray would tell of it


@pytest.mark.slow
def test_a_worker_without_memory_ends_the_run_in_a_line(working_folder: Path) -> None:
    """Ray's own monitor takes the machine for full, and ends each worker."""
    finished = _train(RAY_memory_usage_threshold="0.001", RAY_memory_monitor_refresh_ms="100")
    *_, last = finished.stderr.splitlines()
    assert finished.returncode == 1
    assert "was lost 3 times without doing a task: its node ran out of memory; giving up" in last
    assert "fewer trainer.num_workers" in last and "powergrid-train resume=" in last


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token(working_folder: Path) -> None:
    connect()
    import ray

    address = ray.get_runtime_context().gcs_address
    finished = _train(f"ray.address={address}", RAY_AUTH_MODE="disabled")
    *_, last = finished.stderr.splitlines()
    assert finished.returncode == 2
    assert last.startswith(f"ray.address={address}: ") and "set RAY_AUTH_MODE=token" in last
    assert not list(working_folder.iterdir())


def _train(*overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Train with a worker, in a process of its own."""
    command = [sys.executable, "-m", "agents.commands.train", "experiment=cartpole"]
    return subprocess.run(
        [*command, "trainer.num_workers=1", "logger=csv", *overrides],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "ray.address=127.0.0.1:9: nothing answers there within 10 s"),
        ("ray://127.0.0.1:9", "ray.address=ray://127.0.0.1:9: nothing answers there"),
        ("nonsense", "ray.address=nonsense: expected auto, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_an_address_where_nothing_answers(address: str, message: str, working_folder: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        agents.train(*WORKERS, f"ray.address={address}")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no workers are asked for; set trainer.num_workers or"):
        agents.train("cartpole", f"ray.address={address}")
    with pytest.raises(ValueError, match=r"ray.address=auto: no workers .*evaluation.num_workers"):
        agents.evaluate("do_nothing", "cluster=auto", folder="out")
    assert not list(working_folder.iterdir())


def test_nodes_with_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connect()
    own = connection._version
    monkeypatch.setattr(connection, "_version", lambda name: f"{own(name)}.post1")
    with pytest.raises(ValueError, match=r"ray.address=auto: node \S+ has ray \S+, this machine"):
        connection._check_nodes("auto")


def test_a_ray_that_does_not_start_is_told_of_in_a_line() -> None:
    code = (
        "from agents.runs.cluster import connection\n"
        "try: connection._start({'resources': {'CPU': 1}})\n"
        "except ChildProcessError as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(
        r"Ray does not start on this machine, tried 3 times: .*CPU.* Play in this process with "
        r"trainer.num_workers=0 and evaluation.num_workers=0.\n",
        ended.stdout,
    )
    assert ended.stderr.count("; started anew") == 2


def test_no_more_workers_than_are_of_use(caplog: pytest.LogCaptureFixture) -> None:
    key = "trainer.num_workers of this test"
    with caplog.at_level(logging.WARNING):
        assert worker_count(100, 1, key) == 1
        assert worker_count(100, 1, key) == 1
        assert worker_count(1, 4, key) == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{key}=100: more than 1 would not help (groups to play: 1, cores: ")


def test_a_process_that_always_dies_ends_the_run() -> None:
    workers = Workers(
        lambda worker: partial(os._exit, 1), 1, what="self-play worker", advice="Rest.", cores=0.1
    )
    workers.send(0, "task")
    with pytest.raises(WorkersLostError, match="worker 0 was lost 3 times without doing a task"):
        workers.receive()
    workers.close()


def test_a_connection_that_cannot_be_made_anew_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = Workers(lambda worker: no_work, 1, what="worker", advice="", cores=0.1)
    workers.send(0, "task")
    monkeypatch.setattr(connection, "is_alive", lambda: False)
    monkeypatch.setattr(connection, "disconnect", lambda: None)  # other tests use it still
    monkeypatch.setattr(connection._Connection, "address", "127.0.0.1:1")
    with pytest.raises(WorkersLostError, match=r"ray.address=127.0.0.1:1: nothing answers there"):
        workers.receive()
    monkeypatch.undo()
    workers.close()


def test_workers_change_no_evaluation() -> None:
    cartpole = EnvironmentFactory("CartPole-v1")
    env = cartpole.make()
    agent = RandomAgent(
        observation_space=env.observation_space, action_space=env.action_space, seed=1
    )
    plan = list_episodes(None, episodes=6)
    found = []
    for num_workers in (0, 2):
        evaluator = EpisodeEvaluator(cartpole, plan, num_envs=2, num_workers=num_workers)
        episodes = evaluator.evaluate(agent, name="random").episodes
        found.append([replace(one, seconds=0.0, median_ms=0.0, p99_ms=0.0) for one in episodes])
        evaluator.close()
    assert found[0] == found[1]
