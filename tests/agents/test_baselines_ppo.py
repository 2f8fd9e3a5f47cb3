"""Masked PPO: our environments as sb3 wants them, repeatable, resumable, and it learns."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.agent import Evaluator, TrainerSettings, TrainingRun
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator, list_episodes
from agents.ppo import PPOAgent
from agents.ppo.environment import MaskedVecEnv
from agents.runs.checkpoints import CheckpointFolder

CARTPOLE = EnvironmentFactory("CartPole-v1")
GRID = EnvironmentFactory(
    "PowerGrid-v0",
    {"idle_gate": 0.95, "start": "random", "max_steps": 300, "action_mask": "distinct"},
    vector=True,
)
SMALL = {"policy_layers": [16], "value_layers": [16], "batch_size": 16, "epochs": 2}


class Rows:
    """A logger that keeps its rows."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.counts = 0

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        self.rows.append((env_steps, dict(metrics)))

    def log_histogram(self, name: str, counts: np.ndarray, *, env_steps: int) -> None:
        self.counts += int(counts.sum())


def make_agent(factory: EnvironmentFactory, **options: Any) -> PPOAgent:
    env = factory(1)
    spaces: dict[str, Any] = {
        "observation_space": env.single_observation_space,
        "action_space": env.single_action_space,
    }
    agent = PPOAgent(**spaces, **{**SMALL, "device": "cpu", **options})
    env.close()
    return agent


def make_run(
    factory: EnvironmentFactory, folder: Path, evaluate: Evaluator, **settings: Any
) -> TrainingRun:
    options = {"total_env_steps": 10**9, "num_envs": 4, "log_interval": 1, "device": "cpu"}
    return TrainingRun(
        settings=TrainerSettings(**{**options, **settings}),
        make_environment=factory,
        evaluate=evaluate,
        logger=Rows(),
        checkpoints=CheckpointFolder(folder),
        folder=folder,
        seed=5,
    )


def cartpole_evaluator(episodes: int = 2) -> EpisodeEvaluator:
    return EpisodeEvaluator(CARTPOLE, list_episodes(None, episodes=episodes))


def weights(agent: PPOAgent) -> dict[str, torch.Tensor]:
    return agent.state_dict()["policy"]


def assert_same(first: PPOAgent, second: PPOAgent) -> None:
    for name, tensor in weights(first).items():
        torch.testing.assert_close(tensor, weights(second)[name], rtol=0, atol=0, msg=name)


def test_sb3_sees_masks_endings_and_scaled_rewards() -> None:
    inner = GRID(3)
    env = MaskedVecEnv(inner, discount=0.99, reward_clip=5.0)
    env.seed(1)
    observations: Any = env.reset()
    assert env.observation_space.contains(observations[0])
    assert env.has_attr("action_masks")
    assert not env.has_attr("colour")
    rng = np.random.default_rng(0)
    totals, ends = np.zeros(3), {"blackout": 0, "limit": 0}
    for _ in range(25):
        masks = np.stack(env.env_method("action_masks"))
        assert masks.shape == (3, 487)
        assert masks[:, 0].all()
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in masks])
        stepped: Any = env.step(actions)
        observations, rewards, over, infos = stepped
        assert np.abs(rewards).max() <= 5.0
        totals += rewards
        for index in range(3):
            assert ("terminal_observation" in infos[index]) == over[index]
            if over[index]:
                ends["limit" if infos[index]["TimeLimit.truncated"] else "blackout"] += 1
                assert not np.array_equal(infos[index]["terminal_observation"], observations[index])
    assert env.decisions == 75
    assert env.env_steps > env.decisions  # the gate plays calm steps
    assert env.action_counts.sum() == 75
    assert len(env.episodes) == ends["limit"] + ends["blackout"]
    assert ends["blackout"] == sum(not one.survived for one in env.episodes) > 0
    assert all(1 <= one.env_steps <= 300 for one in env.episodes)
    assert (totals > 0).all()
    env.close()


def test_same_seed_same_weights_and_a_resumed_run_is_never_interrupted(tmp_path: Path) -> None:
    def train(folder: str, decisions: int) -> tuple[PPOAgent, Rows]:
        agent = make_agent(GRID, total_decisions=decisions, decisions_per_round=8)
        evaluator = EpisodeEvaluator(GRID, list_episodes(None, episodes=1))
        run = make_run(
            GRID, tmp_path / folder, evaluator, evaluation_interval=10**8, checkpoint_interval=1
        )
        torch.manual_seed(len(folder))  # what stood there before does not matter
        before: Any = np.random.get_state(legacy=False)
        of_torch = torch.get_rng_state()
        agent.train(run)
        evaluator.close()
        assert torch.equal(torch.get_rng_state(), of_torch)
        after: Any = np.random.get_state(legacy=False)
        assert (after["state"]["key"] == before["state"]["key"]).all()
        assert isinstance(run.logger, Rows)
        return agent, run.logger

    whole, log = train("whole", 96)
    again, _ = train("again, and alone", 96)
    assert_same(whole, again)
    train("parts", 32)
    resumed, rest = train("parts", 96)
    assert_same(whole, resumed)
    assert (log.counts, rest.counts) == (96, 64)
    steps = [env_steps for env_steps, row in log.rows if "train/total" in row]
    assert steps == sorted(steps)
    assert len(steps) == 3
    assert [row["progress/decisions"] for _, row in log.rows if "train/total" in row] == [
        32,
        64,
        96,
    ]
    assert all(np.isfinite(list(row.values())).all() for _, row in log.rows)
    assert any("val/score" in row for _, row in log.rows)
    fresh = make_agent(GRID, seed=1)
    assert not torch.equal(weights(fresh)["action_net.weight"], weights(whole)["action_net.weight"])
    fresh.load_state_dict(CheckpointFolder(tmp_path / "whole").load_weights("best"))
    assert_same(fresh, whole)


def test_only_legal_actions_are_chosen_and_agents_pickle() -> None:
    agent = make_agent(GRID)
    env = GRID(3, autoreset="disabled")
    observations, infos = env.reset(seed=2)
    actions = agent.act(observations, infos)
    masks = np.asarray(infos["action_mask"])
    assert masks[np.arange(3), actions].all()
    only = np.zeros_like(masks)
    only[0, 7] = only[1, 19] = 1  # the third is over: nothing is legal
    assert agent.act(observations, {"action_mask": only}).tolist()[:2] == [7, 19]
    copy = pickle.loads(pickle.dumps(agent))
    assert_same(agent, copy)
    assert copy.act(observations, infos).tolist() == actions.tolist()
    assert agent.learns
    env.close()


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)  # as Python marks what is not there
    with pytest.raises(
        ValueError, match=r'needs sb3_contrib.*pip install "powergrid-muzero\[ppo\]"'
    ):
        make_agent(CARTPOLE)


def test_weights_of_others_are_named() -> None:
    agent = make_agent(CARTPOLE)
    with pytest.raises(ValueError, match=r"not weights of PPO: .* found \['network'\]"):
        agent.load_state_dict({"network": {}})
    other = make_agent(CARTPOLE, policy_layers=[8])
    with pytest.raises(
        ValueError, match=r"of another network: .*policy_net\.0\.weight is \[8, 4\] there"
    ):
        agent.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rat": 1e-3}, "did you mean 'learning_rate'"),
        ({"batch_size": 0}, "agent.batch_size: Input should be greater than 0, found 0"),
        ({"discount": 1.5}, "agent.discount: .* less than or equal to 1, found 1.5"),
        ({"learning_rate": 0.0}, "agent.learning_rate: .* greater than 0, found 0.0"),
        ({"entropy_weight": -1}, "agent.entropy_weight: .* greater than or equal to 0, found -1"),
        ({"activation": "tan"}, "did you mean 'tanh'"),
        ({"policy_layers": [64, -1]}, "policy_layers must be an integer of at least 1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_agent(CARTPOLE, **options)


def test_self_play_processes_are_refused(tmp_path: Path) -> None:
    run = make_run(CARTPOLE, tmp_path, cartpole_evaluator(), num_workers=1)
    with pytest.raises(ValueError, match="set trainer.num_workers=0 and"):
        make_agent(CARTPOLE).train(run)


@pytest.mark.slow
def test_it_learns_cartpole(tmp_path: Path) -> None:
    agent = make_agent(
        CARTPOLE,
        policy_layers=[64, 64],
        value_layers=[64, 64],
        batch_size=256,
        epochs=10,
        total_decisions=40_000,
        learning_rate=1e-3,
        entropy_weight=0.0,
        seed=5,  # as the run's, so these are the weights that training starts from
    )
    evaluator = cartpole_evaluator(10)
    assert evaluator(agent)["score"] < 50  # untrained, of 500 at most
    agent.train(make_run(CARTPOLE, tmp_path, evaluator, num_envs=8, evaluation_interval=10_000))
    assert evaluator(agent)["score"] > 400
