"""Self-play processes that die or fail: reported, replaced, nothing hangs, nothing changes."""

from __future__ import annotations

import logging
import os
import signal
import time
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.environments import EnvironmentFactory
from agents.muzero.decision import map_fields
from agents.muzero.networks.mlp import MLPNetwork
from agents.muzero.pools import LocalPool, Round, WorkerPool
from agents.muzero.search import GumbelSearch
from agents.muzero.self_play import SelfPlayGroup
from tests.copies import WAYS
from tests.muzero.cartpole import FACTORY

NETWORK = partial(MLPNetwork, observation_shape=(4,), num_actions=2, hidden_size=8, state_size=8)


BROKEN = "tests.muzero.test_workers:Broken-v0"


def fail(**kwargs: Any) -> gym.Env[Any, Any]:
    raise ZeroDivisionError("out of luck")


gym.register("Broken-v0", fail)


def make_group(group: int, factory: EnvironmentFactory = FACTORY) -> SelfPlayGroup:
    torch.manual_seed(0)
    return SelfPlayGroup(
        group=group,
        make_environment=factory,
        num_envs=2,
        network=NETWORK,
        search=partial(GumbelSearch, num_simulations=3, max_considered=2),
        seed=1,
        discount=0.99,
    )


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def work():
    torch.manual_seed(0)
    return Round(weights=NETWORK().state_dict(), num_decisions=40, temperature=1.0)


def play(pool, work, rounds, between=lambda index: None):
    """Play some rounds; return everything played, by round and group."""
    played = []
    for index in range(rounds):
        pool.start(range(pool.num_groups), work)
        between(index)
        results = []
        while len(results) < pool.num_groups:
            results.extend(pool.finished())
        played.extend(sorted(results, key=lambda result: result.group))
    pool.close()
    pool.close()
    return played


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        map_fields(np.testing.assert_array_equal, one.decisions, other.decisions)
        assert one.episodes == other.episodes


def test_episodes_and_steps_are_counted(work):
    (experience,) = play(LocalPool(make_group, 1), work, 1)
    assert experience.env_steps == 80
    assert experience.decisions.action.size == 80
    assert len(experience.episodes) == (experience.decisions.end > 0).sum() > 0
    assert all(episode.reward == episode.env_steps for episode in experience.episodes)
    np.testing.assert_allclose(experience.decisions.policy.sum(axis=-1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_changes_nothing(work, caplog):
    expected = play(LocalPool(make_group, 3), work, 4)
    pool = WorkerPool(make_group, num_groups=3, num_workers=2)
    pids = pool._workers.pids()

    def kill_some(index):
        if index in (1, 2):
            time.sleep(0.02 * index)
            kill(pids[index - 1])

    with caplog.at_level(logging.WARNING):
        assert_same(play(pool, work, 4, between=kill_some), expected)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert f"self-play worker 0: its process ended (process {pids[0]} on" in messages[0]


@pytest.mark.slow
def test_open_processes_are_not_copied(work):
    pool = WorkerPool(make_group, 1, 1)
    for way in WAYS.values():
        with pytest.raises(TypeError, match="1 self-play workers, which cannot be") as caught:
            way(pool)
        assert "num_workers=0" in str(caught.value) and "\n" not in str(caught.value)
    assert len(play(pool, work, 1)) == 1  # and it goes on


@pytest.mark.slow
def test_an_exception_in_a_process_is_raised_here_with_its_traceback(work):
    for name, error, message in (
        (BROKEN, RuntimeError, "(?s)self-play worker 0 failed:.*ZeroDivisionError: out of luck"),
        ("NoSuchEnvironment-v7", ValueError, "unknown environment 'NoSuchEnvironment-v7'"),
    ):
        pool = WorkerPool(partial(make_group, factory=EnvironmentFactory(name)), 1, 1)
        pool.start([0], work)
        with pytest.raises(error, match=message):
            pool.finished()
        pool.close()


@pytest.mark.slow
def test_states_restore_a_pool_in_mid_episode(work):
    first = LocalPool(make_group, 2)
    whole = play(LocalPool(make_group, 2), work, 3)
    for _ in range(2):
        first.start([0, 1], work)
        first.finished()
        first.finished()
    states = [group.state_dict() for group in first._groups.values()]
    assert_same(play(LocalPool(make_group, 2, states), work, 1), whole[-2:])
    assert_same(play(WorkerPool(make_group, 2, 2, states), work, 1), whole[-2:])
