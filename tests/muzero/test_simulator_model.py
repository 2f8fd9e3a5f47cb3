"""Planning in the simulator: it finds what helps, stays in its rows, and trains AlphaZero."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from agents.agent import Agent, TrainerSettings
from agents.configuration.composition import build_agent, build_environment_factory, build_settings
from agents.environments import EnvironmentFactory, VectorEnvironment, final_observations
from agents.muzero.agent import MuZeroAgent
from agents.muzero.losses import ILLEGAL_LOGIT
from agents.muzero.model import LearnedModel
from agents.muzero.networks.mlp import MLPNetwork
from agents.muzero.replay import Replay
from agents.muzero.schedules import Piecewise
from agents.muzero.search import GumbelSearch
from agents.muzero.self_play import SelfPlayGroup
from agents.muzero.targets import TRUNCATED
from agents.muzero.trainer import LearningPlan
from agents.power_grid.simulator_model import CALM_VALUES, SimulatorModel, SimulatorPlanning
from agents.runs.saved_configs import change_saved, plain
from envs.fast.vector import PowerGridVectorEnv
from tests.muzero.cartpole import Memory, assert_same_weights, make_run, weights

B = 3
UNGUIDED = partial(SimulatorPlanning, guidance="none")
OPTIONS: dict[str, Any] = {"reward": "margin", "idle_gate": 0.95, "start": "random"}
FACTORY = EnvironmentFactory("envs:PowerGrid-v0", {**OPTIONS, "max_steps": 60}, vector=True)


@pytest.fixture(scope="module")
def env() -> PowerGridVectorEnv:
    return PowerGridVectorEnv(B, autoreset="disabled", action_mask="distinct", **OPTIONS)


@pytest.fixture(scope="module")
def learned(env: PowerGridVectorEnv) -> LearnedModel:
    return LearnedModel(make_network(env), discount=0.9)


def make_network(env: Any, **options: Any) -> MLPNetwork:
    torch.manual_seed(0)
    return MLPNetwork(
        observation_shape=env.single_observation_space.shape,
        num_actions=487,
        hidden_size=16,
        state_size=16,
        **options,
    )


def make_agent(
    env: Any,
    model: Any,
    *,
    num_simulations: int = 8,
    predict_discount: bool = False,
    chance_backup: Literal["expectation", "worst"] = "expectation",
    **options: Any,
) -> MuZeroAgent:
    considered = min(num_simulations, 16)
    return MuZeroAgent(
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        seed=0,
        network=partial(
            MLPNetwork, hidden_size=16, state_size=16, predict_discount=predict_discount
        ),
        search=partial(
            GumbelSearch,
            num_simulations=num_simulations,
            max_considered=considered,
            chance_backup=chance_backup,
        ),
        replay=partial(Replay, capacity=1000),
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        learning={},
        plan=options.pop("plan", LEARNING),
        discount=0.99,
        discount_unit="step",
        unroll_steps=options.pop("unroll_steps", 0),
        model=model,
        device="cpu",
    )


LEARNING = LearningPlan(
    batch_size=8,
    updates_per_decision=0.3,
    decisions_per_round=3,
    learning_starts=10,
    temperature=Piecewise((), (1.0,)),
)


def bound(
    env: PowerGridVectorEnv, learned: LearnedModel, guidance: str, calm_values: str = "network"
) -> SimulatorPlanning:
    planning = SimulatorPlanning(learned=learned, guidance=guidance, calm_values=calm_values)
    planning.bind(env)
    return planning


# ------------------------------------------------------------------------------------ the model


def test_rewards_are_the_simulators_and_guidance_the_networks(
    env: PowerGridVectorEnv, learned: LearnedModel
):
    observations, infos = env.reset(seed=0)
    model = bound(env, learned, "network").at(np.arange(B))
    root = model.root(observations)
    judged = learned.policy_value(observations)
    assert np.array_equal(root.value, judged.value) and not root.reward.any()
    assert (root.discount == 1).all()
    assert np.array_equal(root.policy_logits, judged.policy_logits)
    assert root.states.dtype == torch.int64 and root.states.shape == (B,)

    output = model.step(root.states, np.zeros(B, np.int64))
    planner = env.planner()
    played = planner.step(planner.begin(np.arange(B)), np.zeros(B, np.int64))
    judged = learned.policy_value(planner.observations(played.slots))
    assert np.array_equal(output.reward, played.reward) and (output.reward > 0.1).all()
    assert (output.discount == np.float32(0.9)).all()
    assert np.allclose(output.value, judged.value, atol=1e-6)
    legal = planner.legal(played.slots) == 1
    assert np.allclose(output.policy_logits[legal], judged.policy_logits[legal], atol=1e-6)
    assert (output.policy_logits[~legal] == ILLEGAL_LOGIT).all() and (~legal).any()


def test_a_blackout_is_the_end(env: PowerGridVectorEnv, learned: LearnedModel):
    observations, infos = env.reset(seed=0)
    legal = np.flatnonzero(infos["action_mask"][0])
    look = env.simulate([legal, *[None] * (B - 1)])[0]
    assert look is not None
    deadly = legal[look.game_over][:1]
    model = bound(env, learned, "network").at(np.array([0]))
    root = model.root(observations[:1])
    lost = model.step(root.states, deadly)
    assert lost.reward[0] == -10 and lost.value[0] == lost.discount[0] == 0
    calls = env.simulator_calls.copy()
    after = model.step(lost.states, np.array([0]))
    assert after.reward[0] == 0 and after.value[0] == after.discount[0] == 0
    assert np.isfinite(after.policy_logits).all()
    assert np.array_equal(env.simulator_calls, calls)


def test_the_end_of_an_episode_keeps_its_value(learned: LearnedModel):
    env = PowerGridVectorEnv(1, max_steps=1, reward="survival")
    observations, _ = env.reset(seed=0)
    model = bound(env, learned, "network").at(np.array([0]))
    done = model.step(model.root(observations).states, np.array([0]))
    after = model.step(done.states, np.array([0]))
    assert done.reward[0] == 1 and after.reward[0] == 0
    assert done.value[0] == after.value[0] != 0
    assert done.discount[0] == after.discount[0] == np.float32(0.9)


def test_without_a_network_values_are_0_and_priors_uniform(
    env: PowerGridVectorEnv, learned: LearnedModel
):
    observations, _ = env.reset(seed=0)
    model = bound(env, learned, "none").at(np.arange(B))
    root = model.root(observations)
    assert not root.value.any() and not root.policy_logits.any()
    output = model.step(root.states, np.zeros(B, np.int64))
    assert not output.value.any() and set(np.unique(output.policy_logits)) == {0, ILLEGAL_LOGIT}


def test_calm_states_can_be_worth_what_the_held_forecast_says(
    env: PowerGridVectorEnv, learned: LearnedModel
):
    observations, infos = env.reset(seed=0)
    legal = np.flatnonzero(infos["action_mask"][0])
    look = env.simulate([legal, *[None] * (B - 1)])[0]
    assert look is not None
    rho_max = np.where(look.game_over, 9, look.rho_max)
    order = np.argsort(rho_max)
    for place in (order[0], order[-1], np.argmin(abs(rho_max - 0.97))):
        models = [bound(env, learned, "network", calm) for calm in CALM_VALUES]
        held, plainly = (
            model.step(model.root(observations[:1]).states, legal[[place]])
            for model in (planning.at(np.array([0])) for planning in models)
        )
        assert np.array_equal(held.reward, plainly.reward)
        if rho_max[place] < 0.95:
            assert held.value[0] == pytest.approx(10 * held.reward[0])
            assert (held.policy_logits[0, 1:] == ILLEGAL_LOGIT).all()
            assert held.policy_logits[0, 0] == plainly.policy_logits[0, 0]
        else:
            most = 0 if held.reward[0] == -10 else 10 * held.reward[0]  # a blackout is worth 0
            assert held.value[0] == pytest.approx(min(plainly.value[0], most))
            assert np.array_equal(held.policy_logits, plainly.policy_logits)
    assert rho_max[order[0]] < 0.95 < rho_max[order[-1]]


# ----------------------------------------------------------------------------------- the search


def test_a_search_finds_the_action_that_removes_an_overload(
    env: PowerGridVectorEnv, learned: LearnedModel
):
    observations, infos = env.reset(seed=0)
    overloaded = np.zeros(B, bool)
    for _ in range(40):  # do nothing until a line is overloaded and will be
        looks = env.simulate([[0]] * B)
        overloaded = np.array([look is not None and look.rho_max[0] > 1 for look in looks])
        if overloaded.any():
            break
        observations, *_, infos = env.step(np.zeros(B, np.int64))
    rows = np.flatnonzero(overloaded)
    masks = infos["action_mask"][rows]
    count = int(masks.sum(axis=1).min())
    search = GumbelSearch(num_simulations=2 * count, max_considered=count)
    calls = env.simulator_calls.copy()
    result = search.run(
        bound(env, learned, "none").at(rows),
        observations[rows],
        masks,
        np.random.default_rng(0),
        explore=False,
    )
    for row, action in zip(rows.tolist(), result.action.tolist(), strict=True):
        look = env.simulate([[0, action] if grid == row else None for grid in range(B)])[row]
        assert look is not None
        assert look.rho_max[0] > 1 and look.rho_max[1] < 1
    assert (env.simulator_calls - calls)[rows].min() > count  # few simulations end in a blackout
    assert not (env.simulator_calls - calls)[~overloaded].any()


def test_the_agent_plans_for_its_active_environments(env: PowerGridVectorEnv):
    agent = make_agent(env, UNGUIDED)
    agent.bind(env)
    observations, infos = env.reset(seed=3)
    together = agent.act(observations, infos)
    calls = env.simulator_calls.copy()
    active = np.array([True, False, True])
    apart = agent.act(observations, infos, active)
    assert np.array_equal(together[active], apart[active])
    assert np.array_equal((env.simulator_calls - calls) > 0, active)
    last = make_agent(env, UNGUIDED)
    last.bind(env)
    assert last.act(observations, infos, ~active)[1] == together[1]


def test_a_pickled_agent_is_bound_anew(env: PowerGridVectorEnv):
    agent = make_agent(env, SimulatorPlanning)
    agent.bind(env)
    observations, infos = env.reset(seed=3)
    actions = agent.act(observations, infos)
    copy = pickle.loads(pickle.dumps(agent))
    with pytest.raises(ValueError, match=r"was not bound to an environment: call bind\(env\)"):
        copy.act(observations, infos)
    copy.bind(env)
    assert np.array_equal(copy.act(observations, infos), actions)


# ----------------------------------------------------------------------------------- training


def evaluate(agent: Agent) -> Mapping[str, float]:
    env = FACTORY(1, autoreset="disabled")
    observations, infos = env.reset(seed=1)
    agent.bind(env)
    rewards = env.step(agent.act(observations, infos))[1]
    env.close()
    return {"score": float(rewards[0])}


@pytest.mark.slow
def test_training_without_dynamics(env: PowerGridVectorEnv, tmp_path: Path):
    def train(store: Memory | None = None, **settings: Any) -> MuZeroAgent:
        agent = make_agent(env, SimulatorPlanning)
        run = make_run(
            tmp_path,
            make_environment=FACTORY,
            total_env_steps=settings.pop("total_env_steps", 900),
            checkpoints=store,
            evaluation_interval=600,
            checkpoint_interval=300,
            **settings,
        )
        agent.train(type(run)(**{**vars(run), "evaluate": evaluate}))
        return agent

    untrained, trained = weights(make_agent(env, SimulatorPlanning)), train()
    for name, tensor in weights(trained).items():
        changed = not torch.equal(tensor, untrained[name])
        assert changed == (not name.startswith(("transition", "dynamics", "reward"))), name
    assert_same_weights(trained, train(num_workers=1))
    store = Memory()
    train(store, total_env_steps=300)
    assert store.saves
    assert_same_weights(trained, train(store))


def test_a_network_that_predicts_discounts_changes_nothing(env: PowerGridVectorEnv):
    """The simulator's edges are discounted as ever: their endings are known."""
    predicting = make_agent(env, SimulatorPlanning, predict_discount=True)
    plain = make_agent(env, SimulatorPlanning)
    shared = {
        name: weight if weight.shape == plain.network.state_dict()[name].shape else weight[:-1]
        for name, weight in weights(predicting).items()
    }
    plain.load_state_dict({"network": shared})
    observations, infos = env.reset(seed=0)
    actions, records = [], []
    for agent in (predicting, plain):
        agent.bind(env)
        actions.append(agent.act(observations, infos))
        records.append(agent.explain())
    assert np.array_equal(*actions)
    assert records[0] == records[1]
    assert {node.discount for node in records[0][0].nodes[1:]} <= {np.float32(0.99), 0.0}


def test_truncation_bootstraps_from_the_network(env: PowerGridVectorEnv):
    factory = EnvironmentFactory("envs:PowerGrid-v0", {"max_steps": 1}, vector=True)
    network = make_network(env)
    group = SelfPlayGroup(
        group=0,
        make_environment=factory,
        num_envs=2,
        network=lambda: network,
        search=partial(GumbelSearch, num_simulations=2, max_considered=2),
        seed=0,
        discount=0.9,
        model=SimulatorPlanning,
    )
    decisions = group.play(1, temperature=1.0).decisions
    group.close()
    again = factory(2)
    again.reset(seed=[int(seed) for seed in np.random.SeedSequence([0, 0]).generate_state(2)])
    observations, *_, infos = again.step(decisions.action[0])
    finals = final_observations(observations, infos)
    truncated = decisions.end[0] == TRUNCATED
    expected = LearnedModel(network, discount=0.9).policy_value(finals).value
    assert truncated.any() and expected.all()
    assert np.allclose(decisions.final_value[0], np.where(truncated, expected, 0))


# ------------------------------------------------------------------------------- configuration


@pytest.fixture
def hydra_config() -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


def composed(*overrides: str) -> dict[str, Any]:
    return plain(compose("train", overrides=list(overrides)))


def build(config: Mapping[str, Any], env: VectorEnvironment) -> Agent:
    spaces = {
        "observation_space": env.single_observation_space,
        "action_space": env.single_action_space,
    }
    return build_agent(config["agent"], **spaces, seed=0)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("hydra_config")
def test_the_model_is_one_override_away(env: PowerGridVectorEnv):
    small = ("network=mlp", "agent.search.num_simulations=4", "agent.search.max_considered=4")
    learned = composed(*small)
    assert learned["agent"]["model"]["_target_"].endswith("LearnedPlanning")
    overrides = ["agent/model=simulator", "agent.model.guidance=none"]
    simulated = composed(*small, *overrides)
    observations, infos = env.reset(seed=0)
    saved = dict(learned, agent={k: v for k, v in learned["agent"].items() if k != "model"})
    of_runs = [  # a run of today and one from before there was a choice
        change_saved(
            config,
            compose("evaluate", overrides=[*small, *overrides]),
            overrides,
            changeable=("env", "agent"),
            ignored=("run",),
        )
        for config in (learned, saved)
    ]
    for config in (simulated, *of_runs):
        agent = build(config, env)
        assert not agent.learns  # so that it is evaluated without weights
        agent.bind(env)
        calls = env.simulator_calls.sum()
        agent.act(observations, infos)
        assert env.simulator_calls.sum() > calls
    assert build(saved, env).learns


@pytest.mark.usefixtures("hydra_config")
def test_the_alphazero_experiment_plans_in_the_simulator(env: PowerGridVectorEnv):
    config = composed("experiment=alphazero")
    agent = build(config, env)
    assert isinstance(agent, MuZeroAgent) and agent.learns
    assert config["agent"]["unroll_steps"] == 0
    assert config["agent"]["discount_unit"] == "step"  # which held values need
    assert config["agent"]["model"]["calm_values"] == "held_forecast"
    agent.preflight(build_environment_factory(config["env"]), build_settings(config["trainer"]))
    with pytest.raises(ValueError, match=r"unroll_steps=0 trains no dynamics.*model=simulator"):
        build({"agent": config["agent"] | {"model": composed()["agent"]["model"]}}, env)


# ----------------------------------------------------------------------------------- bad input


def test_other_environments_are_refused(env: PowerGridVectorEnv):
    agent = make_agent(env, SimulatorPlanning)
    for factory in (
        EnvironmentFactory("envs:PowerGrid-v0", {"scenarios": "bundled"}),
        EnvironmentFactory("CartPole-v1"),
    ):
        with pytest.raises(ValueError, match=r"env\.simulator=lightsim2grid"):
            agent.preflight(factory, TrainerSettings(total_env_steps=1000))


def test_reanalysis_is_refused(env: PowerGridVectorEnv):
    plan = LearningPlan(**{**vars(LEARNING), "reanalyse_every": 10})
    agent = make_agent(env, SimulatorPlanning, plan=plan)
    with pytest.raises(ValueError, match=r"reanalyse_every=10 .* agent/model=learned"):
        agent.preflight(FACTORY, TrainerSettings(total_env_steps=1000))


def test_nothing_is_trained_without_a_network(env: PowerGridVectorEnv, tmp_path: Path):
    agent = make_agent(env, UNGUIDED)
    before = weights(agent)
    agent.train(make_run(tmp_path, make_environment=FACTORY))
    assert all(torch.equal(before[name], now) for name, now in weights(agent).items())


def test_wrong_arguments_are_named(env: PowerGridVectorEnv, learned: LearnedModel):
    with pytest.raises(ValueError, match="unknown guidance 'networks'; did you mean 'network'"):
        SimulatorPlanning(learned=learned, guidance="networks")
    endless = LearnedModel(learned.network, discount=1.0)
    with pytest.raises(ValueError, match="held_forecast needs a discount .* below 1, not 1"):
        SimulatorPlanning(learned=endless, calm_values="held_forecast")
    observations, _ = env.reset(seed=0)
    model = bound(env, learned, "none").at(np.array([0]))
    assert isinstance(model, SimulatorModel)
    with pytest.raises(ValueError, match="3 observations of 1 environments"):
        model.root(observations)
    env.step(np.zeros(B, np.int64))
    over = PowerGridVectorEnv(1, autoreset="disabled")
    with pytest.raises(gym.error.ResetNeeded, match="environment 0"):
        bound(over, learned, "none").at(np.array([0])).root(observations[:1])
