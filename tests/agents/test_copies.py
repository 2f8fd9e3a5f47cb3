"""Copies of agents, environments side by side and loggers in mid-episode go on by themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils import EzPickle

from agents.environments import EnvironmentFactory
from agents.muzero.agent import MuZeroAgent
from agents.muzero.networks import MLPNetwork
from agents.muzero.planning import LearnedPlanning
from agents.muzero.replay import Replay
from agents.muzero.schedules import Piecewise
from agents.muzero.search import GumbelSearch, PUCTSearch
from agents.muzero.trainer import LearningPlan
from agents.power_grid.baselines import (
    DoNothingAgent,
    ExpertAgent,
    Greedy2Agent,
    GreedyAgent,
    RandomAgent,
    ReconnectAgent,
    RevertAgent,
)
from agents.power_grid.flow import FlowNetwork
from agents.power_grid.n1 import N1Agent
from agents.power_grid.planner import PlannerAgent
from agents.power_grid.simulator_model import SimulatorPlanning
from agents.ppo import PPOAgent
from agents.ppo.environment import MaskedVecEnv
from agents.resumable import ResumableVectorEnv
from agents.runs.loggers import CompositeLogger, CsvLogger, ProgressLogger, RunInfo, WandbLogger
from tests.copies import WAYS, by_shared_memory, same

OPTIONS = {"scenarios": "bundled", "start": "random", "idle_gate": 0.85}
GRIDS = EnvironmentFactory("PowerGrid-v0", OPTIONS, vector=True)
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def play(env: Any, agent: Any, observations: Any, infos: Any, decisions: int) -> list[Any]:
    """Let an agent play; return all that is seen on the way, and what was decided."""
    seen: list[Any] = []
    for _ in range(decisions):
        actions = agent.act(observations, infos)
        seen += [actions, env.step(actions), agent.explain() if agent.explains else {}]
        observations, _, _, _, infos = seen[-2]
    return seen


PLAN = LearningPlan(
    batch_size=8,
    updates_per_decision=1.0,
    decisions_per_round=5,
    learning_starts=20,
    temperature=Piecewise((), (1.0,)),
)


def muzero(env: Any, **options: Any) -> MuZeroAgent:
    kinds = {
        "network": partial(MLPNetwork, hidden_size=16, state_size=16),
        "search": partial(GumbelSearch, num_simulations=6, max_considered=4),
        "model": LearnedPlanning,
    }
    return MuZeroAgent(
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        seed=1,
        replay=partial(Replay, capacity=100),
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        learning={},
        plan=PLAN,
        device="cpu",
        **{**kinds, **options},
    )


def simple(kind: Any, env: Any, **options: Any) -> Any:
    return kind(
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        **options,
    )


AGENTS: dict[str, Callable[[Any], Any]] = {
    "do_nothing": partial(simple, DoNothingAgent),
    "random": partial(simple, RandomAgent, seed=3),
    "reconnect": partial(simple, ReconnectAgent),
    "revert": partial(simple, RevertAgent),
    "greedy": partial(simple, GreedyAgent, threshold=0.8),
    "greedy2": partial(simple, Greedy2Agent, threshold=0.8, width=1),
    "expert": partial(simple, ExpertAgent, threshold=0.8),
    "n1": partial(simple, N1Agent, threshold=0.8, margin=0.5),
    "planner": partial(simple, PlannerAgent, threshold=0.8, margin=0.5, depth=2, width=3),
    "ppo": partial(simple, PPOAgent, policy_layers=[16], value_layers=[16], device="cpu"),
    "gumbel": muzero,
    "puct": partial(muzero, search=partial(PUCTSearch, num_simulations=6)),
    "flow": partial(muzero, network=partial(FlowNetwork, grid="l2rpn_case14_sandbox")),
    "simulator": partial(muzero, model=SimulatorPlanning),
}


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.filterwarnings("error")
def test_copies_of_agents_go_on_like_the_original(kind: str):
    """In copies of their environment; observations are read-only, too, as Ray delivers them."""
    env = GRIDS(2)
    agent = AGENTS[kind](env)
    agent.bind(env)
    observations, infos = env.reset(seed=2)
    *_, (observations, _, _, _, infos), _ = play(env, agent, observations, infos, 2)
    twins = {name: way((env, agent)) for name, way in WAYS.items() if name != "copy"}
    twins["copy"] = copy.copy(env), copy.copy(agent)
    found = {}
    for name, (its_env, twin) in twins.items():
        twin.bind(its_env)
        shown = by_shared_memory((observations, infos))
        found[name] = play(its_env, twin, shown[0], shown[1], 3)
    expected = play(env, agent, observations, infos, 3)
    for name, seen in found.items():
        assert same(seen, expected), name
    env.close()


@every_way
def test_a_copied_agent_has_met_no_environment(way: Callable[[Any], Any]):
    env = GRIDS(1)
    observations, infos = env.reset(seed=2)
    for kind in ("revert", "greedy", "greedy2", "expert", "n1", "planner", "simulator"):
        agent = AGENTS[kind](env)
        agent.bind(env)
        twin = way(agent)
        with pytest.raises(ValueError, match=r"was not bound.*: call bind\(env\)"):
            twin.act(observations, infos)
        agent.act(observations, infos)
    env.close()


@every_way
@pytest.mark.parametrize("kind", ["gumbel", "puct", "simulator"])
def test_searches_are_explained_by_copies_as_by_the_original(way: Callable[[Any], Any], kind: str):
    env = GRIDS(2)
    agent = AGENTS[kind](env)
    agent.bind(env)
    observations, infos = env.reset(seed=2)
    agent.act(observations, infos)
    twin = way(agent)
    expected = dict(agent.explain())
    assert len(expected) == 2
    observations, _, _, _, infos = env.step(np.array([0, 0]))
    agent.act(observations, infos)
    assert same(dict(twin.explain()), expected)
    assert not same(dict(agent.explain()), expected)
    env.close()


# ------------------------------------------------------------------ environments side by side


class Drift(gym.Env[np.ndarray, np.int64], EzPickle):
    """A random walk that Gymnasium copies by its arguments, as it does what wraps C++."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, step: float):
        EzPickle.__init__(self, step)
        self.length = step
        self.place = np.zeros(1)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=1)
        return self.place, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = self.place + self.length * (2 * action - 1) + self.np_random.normal(size=1)
        return self.place, float(action), bool(abs(self.place[0]) > 3), False, {}


MAKERS: dict[str, Callable[[], gym.Env]] = {
    "cartpole": lambda: gym.make("CartPole-v1"),
    "anew": lambda: gym.wrappers.TimeLimit(Drift(0.5), 9),
    "grid": lambda: gym.make("PowerGrid-v0", scenarios="bundled", start="random", max_steps=12),
}


def steps(env: Any, count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [env.step(rng.integers(2, size=env.num_envs)) for _ in range(count)]


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("autoreset", ["same_step", "disabled"])
def test_copies_of_environments_side_by_side_go_on_like_the_original(kind: str, autoreset: Any):
    env = ResumableVectorEnv([MAKERS[kind]] * 2, autoreset=autoreset)
    env.reset(seed=4)
    steps(env, 14 if autoreset == "same_step" else 3)
    twins = {name: way(env) for name, way in WAYS.items()}
    found = {name: (steps(twin, 30), twin.state_dict()) for name, twin in twins.items()}
    expected = steps(env, 30), env.state_dict()
    assert sum((seen[2] | seen[3]).sum() for seen in expected[0])
    for name, seen in found.items():
        assert same(seen, expected), name
        twins[name].close()
    env.close()


@every_way
def test_the_environment_of_ppo_goes_on_in_a_copy(way: Callable[[Any], Any]):
    env = MaskedVecEnv(GRIDS(2), discount=0.9, reward_clip=10.0)
    env.reset()
    for _ in range(3):
        env.step(np.zeros(2, np.int64))
    twin = way(env)
    found = [twin.step(np.array([0, 7])) for _ in range(3)]
    assert same(found, [env.step(np.array([0, 7])) for _ in range(3)])
    assert same(twin.action_masks(), env.action_masks())
    assert same(twin.action_counts, env.action_counts)
    env.close()


# ------------------------------------------------------------------------------------- loggers


@pytest.fixture
def run(tmp_path: Path) -> RunInfo:
    return RunInfo(name="test", folder=tmp_path, config={}, total_env_steps=9)


@every_way
def test_loggers_of_files_and_lines_are_copied(way: Callable[[Any], Any], run: RunInfo):
    logger = CompositeLogger([CsvLogger(run=run), ProgressLogger(run=run, show={"a": "a"})])
    logger.log({"a": 1.0}, env_steps=1)
    twin = way(logger)
    twin.log({"a": 2.0}, env_steps=2)
    assert twin.env_steps == 2
    rows = (run.folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert rows == ["env_steps,a", "1,1", "2,2"]


@every_way
def test_an_open_wandb_run_is_refused_in_one_line(way: Callable[[Any], Any], run: RunInfo):
    logger = WandbLogger(run=run, mode="disabled")
    way(logger)  # not yet open
    logger.log({"a": 1.0}, env_steps=1)
    with pytest.raises(TypeError, match="W&B run open, which cannot be copied") as caught:
        way(CompositeLogger([logger]))
    assert "\n" not in str(caught.value)
    logger.close()
