"""``agent/model=foreseen``: grids on what the flow network foresees, to plan in.

The rules of the game and the present state are the environment's; what topologies lead to, the
network says. No power flow is solved.

Shape letters: B observations, E element ends, L lines, n topologies.
"""

from __future__ import annotations

import numpy as np
import torch

from agents.environments import VectorEnvironment
from agents.muzero.model import LearnedModel
from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.search.base import Search
from agents.power_grid.compiled_flow import CompiledFlow
from agents.power_grid.flow import FlowNetwork
from agents.power_grid.grid_access import require_fast_grids
from envs import FeaturesEncoder, GridState, PowerGridVectorEnv

_SURE = 1.0  # logit from which on a topology counts as holding no state of the grid
_BEYOND = 4.0  # loading from which on the same is taken for granted


class LearnedForesight:
    """What a flow network says that topologies lead to, see ``envs.Foresight``.

    Args:
        network: of the grid, on the CPU; read with the weights that it has when a grid is met.
    """

    def __init__(self, network: FlowNetwork):
        self._network = network
        self._encoder = FeaturesEncoder(network.tables.layout)
        self._flat = torch.empty(0)
        self._known = torch.empty(0)
        self._flow: CompiledFlow | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave behind what is made anew for each grid that is met."""
        return {**vars(self), "_flow": None}

    @torch.inference_mode()
    def meet(self, state: GridState) -> None:
        """Be asked from now on about the grid of which this is the present state, ``[1, ...]``."""
        network = self._network
        self._flow = CompiledFlow(network.tables, network.loadings)
        self._flat = torch.from_numpy(self._encoder.encode(state))
        self._known = network.loadings.observe(network.tables, self._flat)

    @torch.inference_mode()
    def loadings(self, topologies: np.ndarray) -> np.ndarray:
        """Return loadings ``[n, L]`` in ``[n, E]`` topologies, inf where there are none."""
        assert self._flow is not None  # it has met a grid
        busbars = torch.from_numpy(topologies)
        rows = torch.zeros(len(busbars), dtype=torch.int64)
        loading, ends = self._flow(self._known, rows, busbars)
        logit = self._network.collapse_logits(self._flat, rows, busbars, loading, ends)
        over = (logit > _SURE) | (loading.amax(dim=0) > _BEYOND)
        return torch.where(over, torch.inf, loading).t().numpy()


def foresight_of(network: MuZeroNetwork) -> LearnedForesight | None:
    """Return what a network says that topologies lead to; None if it has not learned that."""
    if isinstance(network, FlowNetwork) and network.collapses is not None:
        return LearnedForesight(network)
    return None


class ForeseenGrids:
    """Grids of a vector environment, for a search that plans in them.

    Args:
        grids: the environment.
        foresight: what says what topologies lead to.
        rows: ``[n]`` int, the grids.
        learned: whose values the roots have.
    """

    def __init__(
        self,
        grids: PowerGridVectorEnv,
        foresight: LearnedForesight,
        rows: np.ndarray,
        learned: LearnedModel,
    ):
        self.grids = grids
        self.foresight = foresight
        self.rows = rows
        self._learned = learned

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return the network's own values ``[B]`` of ``observations [B, ...]``."""
        return self._learned.policy_value(observations).value


class ForeseenPlanning:
    """Plans in grids on what the network foresees; see ``PlanningModel``.

    Args:
        learned: the model of a flow network.

    Raises:
        ValueError: it is another network, or it has learned no plans.
    """

    plans_in_network = False
    uses_network = True

    def __init__(self, *, learned: LearnedModel) -> None:
        foresight = foresight_of(learned.network)
        if foresight is None:
            raise ValueError(
                "agent/model=foreseen reads what plans lead to from network=flow with "
                "agent.network.planned above 0; take these, or agent/model=learned"
            )
        self._learned = learned
        self._foresight = foresight
        self._grids: PowerGridVectorEnv | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave the environment behind."""
        return {**vars(self), "_grids": None}

    def check_pair(self, search: Search) -> None:
        """Refuse a search that plans in anything else, see ``planning.check_pair``."""
        if not getattr(search, "plans_in_grids", False):
            raise ValueError(
                "agent/model=foreseen is planned in by search=planner; set that, or "
                "agent/model=learned"
            )

    def bind(self, env: VectorEnvironment) -> None:
        """See ``PlanningModel``; ValueError if the fast simulator does not play these grids."""
        self._grids = require_fast_grids(env, "agent/model=foreseen", instead="agent/model=learned")

    def at(self, rows: np.ndarray) -> ForeseenGrids:
        """See ``PlanningModel``."""
        if self._grids is None:
            raise ValueError("agent/model=foreseen was not bound: call bind(env) before act().")
        return ForeseenGrids(self._grids, self._foresight, rows, self._learned)
