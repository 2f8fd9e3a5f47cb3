"""Agents, environments and texts that the tests of the HTML report are made of."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import numpy as np

from agents.base import Agent
from agents.base import Infos
from agents.baselines.base import BaselineAgent
from agents.composition import probe_spaces
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodePlan

HOSTILE = "</script><script>window.broken = 1</script><b>&amp;'\"\u2028"
GATE = 0.85


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
