"""What the tests of the HTML report play and show."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from hydra import compose
from hydra import initialize_config_module

from agents.base import Agent
from agents.base import Infos
from agents.baselines.base import BaselineAgent
from agents.commands import plain
from agents.composition import build_agent
from agents.composition import build_evaluation_factory
from agents.composition import build_plan
from agents.composition import probe_spaces
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodePlan
from agents.report import Recording
from agents.report import grid_of
from agents.report import record_episodes
from agents.report import render_page

HOSTILE = "</script><script>window.broken = 1</script><b>&amp;'\"\u2028"
GATE = 0.85
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


@dataclass(frozen=True)
class Setup:
    """An agent that plans, and the episodes that it plays."""

    agent: Agent
    make_environment: EnvironmentFactory
    plans: tuple[EpisodePlan, ...]


class Stubborn(BaselineAgent):
    """Takes the same action again and again; fails at its fourth decision."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.asked = self.favourite = 0

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        self.asked += 1
        if self.asked == 4:
            raise ArithmeticError("out of ideas")
        return np.full(len(observations), self.favourite)


@cache
def planner() -> Setup:
    """An agent with a small network and search, that has learned nothing yet."""
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("train", overrides=list(_OVERRIDES)))
    factory = build_evaluation_factory(config["env"], split="test", max_steps=540)
    observation, action = probe_spaces(factory)
    agent = build_agent(config["agent"], observation_space=observation, action_space=action, seed=3)
    plans = build_plan(config["env"], split="test", episodes=3, seed=20190106)
    return Setup(agent, factory, plans)


@cache
def planner_recording() -> Recording:
    """Two of its three episodes, which are evaluated two at a time."""
    setup = planner()
    return record_episodes(setup.agent, setup.make_environment, setup.plans, episodes=2, num_envs=2)


@cache
def planner_page() -> str:
    """The report of ``planner_recording``, with texts that try to break it."""
    facts = {"Rules": HOSTILE, "Idle gate": f"{GATE}"}
    return render_page(planner_recording(), agent=f"muzero {HOSTILE}", facts=facts, idle_gate=GATE)


@cache
def stubborn_recording() -> Recording:
    """One legal decision, two refused ones and a failure."""
    setup = planner()
    factory = bare(setup.make_environment, parameters={"NB_TIMESTEP_COOLDOWN_SUB": 3})
    agent = make(Stubborn, factory)
    assert isinstance(agent, Stubborn)
    texts = grid_of(factory)[1].texts
    agent.favourite = texts.index("substation 1: switch busbar of line_3 (or), gen_0")
    return record_episodes(agent, factory, setup.plans[:1])


def bare(factory: EnvironmentFactory, **kwargs: Any) -> EnvironmentFactory:
    """Return the recipe of the same environment without an idle gate, and with ``kwargs``."""
    return replace(factory, kwargs={**factory.kwargs, "idle_gate": None, **kwargs})


def make(kind: type[BaselineAgent], factory: EnvironmentFactory) -> BaselineAgent:
    """Return a baseline for the environments of ``factory``."""
    observation, action = probe_spaces(factory)
    return kind(observation_space=observation, action_space=action, seed=1)


def embedded(page: str) -> dict[str, Any]:
    """Return the data in a page."""
    found = re.search(r'id="report-data">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    return json.loads(found[1])
