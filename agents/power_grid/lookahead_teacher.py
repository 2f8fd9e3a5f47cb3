"""The look-ahead teacher: simulates every legal action."""

from __future__ import annotations

import numpy as np

from agents.environments import VectorEnvironment
from agents.muzero.teacher import Advice
from agents.power_grid.grid_access import first_grid, grid_states
from agents.resumable import ResumableVectorEnv
from envs import REFERENCE_BUSBAR
from powergrid_muzero.copies import Copyable

LOADINGS = "loadings"  # what it finds: [B, A, L] float32, of each line after each action


class LookaheadTeacher(Copyable):
    """Prefers what keeps the forecast loading low and the grid near its reference topology.

    It looks ahead at each legal action, as the greedy baseline does. The policy is the softmax of

        -(overload_weight max(0, rho - safe) + departure_weight n + loading_weight rho)

    with rho the highest line loading on the forecast and n how many element ends would be on
    busbar 2 or, with their line, open; actions that would end the game have no part in it. So where
    several actions are nearly as good, the policy says so, and one mistaken for the other costs
    little. Where every action would end the game, all legal ones are alike.

    Args:
        lead: share of the environments in which an action drawn from its policy is played.
        safe: forecast rho below which the loading hardly counts.
        overload_weight: of the loading beyond that, per unit.
        departure_weight: of each element end away from the reference topology.
        loading_weight: of the loading itself, per unit.

    Raises:
        ValueError: ``lead`` is not 0 to 1, or another number is negative or not finite.
    """

    findings: tuple[str, ...] = (LOADINGS,)
    _rebuilt = ("_env",)  # by ``bind``

    def __init__(
        self,
        *,
        lead: float = 0.5,
        safe: float = 0.9,
        overload_weight: float = 400.0,
        departure_weight: float = 1.5,
        loading_weight: float = 5.0,
    ) -> None:
        if not 0.0 <= lead <= 1.0:
            raise ValueError(f"lead must be 0 to 1, got {lead}")
        numbers = {
            "safe": safe,
            "overload_weight": overload_weight,
            "departure_weight": departure_weight,
            "loading_weight": loading_weight,
        }
        for name, number in numbers.items():
            if not 0.0 <= number < float("inf"):
                raise ValueError(f"{name} must be finite, 0 or more, got {number}")
        self.lead = float(lead)
        self._safe = safe
        self._overload_weight = overload_weight
        self._departure_weight = departure_weight
        self._loading_weight = loading_weight
        self._env: VectorEnvironment | None = None

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Teacher.bind``; ValueError if these are no power grids."""
        if first_grid(env) is None:
            assert isinstance(env, ResumableVectorEnv)
            raise ValueError(
                "agent/teacher=lookahead looks ahead in PowerGrid-v0 only; this environment is "
                f"{type(env.envs[0].unwrapped).__name__}: set agent/teacher=none and "
                "agent.plan.taught_decisions=0"
            )
        self._env = env

    def advise(self, action_mask: np.ndarray) -> Advice:
        """See ``Teacher.advise``; ValueError if it was bound to no environment.

        It finds the loadings ``[B, A, L]``: inf where the game would end, NaN of illegal actions.
        """
        if self._env is None:
            raise ValueError("the teacher was not bound: call bind(env) before advise()")
        legal = action_mask != 0
        candidates = [np.flatnonzero(row) for row in legal]
        rho = np.full(legal.shape, np.inf)
        loadings: np.ndarray | None = None
        for row, found in enumerate(self._env.simulate(candidates)):
            assert found is not None  # every environment was asked for
            rho[row, candidates[row]] = found.rho_max
            if loadings is None:
                loadings = np.full((*legal.shape, found.rho.shape[1]), np.nan, np.float32)
            loadings[row, candidates[row]] = found.rho
        survives = np.isfinite(rho)
        rho[~survives] = 0.0
        scores = -(
            self._overload_weight * np.maximum(rho - self._safe, 0.0)
            + self._departure_weight * self._departures()
            + self._loading_weight * rho
        )
        hopeless = ~survives.any(axis=1, keepdims=True)
        scores = np.where(hopeless, 0.0, scores)
        scores = np.where(np.where(hopeless, legal, survives), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        policy = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        assert loadings is not None
        return Advice(policy, {LOADINGS: loadings})

    def _departures(self) -> np.ndarray:
        """Return ``[B, A]`` int: element ends that each action would leave off the reference."""
        assert self._env is not None
        grid, state = first_grid(self._env), grid_states(self._env)
        assert grid is not None
        results = grid.catalogue.results(state.topo_vect, state.last_busbar)
        return (results != REFERENCE_BUSBAR).sum(axis=2)
