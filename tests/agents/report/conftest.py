"""What the tests of the HTML report play and show, each made once."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module

from agents.configuration.composition import (
    build_agent,
    build_episode_list,
    build_evaluation_factory,
    evaluation_environment,
    probe_spaces,
)
from agents.pictures.report import Recording, grid_of, record_episodes, render_page
from agents.power_grid.baselines import GreedyAgent
from agents.runs.saved_configs import plain
from tests.agents.report.setups import GATE, HOSTILE, Setup, Stubborn, bare, make, under_attack

_OVERRIDES = (
    "network=mlp",
    "agent.network.hidden_size=16",
    "agent.network.state_size=16",
    "agent.search.num_simulations=12",
    "agent.search.max_considered=4",
    "wrappers=gated",
    f"env.kwargs.idle_gate={GATE}",
    "trainer.device=cpu",
)


@pytest.fixture(scope="session")
def setup() -> Setup:
    """An agent with a small network and search, that has learned nothing yet."""
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("train", overrides=list(_OVERRIDES)))
    env = evaluation_environment(config["env"], config["evaluation"]["env"])
    factory = build_evaluation_factory(env, split="test", max_steps=540)
    observation, action = probe_spaces(factory)
    agent = build_agent(config["agent"], observation_space=observation, action_space=action, seed=3)
    plans = build_episode_list(env, split="test", episodes=3, seed=20190106)
    return Setup(agent, factory, plans)


@pytest.fixture(scope="session")
def recording(setup: Setup) -> Recording:
    """Two of its three episodes, which are evaluated two at a time."""
    return record_episodes(setup.agent, setup.make_environment, setup.plans, episodes=2, num_envs=2)


@pytest.fixture(scope="session")
def page(recording: Recording) -> str:
    """The report of ``recording``, with texts that try to break it."""
    facts = {"Rules": HOSTILE, "Idle gate": f"{GATE}"}
    return render_page(recording, agent=f"muzero {HOSTILE}", facts=facts, idle_gate=GATE)


@pytest.fixture(scope="session")
def attacked(setup: Setup) -> Recording:
    """Greedy look-ahead under attack, asked every hour and when a line is loaded."""
    factory = under_attack(setup, max_steps=200)
    return record_episodes(make(GreedyAgent, factory), factory, setup.plans[1:2])


@pytest.fixture(scope="session")
def with_chance(setup: Setup) -> Recording:
    """Some decisions of an agent that plans in the simulator and leaves attacks to chance."""
    overrides = [*_OVERRIDES, "agent/model=simulator", "agent.model.chance=attacks"]
    overrides += ["agent.model.attack_probability=0.4", "agent.search.num_simulations=24"]
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("train", overrides=overrides))
    factory = bare(under_attack(setup, max_steps=6), ask_every=None, n1_gate=None)
    observation, action = probe_spaces(factory)
    agent = build_agent(config["agent"], observation_space=observation, action_space=action, seed=3)
    return record_episodes(agent, factory, setup.plans[:1])


@pytest.fixture(scope="session")
def stubborn(setup: Setup) -> Recording:
    """One legal decision, two refused ones and a failure."""
    factory = bare(setup.make_environment, parameters={"NB_TIMESTEP_COOLDOWN_SUB": 3})
    agent = make(Stubborn, factory)
    assert isinstance(agent, Stubborn)
    texts = grid_of(factory)[1].texts
    agent.favourite = texts.index("substation 1: switch busbar of line_3 (or), gen_0")
    return record_episodes(agent, factory, setup.plans[:1])
