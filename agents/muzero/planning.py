"""The model that searches plan in while environments are played (``agent/model=...``).

A search wants a ``Model`` or a ``ChanceModel``, whose roots are given observations. A learned model
needs no more than those; the simulator needs to know which environments they were seen in.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from agents.environments import VectorEnvironment
from agents.muzero.model import LearnedModel
from agents.muzero.search.base import ChanceModel, Model, Search


class PlanningModel(Protocol):
    """Makes the models that searches plan in; one for each vector environment being played.

    It pickles, and leaves the environment behind.
    """

    plans_in_network: bool  # states are the network's: its dynamics must be trained
    uses_network: bool  # values and priors are the network's: there is something to learn

    def bind(self, env: VectorEnvironment) -> None:
        """Meet the environment about to be played.

        Raises:
            ValueError: no plans can be made in it; the message says what to do.
        """
        ...

    def at(self, rows: np.ndarray) -> Model | ChanceModel:
        """Return a model whose roots are the present states of environments ``rows [n]`` int."""
        ...


class PlanningModelMaker(Protocol):
    """Makes a ``PlanningModel``; what the configuration names."""

    def __call__(self, *, learned: LearnedModel) -> PlanningModel:
        """Return one beside ``learned``, the network's own model, to be used or not."""
        ...


def check_pair(planning: PlanningModel, search: Search) -> None:
    """Let what is planned in and what plans meet: some go with few others.

    Those have ``check_pair(other)``.

    Raises:
        ValueError: they do not go together; the message says what does.
    """
    for one, other in ((planning, search), (search, planning)):
        if check := getattr(one, "check_pair", None):
            check(other)


class LearnedPlanning:
    """Plans in the network's own states.

    Args:
        learned: the network's model.
    """

    plans_in_network = True
    uses_network = True

    def __init__(self, *, learned: LearnedModel) -> None:
        self._learned = learned

    def bind(self, env: VectorEnvironment) -> None:
        """See ``PlanningModel``: any environment will do."""

    def at(self, rows: np.ndarray) -> Model:
        """See ``PlanningModel``: the observations say all."""
        return self._learned
