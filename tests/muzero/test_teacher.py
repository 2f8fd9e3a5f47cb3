"""Teachers: what they say, what self-play does with it, and that training goes on exactly."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from agents.agent import TrainerSettings
from agents.configuration.composition import build_agent, build_environment_factory, probe_spaces
from agents.environments import EnvironmentFactory, VectorEnvironment
from agents.muzero.agent import MuZeroAgent
from agents.muzero.model import LearnedModel
from agents.muzero.networks import MLPNetwork
from agents.muzero.search import GumbelSearch, SearchResult
from agents.muzero.self_play import Experience, SelfPlayGroup
from agents.muzero.teacher import Advice
from agents.power_grid.baselines.greedy import GreedyAgent
from agents.power_grid.baselines.reference_topology import departures
from agents.power_grid.lookahead_teacher import LOADINGS, LookaheadTeacher
from agents.resumable import ResumableVectorEnv
from agents.runs.saved_configs import plain
from envs.fast.vector import PowerGridVectorEnv
from tests.muzero.cartpole import (
    FACTORY,
    Memory,
    assert_same_weights,
    make_agent,
    make_run,
    weights,
)

B = 4
TAUGHT = 130  # decisions: between the checkpoints of the runs below


# ----------------------------------------------------------------------------- the look-ahead


@pytest.fixture(scope="module")
def env() -> Iterator[PowerGridVectorEnv]:
    made = PowerGridVectorEnv(B, idle_gate=0.95, start="random", reward="survival")
    yield made
    made.close()


def bound(env: VectorEnvironment, **options: Any) -> LookaheadTeacher:
    teacher = LookaheadTeacher(**options)
    teacher.bind(env)
    return teacher


def assert_equal(one: Any, other: Any) -> None:
    """Nested dicts, lists and arrays, all the way down."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_equal(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def test_the_policy_is_the_softmax_of_the_formula(env: PowerGridVectorEnv) -> None:
    _, infos = env.reset(seed=0)
    rng = np.random.default_rng(0)
    teacher = bound(env, overload_weight=20.0, departure_weight=0.5, loading_weight=3.0)
    for _ in range(3):
        mask = infos["action_mask"]
        policy = teacher.advise(mask).policy
        assert policy.dtype == np.float32 and policy.shape == mask.shape
        np.testing.assert_allclose(policy.sum(axis=1), 1.0, rtol=1e-5)
        assert not policy[mask == 0].any() and (mask == 0).any()
        for row in range(B):
            legal = np.flatnonzero(mask[row])
            outlook = env.simulate([legal if index == row else None for index in range(B)])[row]
            assert outlook is not None and outlook.game_over.any()
            assert not policy[row, legal[outlook.game_over]].any()
            away = departures(env.catalogue, env.state, row, legal)
            rho = outlook.rho_max.astype(np.float64)
            score = -(20.0 * np.maximum(rho - 0.9, 0.0) + 0.5 * away + 3.0 * rho)
            weight = np.exp(score - score.max())
            np.testing.assert_allclose(policy[row, legal], weight / weight.sum(), atol=1e-6)
        actions = [rng.choice(len(row), p=row / row.sum()) for row in policy.astype(np.float64)]
        infos = env.step(np.array(actions))[4]


def test_the_mode_is_the_greedy_baselines_action(env: PowerGridVectorEnv) -> None:
    """With weights that rank as it does: loading beyond safe, then departures, then loading."""
    teacher = bound(env, overload_weight=1e9, departure_weight=10.0, loading_weight=1.0)
    least = bound(env, overload_weight=0.0, departure_weight=0.0, loading_weight=100.0)
    spaces: Any = {
        "observation_space": env.single_observation_space,
        "action_space": env.single_action_space,
    }
    greedy = GreedyAgent(**spaces, threshold=0.0, safe=0.9)
    careless = GreedyAgent(**spaces, threshold=0.0, safe=None)
    observations, infos = env.reset(seed=1)
    changed = 0
    for _ in range(4):
        mask = infos["action_mask"]
        for agent, says in ((greedy, teacher), (careless, least)):
            agent.bind(env)
            policy = says.advise(mask).policy
            actions = agent.act(observations, infos)
            np.testing.assert_array_equal(policy.argmax(axis=1), actions)
            changed += np.count_nonzero(actions)
        observations, _, _, _, infos = env.step(actions)
    assert changed > 8  # it is not all doing nothing


def test_advice_leaves_the_grids_as_they_are(env: PowerGridVectorEnv) -> None:
    _, infos = env.reset(seed=2)
    before = copy.deepcopy((env.state_dict(), list(env.state)))
    first = bound(env).advise(infos["action_mask"]).policy
    after = env.state_dict(), list(env.state)
    calls = [saved.pop("simulator_calls") for saved in (before[0], after[0])]
    assert all(now > was for was, now in zip(*calls, strict=True))  # counted, and that is all
    assert_equal(before, after)
    np.testing.assert_array_equal(first, bound(env).advise(infos["action_mask"]).policy)


def test_where_every_action_ends_the_game_all_legal_ones_are_alike(
    env: PowerGridVectorEnv,
) -> None:
    _, infos = env.reset(seed=0)
    legal = np.flatnonzero(infos["action_mask"][1])
    outlook = env.simulate([None, legal, None, None])[1]
    assert outlook is not None
    deadly = legal[outlook.game_over][:5]
    mask = infos["action_mask"].copy()
    mask[1] = 0
    mask[1, deadly] = 1
    policy = bound(env).advise(mask).policy
    np.testing.assert_allclose(policy[1, deadly], 0.2)
    assert policy[1].sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(policy[[0, 2, 3]], bound(env).advise(mask).policy[[0, 2, 3]])


def test_single_environments_are_taught_alike(env: PowerGridVectorEnv) -> None:
    """The reference's own look-ahead, at the actions of one substation."""
    options = {"idle_gate": 0.95, "reward": "survival"}
    policies = []
    for vector in (True, False):
        grids = EnvironmentFactory("envs:PowerGrid-v0", options, vector=vector)(1)
        _, infos = grids.reset(seed=3)
        mask = np.zeros_like(infos["action_mask"])
        mask[0, :40] = infos["action_mask"][0, :40]
        policies.append(bound(grids).advise(mask).policy)
        grids.close()
    np.testing.assert_allclose(*policies, atol=1e-3)
    assert policies[0].max() > 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lead": 1.5}, "^lead must be 0 to 1, got 1.5"),
        ({"safe": -0.1}, "^safe must be finite, 0 or more, got -0.1"),
        ({"overload_weight": float("nan")}, "^overload_weight must be .* got nan"),
        ({"departure_weight": float("inf")}, "^departure_weight must be .* got inf"),
        ({"loading_weight": -1.0}, "^loading_weight must be .* got -1.0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LookaheadTeacher(**options)
    with pytest.raises(ValueError, match=message):
        make_agent(teacher=partial(LookaheadTeacher, **options), taught_decisions=5)


# ---------------------------------------------------------------------------------- self-play


class Balance:
    """Teaches CartPole: push to the side that the pole falls to."""

    findings: tuple[str, ...] = ()

    def __init__(self, lead: float = 0.5, certainty: float = 1.0) -> None:
        self.lead = lead
        self._certainty = certainty
        self._env: ResumableVectorEnv | None = None

    def bind(self, env: VectorEnvironment) -> None:
        """Keep it."""
        assert isinstance(env, ResumableVectorEnv)
        self._env = env

    def advise(self, action_mask: np.ndarray) -> Advice:
        """``certainty`` for that side; it does not look ahead."""
        assert self._env is not None
        states = np.array([one.unwrapped.state for one in self._env.envs])  # pyright: ignore
        return Advice(balance(states, self._certainty))


def balance(states: np.ndarray, certainty: float = 1.0) -> np.ndarray:
    right = states[:, 2] + 0.5 * states[:, 3] > 0.0  # angle and its velocity
    return np.where(np.stack([~right, right], axis=1), certainty, 1.0 - certainty).astype(
        np.float32
    )


class Watched(GumbelSearch):
    """Keeps what it answered."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.results: list[SearchResult] = []

    def run(self, *arguments: Any, **options: Any) -> SearchResult:
        """Search."""
        self.results.append(super().run(*arguments, **options))
        return self.results[-1]


def play(teacher: Balance | None, *, taught: bool) -> tuple[Experience, Watched]:
    torch.manual_seed(0)
    network = MLPNetwork(observation_shape=(4,), num_actions=2, hidden_size=8, state_size=8)
    search = Watched(num_simulations=4, max_considered=2)
    group = SelfPlayGroup(
        group=0, make_environment=FACTORY, num_envs=4, network=lambda: network, seed=0,
        search=lambda: search, discount=0.99,
        teacher=None if teacher is None else lambda: teacher,
    )  # fmt: skip
    experience = group.play(30, temperature=1.0, taught=taught)
    group.close()
    return experience, search


def test_a_taught_round_learns_the_teachers_policies_and_is_led_in_its_share() -> None:
    experience, search = play(Balance(lead=0.5), taught=True)
    expected = balance(experience.decisions.observation.reshape(-1, 4)).reshape(30, 4, 2)
    np.testing.assert_array_equal(experience.decisions.policy, expected)
    searched = np.stack([result.action for result in search.results])
    taught = expected.argmax(axis=2)
    np.testing.assert_array_equal(experience.decisions.action[:, :2], taught[:, :2])
    np.testing.assert_array_equal(experience.decisions.action[:, 2:], searched[:, 2:])
    assert (searched[:, :2] != taught[:, :2]).any() and (searched[:, 2:] != taught[:, 2:]).any()
    values = np.stack([result.value for result in search.results])
    np.testing.assert_array_equal(experience.decisions.root_value, values)  # still the search's own


def test_the_teachers_actions_are_draws_from_its_policy() -> None:
    experience, _ = play(Balance(lead=1.0, certainty=0.8), taught=True)
    likely = experience.decisions.policy.argmax(axis=2) == experience.decisions.action
    assert 0.7 < likely.mean() < 0.9  # of 120 draws with 0.8


def test_a_teacher_is_silent_in_other_rounds_and_where_it_leads_nothing() -> None:
    alone, _ = play(None, taught=False)
    silent, _ = play(Balance(lead=1.0), taught=False)
    listening, _ = play(Balance(lead=0.0), taught=True)
    for other in (silent, listening):
        for name in ("observation", "action", "reward", "root_value", "end"):
            np.testing.assert_array_equal(
                getattr(other.decisions, name), getattr(alone.decisions, name)
            )
    np.testing.assert_array_equal(silent.decisions.policy, alone.decisions.policy)
    assert (listening.decisions.policy != alone.decisions.policy).any()


# ----------------------------------------------------------------------------------- training


def taught_agent(taught_decisions: int = TAUGHT, **options: Any) -> MuZeroAgent:
    teacher = partial(Balance, certainty=0.95)
    return make_agent(teacher=teacher, taught_decisions=taught_decisions, **options)


def train(tmp_path: Path, agent: MuZeroAgent, **options: Any) -> MuZeroAgent:
    agent.train(make_run(tmp_path, **options))
    return agent


def test_resumed_in_the_teaching_and_after_it(tmp_path: Path) -> None:
    """Bit for bit the same as never interrupted."""
    whole = train(tmp_path, taught_agent())
    store = Memory()
    stops = []
    for total_env_steps in (100, 200, 240):
        agent = train(tmp_path, taught_agent(), checkpoints=store, total_env_steps=total_env_steps)
        stops.append(store.latest["progress"]["decisions"])
    assert stops[0] < TAUGHT < stops[1]
    assert_same_weights(whole, agent)
    expected = weights(whole)
    for other in (make_agent(), taught_agent(1000)):  # taught never, and always
        given = weights(train(tmp_path, other))
        assert any(not torch.equal(given[name], now) for name, now in expected.items())


def test_reanalysis_waits_for_the_end_of_the_teaching(tmp_path: Path) -> None:
    def policies(taught_decisions: int) -> np.ndarray:
        agent = taught_agent(taught_decisions)
        agent._plan = dataclasses.replace(agent._plan, reanalyse_every=5)
        store = Memory()
        train(tmp_path, agent, checkpoints=store)
        return store.latest["replay"]["arrays"]["policy"].float().numpy()

    said = np.array([0.05, 0.95])
    assert np.allclose(np.sort(policies(10_000), axis=1), said, atol=1e-3)
    assert not np.isclose(np.sort(policies(TAUGHT), axis=1), said, atol=1e-3).any()


def test_teachers_and_plans_go_together() -> None:
    with pytest.raises(ValueError, match=r"taught_decisions=7 needs a teacher: set agent/teacher="):
        make_agent(taught_decisions=7)
    with pytest.raises(ValueError, match=r"nothing to teach with agent.plan.taught_decisions=0"):
        make_agent(teacher=Balance)
    agent = make_agent(teacher=LookaheadTeacher, taught_decisions=7)
    with pytest.raises(ValueError, match="PowerGrid-v0 only; this environment is CartPoleEnv"):
        agent.preflight(FACTORY, TrainerSettings(total_env_steps=1000))


# -------------------------------------------------------------------------------- on the grid


def grid_agent(*overrides: str) -> tuple[MuZeroAgent, EnvironmentFactory]:
    """Return an agent of the configuration that the look-ahead teaches, and what it plays."""
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose(
            "train",
            overrides=[
                "observation=features",
                "reward=survival",
                "wrappers=gated",
                "env.kwargs.start=random",
                "network=residual",
                "agent.network.hidden_size=64",
                "agent/teacher=lookahead",
                "agent.search.num_simulations=2",
                "agent.search.max_considered=2",
                "agent.optimizer.lr=4.0e-3",
                "agent.plan.learning_starts=16",
                "agent.plan.updates_per_decision=1.0",
                "agent.plan.batch_size=64",
                "trainer.device=cpu",
                *overrides,
            ],
        )
    config = plain(composed)
    factory = build_environment_factory(config["env"])
    observation_space, action_space = probe_spaces(factory)
    agent = build_agent(
        config["agent"], observation_space=observation_space, action_space=action_space, seed=0
    )
    assert isinstance(agent, MuZeroAgent)
    return agent, factory


def train_on_grid(
    tmp_path: Path, agent: MuZeroAgent, factory: EnvironmentFactory, **options: Any
) -> None:
    agent.preflight(factory, TrainerSettings(total_env_steps=1000))
    far = {name: 10**9 for name in ("evaluation_interval", "checkpoint_interval", "log_interval")}
    run = make_run(tmp_path, make_environment=factory, **{**far, **options})
    agent.train(dataclasses.replace(run, evaluate=lambda agent: {"score": 0.0}))


@pytest.mark.slow
def test_a_short_training_with_the_look_ahead(tmp_path: Path) -> None:
    agent, factory = grid_agent("agent.plan.taught_decisions=100000")
    fresh = factory(16)
    observations, infos = fresh.reset(seed=9)
    advised = bound(fresh).advise(infos["action_mask"]).policy
    fresh.close()

    def cross_entropy() -> float:
        logits = LearnedModel(agent.network, discount=0.99).policy_value(observations).policy_logits
        log_policy = torch.from_numpy(logits).log_softmax(dim=1).numpy()
        return float(-(advised * log_policy).sum(axis=1).mean())

    assert cross_entropy() > 6.0  # 487 actions: 6.19 nats
    sizes = {"num_envs": 16, "envs_per_group": 16, "total_env_steps": 120_000}
    train_on_grid(tmp_path, agent, factory, **sizes)
    assert cross_entropy() < 3.5


@pytest.mark.slow
@pytest.mark.parametrize("network", ["residual", "flow"])  # flow learns from look-aheads besides
def test_the_look_ahead_teaches_alike_in_processes_and_across_resumes(
    tmp_path: Path, network: str
) -> None:
    def train(store: Memory, total_env_steps: int = 16_000, **options: Any) -> MuZeroAgent:
        agent, factory = grid_agent("agent.plan.taught_decisions=24", f"network={network}")
        options = {"checkpoints": store, "total_env_steps": total_env_steps, **options}
        train_on_grid(tmp_path, agent, factory, **options)
        return agent

    whole = train(Memory())
    store = Memory()
    train(store, 100)
    assert store.latest["progress"]["decisions"] < 24
    resumed = train(store, num_workers=1)
    assert store.latest["progress"]["decisions"] > 24
    assert_same_weights(whole, resumed)


def test_the_flow_network_wants_a_teacher_that_looks_ahead() -> None:
    agent, factory = grid_agent("network=flow", "agent/teacher=none")
    with pytest.raises(ValueError, match="and there is none; set agent/teacher=lookahead"):
        agent.preflight(factory, TrainerSettings(total_env_steps=1000))
    (target,) = agent.network.auxiliary_targets
    with pytest.raises(ValueError, match="and Balance does not; set agent/teacher=lookahead"):
        target.check_teacher(Balance())
    target.check_teacher(LookaheadTeacher())


def test_advice_tells_the_loadings_that_were_looked_at(env: PowerGridVectorEnv) -> None:
    _, infos = env.reset(seed=4)
    mask = infos["action_mask"]
    advice = bound(env).advise(mask)
    assert LookaheadTeacher.findings == (LOADINGS,) == tuple(advice.findings)
    loadings = advice.findings[LOADINGS]
    assert loadings.shape == (*mask.shape, 20)
    assert np.isnan(loadings[mask == 0]).all()
    for row, look in enumerate(env.simulate([np.flatnonzero(legal) for legal in mask])):
        assert look is not None and look.game_over.any() and not look.game_over.all()
        np.testing.assert_array_equal(loadings[row, mask[row] != 0], look.rho)
        assert np.isinf(look.rho[look.game_over]).all()
        assert np.isfinite(look.rho[~look.game_over]).all()
        np.testing.assert_array_equal(look.rho.max(axis=1), look.rho_max)
