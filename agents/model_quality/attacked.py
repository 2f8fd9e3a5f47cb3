"""A model on attacked grids, beside plans of several actions in the simulator.

Shape letters: A actions, D actions in a row, L lines, M plans, N states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from agents.model_quality.foresight import (
    EndingErrors,
    ForeseesAlong,
    LoadingErrors,
    ending_errors,
    foresee_along,
    loading_errors,
    over_by,
)
from agents.model_quality.planned_values import (
    HOLDS,
    Plans,
    draw_plans,
    find_planned_values,
    make_beam,
)
from agents.model_quality.predictions import (
    predict_actions,
    predict_along,
    predict_loadings,
    predict_roots,
)
from agents.model_quality.ranking import (
    MedianEstimate,
    best_actions,
    median_estimate,
    rank_correlations,
)
from agents.model_quality.stressed_states import StressedStates
from agents.muzero.networks.base import MuZeroNetwork
from agents.power_grid.flow import FlowNetwork
from envs import Foresight

DEPTHS = (1, 3, 5)  # actions
_SENSIBLE, _BEST_OF = 8, 24  # plans a state whose loadings are foreseen, and how they are drawn
_RECKLESS, _BEST_OF_FEW = 16, 4  # the same for plans whose endings are foreseen

Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [1, ...], [1, A] int8 -> [1, A]


class ScoreRanks(NamedTuple):
    """How one way to score actions ranks them; medians of Spearman's correlation over states."""

    name: str
    planned: MedianEstimate  # beside the planned values
    overloaded: MedianEstimate  # the same, of states in which doing nothing overloads a line
    lookahead: MedianEstimate  # beside the one-step look-ahead
    holds: float  # share of states whose best-scored action begins a plan that holds, if one does
    regret: float  # mean planned value that the best-scored action falls short by


class AttackedAssessment(NamedTuple):
    """What is said of a model on the states of one opponent."""

    opponent: str
    sha256: str  # of the list of states
    states: int  # N
    episodes: int  # that they are of
    attacked: int  # states in which a line is held out
    overloaded: int  # in which doing nothing overloads a line
    can_hold: int  # in which some action begins a plan that holds
    candidates: float  # mean number of actions ranked
    ranks: tuple[ScoreRanks, ...]
    loadings: tuple[LoadingErrors, ...]  # by DEPTHS; none where the network foresees none
    endings: tuple[EndingErrors, ...]  # by what foresees them, then by DEPTHS
    correlations: dict[str, list[float | None]]  # name -> [N] Spearman beside planned values
    foreseen: np.ndarray  # [2, m] float32, some loadings DEPTHS[1] actions deep: true, foreseen


class Truth(NamedTuple):
    """What the simulator says of N states."""

    observations: np.ndarray  # [N, ...] float32
    value: np.ndarray  # [N, A] float64, planned, NaN of no candidates
    risk: np.ndarray  # [N, A] lines that will have tripped, expected
    rho: np.ndarray  # [N, A] one step ahead, NaN of no candidates
    present: np.ndarray  # [N, L] loadings now
    sensible: Plans  # N times _SENSIBLE, state after state
    reckless: Plans  # N times _RECKLESS
    searched: np.ndarray  # [N, A], what the search makes of the actions
    plans: np.ndarray | None = None  # [N, A], as ``value``, of plans on what a network foresees


def find_truth(listed: StressedStates, search: Policy, foresight: Foresight | None = None) -> Truth:
    """Plan in the simulator from each state, and let a model plan from it.

    Args:
        listed: the states.
        search: improved policy of one observation, asked when its state is that of grid 0.
        foresight: what the model says that topologies lead to, if it says so.
    """
    env = listed.env
    quick, whole = env.rollouts(unusual=False), env.rollouts()
    beam = make_beam(quick, env.layout)
    foreseen = None if foresight is None else env.rollouts(unusual=False, foresight=foresight)
    shape = (len(listed.states), env.num_actions)
    value, risk, rho, searched, plans = (np.full(shape, np.nan) for _ in range(5))
    present, sensible, reckless = [], [], []
    for row, state in enumerate(listed.states):
        listed.restore(state)
        planned = find_planned_values(quick, env.layout, beam)
        columns = planned.actions
        value[row, columns], risk[row, columns] = planned.value, planned.risk
        rho[row, columns] = planned.rho
        if foreseen is not None:
            plans[row, columns] = find_planned_values(foreseen, env.layout, beam).value
        rng = np.random.default_rng([listed.seed, row])
        root = quick.begin(0)
        present.append(root.rho[0])
        size = {"depth": max(DEPTHS)}
        sensible.append(draw_plans(quick, root, rng, count=_SENSIBLE, best_of=_BEST_OF, **size))
        root = whole.begin(0)
        reckless.append(draw_plans(whole, root, rng, count=_RECKLESS, best_of=_BEST_OF_FEW, **size))
        mask = np.zeros((1, env.num_actions), np.int8)
        mask[0, columns] = 1
        searched[row] = search(state.observation[None], mask)[0]
    return Truth(
        observations=np.stack([state.observation for state in listed.states]),
        value=value,
        risk=risk,
        rho=rho,
        present=np.stack(present),
        sensible=Plans(*(np.concatenate(parts) for parts in zip(*sensible, strict=True))),
        reckless=Plans(*(np.concatenate(parts) for parts in zip(*reckless, strict=True))),
        searched=searched,
        plans=None if foreseen is None else plans,
    )


def assess_attacked(
    network: MuZeroNetwork,
    listed: StressedStates,
    truth: Truth,
    *,
    discount: float,
    with_model: bool,
) -> AttackedAssessment:
    """Compare a network, and the search that plans with it, with plans in the simulator.

    Args:
        network: the model's.
        listed: the states.
        truth: of these, see ``find_truth``.
        discount: gamma, of a network that predicts no discounts.
        with_model: whether the network's dynamics were trained.
    """
    candidates = ~np.isnan(truth.value)
    episodes = np.array([state.episode for state in listed.states])
    overloaded = np.array([state.idle_rho >= 1.0 for state in listed.states])
    scores = {
        "look-ahead": -truth.rho,
        "prior": predict_roots(network, truth.observations, candidates).policy_logits,
    }
    if isinstance(network, FlowNetwork):
        scores["foreseen"] = -predict_loadings(network, truth.observations, candidates)
    if with_model:
        scores["model"] = predict_actions(
            network, truth.observations, candidates, discount=discount
        )
    scores["search"] = truth.searched
    if truth.plans is not None:
        scores["plans foreseen"] = truth.plans
    correlations = {name: rank_correlations(one, -truth.value) for name, one in scores.items()}
    ranks = tuple(
        _rank(name, one, correlations[name], truth, episodes, overloaded)
        for name, one in scores.items()
    )
    loadings, foreseen = _loadings(network, truth)
    return AttackedAssessment(
        opponent=listed.opponent,
        sha256=listed.sha256,
        states=len(episodes),
        episodes=len(np.unique(episodes)),
        attacked=sum(state.attacked for state in listed.states),
        overloaded=int(overloaded.sum()),
        can_hold=int((truth.risk < HOLDS).any(axis=1).sum()),
        candidates=float(candidates.sum(axis=1).mean()),
        ranks=ranks,
        loadings=loadings,
        endings=_endings(network, truth, with_model=with_model),
        correlations={
            name: [None if np.isnan(one) else float(one) for one in found]
            for name, found in correlations.items()
        },
        foreseen=foreseen,
    )


def _rank(
    name: str,
    scores: np.ndarray,
    planned: np.ndarray,
    truth: Truth,
    episodes: np.ndarray,
    overloaded: np.ndarray,
) -> ScoreRanks:
    best = best_actions(scores, truth.rho)[:, None]
    holds = truth.risk < HOLDS
    can_hold = holds.any(axis=1)
    chosen_holds = np.take_along_axis(holds, best, axis=1)[can_hold, 0]
    missed = np.nanmax(truth.value, axis=1) - np.take_along_axis(truth.value, best, axis=1)[:, 0]
    return ScoreRanks(
        name,
        planned=median_estimate(planned, episodes),
        overloaded=median_estimate(planned[overloaded], episodes[overloaded]),
        lookahead=median_estimate(rank_correlations(scores, truth.rho), episodes),
        holds=float(chosen_holds.mean()) if len(chosen_holds) else float("nan"),
        regret=float(missed.mean()),
    )


def _loadings(network: MuZeroNetwork, truth: Truth) -> tuple[tuple[LoadingErrors, ...], np.ndarray]:
    """Return the errors by depth, and some loadings DEPTHS[1] deep to be drawn."""
    if not isinstance(network, ForeseesAlong):
        return (), np.zeros((2, 0), np.float32)
    plans = truth.sensible
    rows = np.repeat(np.arange(len(truth.observations)), _SENSIBLE)
    found, _ = foresee_along(network, truth.observations, rows, plans.actions)
    present = truth.present[rows]
    errors = tuple(
        loading_errors(found, plans.loadings, present, plans.valid, depth) for depth in DEPTHS
    )
    place = DEPTHS[1] - 1
    counted = plans.valid[:, place, None] & (plans.loadings[:, place] > 0)
    return errors, np.stack([plans.loadings[:, place][counted], found[:, place][counted]])


def _endings(network: MuZeroNetwork, truth: Truth, *, with_model: bool) -> tuple[EndingErrors, ...]:
    plans = truth.reckless
    rows = np.repeat(np.arange(len(truth.observations)), _RECKLESS)
    predicted = {}
    if with_model:
        along = predict_along(network, truth.observations[rows], plans.actions)
        if along.discount is not None:
            predicted["discounts"] = over_by(along.discount)
    if isinstance(network, ForeseesAlong):
        predicted["foreseen"] = foresee_along(network, truth.observations, rows, plans.actions)[1]
    return tuple(
        ending_errors(name, chances, plans.over, depth)
        for name, chances in predicted.items()
        for depth in DEPTHS
    )
