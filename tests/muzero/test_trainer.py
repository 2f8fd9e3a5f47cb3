"""The training loop: same seed same weights, however it is played; resume; Ctrl-C."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.environments import EnvironmentFactory
from agents.muzero.learner import Learner
from agents.muzero.schedules import Linear
from agents.muzero.self_play import SelfPlayGroup
from agents.runs import training_loop
from tests.muzero.cartpole import (
    Memory,
    Rows,
    assert_same_weights,
    evaluate,
    make_agent,
    make_run,
    weights,
)


def train(tmp_path, *, store: Memory | None = None, logger: Rows | None = None, **options):
    agent = make_agent()
    agent.train(make_run(tmp_path, checkpoints=store, logger=logger, **options))
    return agent


def test_training_changes_weights_logs_and_keeps(tmp_path):
    before = weights(make_agent())
    log, store = Rows(), Memory()
    agent = train(tmp_path, logger=log, store=store)
    assert any(not torch.equal(before[name], now) for name, now in weights(agent).items())

    train_row = next(row for row in log.rows if "train/total" in row)
    for key in (
        "train/value",
        "train/reward",
        "train/policy",
        "train/grad_norm",
        "search/depth",
        "search/root_value",
        "search/visit_entropy",
        "self_play/reward",
        "self_play/episode_steps",
        "time/decisions_per_s",
    ):
        assert key in train_row
    assert sum("val/score" in row for row in log.rows) == 3  # at 100, 200 and the end
    assert any("self_play/actions" in row for row in log.rows)
    assert store.saves == 3
    assert store.best


def test_same_seed_same_weights(tmp_path):
    assert_same_weights(train(tmp_path), train(tmp_path))


@pytest.mark.slow
def test_schedules_end_with_the_training_whichever_ends_it(tmp_path, monkeypatch):
    """By the clock too: the last learning rates are those of the schedule's end."""
    clock = itertools.count(step=0.03)  # seconds; of the machine's own, a round may take any time
    monkeypatch.setattr(training_loop, "time", SimpleNamespace(perf_counter=lambda: next(clock)))

    def rates(**limits) -> list[float]:
        agent, log = make_agent(), Rows()
        agent._learning = {**agent._learning, "learning_rate": Linear(start=1e-3, end=1e-5)}
        agent.train(make_run(tmp_path, logger=log, log_interval=20, **limits))
        return [row["train/learning_rate"] for row in log.rows if "train/learning_rate" in row]

    for limits in ({}, {"max_minutes": 0.03, "total_env_steps": 10**9}):
        given = rates(**limits, evaluation_interval=10**9, checkpoint_interval=10**9)
        assert given == sorted(given, reverse=True)
        assert given[0] > 7e-4 and given[-1] < 2e-4


@pytest.mark.parametrize("num_workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_number_of_processes_changes_nothing(tmp_path, num_workers):
    alone = train(tmp_path)
    together = train(tmp_path, num_workers=num_workers)
    assert_same_weights(alone, together)


def test_resuming_gives_the_weights_of_a_run_never_interrupted(tmp_path):
    """Stop at each checkpoint in turn, go on with fresh objects: bit for bit the same."""
    whole = train(tmp_path)
    store = Memory()

    class Killed(Exception):
        pass

    class DiesAfterOneSave(Memory):
        def save_latest(self, state):
            super().save_latest(state)
            raise Killed

    for _ in range(2):
        dying = DiesAfterOneSave()
        dying.latest = store.latest
        with pytest.raises(Killed):
            train(tmp_path, store=dying)
        store.latest = dying.latest
    assert store.latest["progress"]["env_steps"] < 240
    resumed = train(tmp_path, store=store)
    assert_same_weights(whole, resumed)


@pytest.mark.slow
def test_asynchronous_self_play_trains(tmp_path):
    store = Memory()
    train(tmp_path, store=store, num_workers=2, synchronous=False)
    assert store.latest["progress"]["env_steps"] >= 240
    assert store.latest["progress"]["updates"] > 20


@pytest.mark.parametrize("where", ["play", "learn"])
def test_a_round_that_is_broken_off_is_begun_again(tmp_path, monkeypatch, where):
    """Ctrl-C while a group plays, or between two updates: bit for bit the same in the end."""
    whole, store, calls = train(tmp_path), Memory(), itertools.count(1)
    owner, method = {"play": (SelfPlayGroup, "play"), "learn": (Learner, "update")}[where]
    original = getattr(owner, method)

    def interrupting(self, *arguments, **options):
        if next(calls) == 13:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments, **options)

    monkeypatch.setattr(owner, method, interrupting)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, store=store)
    stopped = store.latest["progress"]
    assert store.latest["round"] is not None and stopped["env_steps"] % 20 == 0
    if where == "learn":
        assert stopped["owed_updates"] >= 1.0  # what is left of them comes after the resume
    assert_same_weights(whole, train(tmp_path, store=store))


@pytest.mark.slow
def test_asynchronous_play_ends_at_ctrl_c(tmp_path, monkeypatch):
    store, calls, update = Memory(), itertools.count(1), Learner.update

    def interrupting(self, *arguments, **options):
        if next(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return update(self, *arguments, **options)

    monkeypatch.setattr(Learner, "update", interrupting)
    settings = {"num_workers": 2, "synchronous": False}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, store=store, **settings)
    assert store.latest["progress"]["updates"] == 5
    train(tmp_path, store=store, **settings)
    assert store.latest["progress"]["env_steps"] >= 240


def test_ctrl_c_writes_a_checkpoint_and_resumes_exactly(tmp_path):
    whole = train(tmp_path)
    handler = signal.getsignal(signal.SIGINT)  # a shell's background jobs begin with SIG_IGN

    class Interrupting(Rows):
        """Presses Ctrl-C when the first row of losses comes."""

        def log(self, metrics, *, env_steps):
            super().log(metrics, env_steps=env_steps)
            if "train/total" in metrics and not self.pressed:
                self.pressed = True
                os.kill(os.getpid(), signal.SIGINT)

        pressed = False

    store = Memory()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, store=store, logger=Interrupting())
    assert store.saves == 1
    assert 0 < store.latest["progress"]["env_steps"] < 240
    assert signal.getsignal(signal.SIGINT) is handler

    resumed = train(tmp_path, store=store)
    assert_same_weights(whole, resumed)


def test_ctrl_c_during_evaluation_stops_at_once(tmp_path):
    store = Memory()
    run = make_run(tmp_path, checkpoints=store)

    def interrupted(agent):
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate(agent)

    with pytest.raises(KeyboardInterrupt):
        make_agent().train(dataclasses.replace(run, evaluate=interrupted))
    assert store.saves == 1
    assert not store.best


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("decisions_per_round", 0),
        ("learning_starts", 0),
        ("reanalyse_every", 0),
        ("taught_decisions", -1),
        ("updates_per_decision", -0.5),
        ("updates_per_decision", float("nan")),
    ],
)
def test_a_plan_out_of_range_is_named(option, value):
    good = make_agent()._plan
    with pytest.raises(ValueError, match=f"^{option} must be .*, got {value}"):
        dataclasses.replace(good, **{option: value})


def test_reanalysis_needs_the_masks_of_illegal_actions(tmp_path):
    """Without them it would teach actions that the environment refuses."""
    agent = make_agent()
    agent._plan = dataclasses.replace(agent._plan, reanalyse_every=5)
    agent.train(make_run(tmp_path, total_env_steps=60))  # CartPole has no illegal actions

    masked = EnvironmentFactory("CartPole-v1", wrappers=(OneLegalAction,))
    with pytest.raises(ValueError, match="set agent.replay.store_action_masks=true"):
        agent.train(make_run(tmp_path, total_env_steps=60, make_environment=masked))


class OneLegalAction(gym.Wrapper):
    """CartPole whose mask allows action 1 only."""

    def reset(self, **options):
        observation, info = self.env.reset(**options)
        return observation, {**info, "action_mask": np.array([0, 1], np.int8)}

    def step(self, action):
        *outcome, info = self.env.step(action)
        return *outcome, {**info, "action_mask": np.array([0, 1], np.int8)}


def test_groups_must_divide_the_environments(tmp_path):
    with pytest.raises(ValueError, match="num_envs=4 is not a multiple of .*envs_per_group=3"):
        train(tmp_path, envs_per_group=3)


def test_asynchronous_needs_processes(tmp_path):
    with pytest.raises(ValueError, match="synchronous=false needs self-play processes"):
        train(tmp_path, synchronous=False)


def test_weights_of_another_network_are_refused():
    agent = make_agent()
    state = agent.state_dict()
    state["network"] = {k: v for k, v in state["network"].items() if "policy" not in k}
    with pytest.raises(ValueError, match="of another network: .*policy.* is absent there"):
        agent.load_state_dict(state)
    with pytest.raises(ValueError, match="not weights of MuZero"):
        agent.load_state_dict({"weights": {}})
