"""Self-play processes that die or fail: reported, replaced, nothing hangs, nothing changes."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial

import numpy as np
import pytest
import torch

from agents.environments import EnvironmentFactory
from agents.muzero.decision import map_fields
from agents.muzero.networks.mlp import MLPNetwork
from agents.muzero.pools import LocalPool, ProcessPool, Round
from agents.muzero.search import GumbelSearch
from agents.muzero.self_play import SelfPlayGroup
from tests.copies import WAYS
from tests.muzero.cartpole import FACTORY

NETWORK = partial(MLPNetwork, observation_shape=(4,), num_actions=2, hidden_size=8, state_size=8)


def make_group(group: int, factory: EnvironmentFactory = FACTORY) -> SelfPlayGroup:
    torch.manual_seed(0)
    return SelfPlayGroup(
        group=group,
        make_environment=factory,
        num_envs=2,
        network=NETWORK(),
        search=GumbelSearch(num_simulations=3, max_considered=2),
        seed=1,
        discount=0.99,
    )


def kill_first(pool: ProcessPool) -> None:
    pid = pool._workers[0].process.pid
    assert pid is not None
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
    pool = ProcessPool(make_group, num_groups=3, num_workers=2)

    def kill(index):
        if index in (1, 2):
            kill_first(pool)

    with caplog.at_level(logging.WARNING):
        assert_same(play(pool, work, 4, between=kill), expected)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "self-play process 0 died (signal SIGKILL); replaced" in messages[0]


@pytest.mark.slow
def test_open_processes_are_not_copied(work):
    pool = ProcessPool(make_group, 1, 1)
    for way in WAYS.values():
        with pytest.raises(TypeError, match="1 self-play processes, which cannot be") as caught:
            way(pool)
        assert "trainer.num_workers=0" in str(caught.value) and "\n" not in str(caught.value)
    assert len(play(pool, work, 1)) == 1  # and it goes on


def test_a_process_that_always_dies_ends_the_run(work):
    pool = ProcessPool(make_group, num_groups=1, num_workers=1)
    pool.start([0], work)
    with pytest.raises(RuntimeError, match="died .* 4 times without finishing a round"):
        while True:
            kill_first(pool)
            pool._receive(0) if pool._workers[0].connection.poll(5.0) else None
    pool.close()


@pytest.mark.slow
def test_an_exception_in_a_process_is_raised_here_with_its_traceback(work):
    broken = partial(make_group, factory=EnvironmentFactory("NoSuchEnvironment-v7"))
    pool = ProcessPool(broken, num_groups=1, num_workers=1)
    pool.start([0], work)
    with pytest.raises(RuntimeError, match="(?s)self-play process 0 failed:.*NoSuchEnvironment-v7"):
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
    states = first.states()
    assert_same(play(LocalPool(make_group, 2, states), work, 1), whole[-2:])
    assert_same(play(ProcessPool(make_group, 2, 2, states), work, 1), whole[-2:])
