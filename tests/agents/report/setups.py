"""Agents, environments and texts that the tests of the HTML report are made of."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.agent import Agent, Infos
from agents.configuration.composition import probe_spaces
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeSpec
from agents.power_grid.baselines.base import BaselineAgent

HOSTILE = "</script><script>window.broken = 1</script><b>&amp;'\"\u2028"
GATE = 0.85


@dataclass(frozen=True)
class Setup:
    """An agent that plans, and the episodes that it plays."""

    agent: Agent
    make_environment: EnvironmentFactory
    plans: tuple[EpisodeSpec, ...]


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


def under_attack(setup: Setup, **kwargs: Any) -> EnvironmentFactory:
    """Return the recipe of the same environment with an opponent, asked every hour, too."""
    factory = setup.make_environment
    changes = {"opponent": "rl4pnc", "ask_every": 12, "n1_gate": 1.9, **kwargs}
    return replace(factory, kwargs={**factory.kwargs, **changes})


def make(kind: type[BaselineAgent], factory: EnvironmentFactory) -> BaselineAgent:
    """Return a baseline for the environments of ``factory``."""
    observation, action = probe_spaces(factory)
    return kind(observation_space=observation, action_space=action, seed=1)


def embedded(page: str) -> dict[str, Any]:
    """Return the data in a page."""
    found = re.search(r'id="report-data">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    return json.loads(zlib.decompress(base64.b64decode(found[1], validate=True)))


def unpack(columns: Sequence[Sequence[int]], *, resolution: float) -> np.ndarray:
    """Return the series ``[T, C]`` in a packed one, as ``assets/series.js`` reads it."""
    return np.cumsum(np.array(columns, np.float64).T, axis=0) * resolution
