"""``search=planner`` plans as the planner does, on what a network foresees."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from agents.muzero.agent import MuZeroAgent
from agents.muzero.model import LearnedModel
from agents.muzero.planning import LearnedPlanning
from agents.muzero.replay import Replay
from agents.muzero.schedules import Piecewise
from agents.muzero.search.gumbel import GumbelSearch
from agents.muzero.trainer import LearningPlan
from agents.power_grid.flow import FlowNetwork
from agents.power_grid.foreseen import ForeseenGrids, ForeseenPlanning, LearnedForesight
from agents.power_grid.lookahead_teacher import LookaheadTeacher
from agents.power_grid.plan_target import PLANNED_LOADINGS, TOPOLOGIES
from agents.power_grid.plan_teacher import PlanTeacher
from agents.power_grid.planner import PlannerAgent
from agents.power_grid.planner_search import PlannerSearch
from envs.fast.vector import PowerGridVectorEnv
from envs.grid.state import GridState

PLAN = LearningPlan(
    batch_size=8,
    updates_per_decision=1.0,
    decisions_per_round=5,
    learning_starts=20,
    taught_decisions=1,
    temperature=Piecewise((), (1.0,)),
)
SMALL = {"depth": 2, "width": 5, "answer_depth": 1}
GRID = "l2rpn_case14_sandbox"


def attacked(num_envs: int, **options: Any) -> PowerGridVectorEnv:
    return PowerGridVectorEnv(
        num_envs,
        autoreset="disabled",
        opponent="rl4pnc",
        split="val",
        idle_gate=0.95,
        ask_every=6,
        ask_at_attacks=True,
        **options,
    )


def network(planned: int = 8, **options: Any) -> FlowNetwork:
    torch.manual_seed(0)
    return FlowNetwork(
        observation_shape=(417,), num_actions=487, grid=GRID, hidden_size=16, planned=planned
    )


class Oracle:
    """A foresight that solves power flows itself, of one grid after the other."""

    def __init__(self, env: PowerGridVectorEnv) -> None:
        self._rollouts, self._env = env.rollouts(unusual=False), env

    def meet(self, state: GridState) -> None:
        (grid,) = np.flatnonzero((self._env.state.rho == state.rho).all(axis=1))
        self._rollouts.begin(int(grid))

    def loadings(self, topologies: np.ndarray) -> np.ndarray:
        return self._rollouts.loadings(topologies)


def agent_of(env: PowerGridVectorEnv, **options: Any) -> MuZeroAgent:
    agent = MuZeroAgent(
        observation_space=env.single_observation_space,  # pyright: ignore[reportArgumentType]
        action_space=env.single_action_space,  # pyright: ignore[reportArgumentType]
        seed=0,
        **{
            "network": partial(FlowNetwork, grid=GRID, hidden_size=16, planned=8),
            "search": partial(PlannerSearch, **SMALL),
            "model": ForeseenPlanning,
            "replay": Replay,
            "optimizer": torch.optim.Adam,
            "learning": {},
            "plan": PLAN,
            "teacher": PlanTeacher,
            "device": "cpu",
            **options,
        },
    )
    agent.bind(env)
    return agent


def test_with_a_foresight_that_knows_all_it_is_the_planner() -> None:
    env = attacked(2)
    planner = PlannerAgent(
        observation_space=env.single_observation_space,  # pyright: ignore[reportArgumentType]
        action_space=env.single_action_space,  # pyright: ignore[reportArgumentType]
        **SMALL,
    )
    planner.bind(env)
    search, learned = PlannerSearch(**SMALL), LearnedModel(network(), discount=0.99)
    observations, infos = env.reset(seed=3, options={"attack_seed": 3})
    oracle: Any = Oracle(env)
    acted = 0
    for _ in range(40):
        rows = np.flatnonzero(~env.over)
        expected = planner.act(observations, infos, ~env.over)[rows]
        model = ForeseenGrids(env, oracle, rows, learned)
        masks = infos["action_mask"][rows]
        result = search.run(model, observations[rows], masks, np.random.default_rng(0))
        np.testing.assert_array_equal(result.action, expected)
        np.testing.assert_array_equal(result.policy.argmax(axis=1), expected)
        np.testing.assert_array_equal(result.policy.sum(axis=1), 1)
        assert ((result.statistics.depth > 0) >= (expected != 0)).all()
        actions = np.zeros(2, np.int64)
        actions[rows] = expected
        acted += (expected != 0).sum()
        observations, *_, infos = env.step(actions)
    assert acted > 5


def test_it_solves_no_power_flow_and_its_copies_go_on_alike() -> None:
    env = attacked(2)
    agent = agent_of(env)
    observations, infos = env.reset(seed=3, options={"attack_seed": 3})
    for _ in range(3):
        observations, *_, infos = env.step(agent.act(observations, infos, ~env.over))
    twin = pickle.loads(pickle.dumps(agent))
    twin.bind(env)
    for _ in range(3):
        actions = agent.act(observations, infos, ~env.over)
        np.testing.assert_array_equal(twin.act(observations, infos, ~env.over), actions)
        observations, *_, infos = env.step(actions)
    assert not env.simulator_calls.any()


def test_a_foresight_reads_the_weights_that_there_are() -> None:
    env = attacked(1)
    env.reset(seed=3)
    net = network()
    foresight = LearnedForesight(net)
    topologies = env.state.topo_vect.repeat(2, axis=0)
    foresight.meet(env.state)
    before = foresight.loadings(topologies)
    assert before.shape == (2, 20) and (before[0] == before[1]).all()
    with torch.no_grad():
        net.loadings.carried.mul_(0.0)
    np.testing.assert_array_equal(foresight.loadings(topologies), before)  # of the same decision
    foresight.meet(env.state)
    assert not np.allclose(foresight.loadings(topologies), before)


def test_the_teacher_finds_what_the_simulator_says() -> None:
    env = attacked(3)
    _, infos = env.reset(seed=3, options={"attack_seed": 3})
    teacher = PlanTeacher(length=2, drawn=6, losses=2)
    teacher.bind(env)
    advice = teacher.advise(infos["action_mask"])
    own = LookaheadTeacher()
    own.bind(env)
    np.testing.assert_array_equal(advice.policy, own.advise(infos["action_mask"]).policy)
    topologies, planned = (advice.findings[name] for name in (TOPOLOGIES, PLANNED_LOADINGS))
    for grid in range(3):
        there = topologies[grid].any(axis=1)
        assert 10 < there.sum() <= len(there) == 1 + 2 * 6 + 2 * 3
        assert (topologies[grid, there][:, env.layout.line_or_position] < 0).any()  # a loss
        rollouts = env.rollouts(unusual=False)
        rollouts.begin(grid)
        found = rollouts.loadings(topologies[grid, there])
        np.testing.assert_allclose(planned[grid, there], found, rtol=1e-6)
    again = teacher.advise(infos["action_mask"]).findings
    for name, values in advice.findings.items():
        np.testing.assert_array_equal(again[name], values)  # of the state alone


def refusal(**options: Any) -> str:
    env = attacked(1)
    with pytest.raises(ValueError) as caught:
        agent = agent_of(env, **options)
        agent._make_learner(agent.network)
    return str(caught.value)


def test_what_does_not_go_together_is_refused() -> None:
    told = refusal(model=LearnedPlanning)
    assert "search=planner plans in grids that are foreseen: set agent/model=foreseen" in told
    told = refusal(search=partial(GumbelSearch, num_simulations=2, max_considered=2))
    assert "agent/model=foreseen is planned in by search=planner" in told
    told = refusal(network=partial(FlowNetwork, grid=GRID, hidden_size=16))
    assert "network=flow with agent.network.planned above 0" in told
    told = refusal(search=partial(PlannerSearch, depth=0))
    assert "depth must be an integer of at least 1, but is 0" in told
    with pytest.raises(ValueError, match="drawn must be an integer of at least 1, but is 0"):
        PlanTeacher(drawn=0)
    with pytest.raises(ValueError, match="was not bound"):
        PlanTeacher().advise(np.ones((1, 487), np.int8))
    for target in network().auxiliary_targets[1:]:
        with pytest.raises(ValueError, match="set agent/teacher=plans, or agent.network.planned=0"):
            target.check_teacher(None)
