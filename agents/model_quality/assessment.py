"""The whole assessment of a model, from recorded decisions and its network.

Shape letters: A actions, K unrolled steps, N decisions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agents.model_quality.calibration import (
    DISCOUNT_EDGES,
    END_EDGES,
    Calibration,
    calibrate,
    end_probability,
)
from agents.model_quality.decisions import Decisions
from agents.model_quality.errors import (
    Errors,
    Windows,
    errors_by_depth,
    look_along,
    observed_returns,
)
from agents.model_quality.predictions import (
    Predictions,
    predict_actions,
    predict_along,
    predict_loadings,
    predict_roots,
)
from agents.model_quality.ranking import (
    Choices,
    best_actions,
    hits_best,
    judge_choices,
    judge_random,
    mean,
    rank_correlations,
)
from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.targets import TERMINATED, TRUNCATED, edge_discounts, spread_rewards
from agents.power_grid.flow import FlowNetwork
from envs import DO_NOTHING

MOST_UNSEEN = 0.1  # weight of the model's own estimate in a return that counts as observed
TOP = 5  # highest scores among which the simulator's best action is looked for


class AfterEnd(NamedTuple):
    """What the model says after an end for good, such as a blackout: 0 is right. NaN where none."""

    count: int
    value: float  # mean of |value|
    reward: float  # mean of |reward| of the step before


class Accuracy(NamedTuple):
    """Predictions beside what was played, by position of the unroll; 0 is the observation."""

    value: tuple[Errors, ...]  # K+1; truncated episodes count on as the network values their end
    observed_value: tuple[Errors, ...]  # K+1; of returns with little of that, see MOST_UNSEEN
    reward: tuple[Errors, ...]  # K, positions 1 to K
    after_end: tuple[AfterEnd, ...]  # K, positions 1 to K


class Ranked(NamedTuple):
    """How one way to choose actions compares with the simulator's look-ahead."""

    name: str
    correlation: float | None  # mean of Spearman's; None where only the choice is known
    correlation_count: int  # decisions in it
    hits_best: float | None  # share with the simulator's best among the TOP highest scores
    choices: Choices


class Assessment(NamedTuple):
    """What is said of a model."""

    decisions: int  # N
    terminated: int  # episodes that ended for good
    truncated: int  # others
    accuracy: Accuracy
    endings: tuple[Calibration, ...] | None  # K; None where the network predicts no discounts
    ranking: tuple[Ranked, ...] | None  # None where nothing can be simulated
    candidates: float  # mean number of actions ranked, NaN where none


def assess(
    network: MuZeroNetwork,
    decisions: Decisions,
    *,
    discount: float,
    discount_per_step: bool,
    depth: int,
    gate: float,
    seed: int = 0,
) -> Assessment:
    """Compare a network's predictions with what was played and with what was simulated.

    Args:
        network: the model's.
        decisions: played with it.
        discount: gamma, per decision or per environment step.
        discount_per_step: which of the two.
        depth: K; 0 for a network whose dynamics were not trained: then neither rewards nor Q-values
            are compared.
        gate: rho below which an action is safe.
        seed: of the actions after an end, which are drawn at random, as in training.
    """
    durations = decisions.duration if discount_per_step else None
    windows = look_along(decisions.end, depth)
    actions = decisions.action[windows.index[:, :-1]]
    over = ~windows.real[:, :-1]
    rng = np.random.default_rng(seed)
    actions[over] = rng.integers(network.num_actions, size=int(over.sum()))
    predicted = predict_along(network, decisions.observation, actions)
    endings = None
    if predicted.discount is not None and depth:
        endings = _endings(predicted.discount, windows, decisions.end, durations, discount)
    ranking, candidates = None, float("nan")
    if decisions.rho is not None:
        ranking = _rank(network, decisions, decisions.rho, discount, gate, with_model=depth > 0)
        candidates = float((~np.isnan(decisions.rho)).sum(axis=1).mean())
    return Assessment(
        decisions=len(decisions.end),
        terminated=int((decisions.end == TERMINATED).sum()),
        truncated=int((decisions.end == TRUNCATED).sum()),
        accuracy=_accuracy(network, decisions, windows, predicted, durations, discount),
        endings=endings,
        ranking=ranking,
        candidates=candidates,
    )


def _accuracy(
    network: MuZeroNetwork,
    decisions: Decisions,
    windows: Windows,
    predicted: Predictions,
    durations: np.ndarray | None,
    discount: float,
) -> Accuracy:
    final_values = np.zeros(len(decisions.end))
    truncated = decisions.end == TRUNCATED
    final_values[truncated] = predict_roots(network, decisions.final_observation).value
    returns = observed_returns(
        decisions.reward, decisions.end, final_values, discount=discount, durations=durations
    )
    rewards = decisions.reward
    if durations is not None:
        rewards = spread_rewards(rewards, durations, discount)
    observed = returns.value[windows.index]
    seen = returns.unseen[windows.index] <= MOST_UNSEEN
    absorbing = windows.absorbing[:, 1:].T  # [K, N]
    after_end = tuple(
        AfterEnd(
            int(rows.sum()),
            mean(np.abs(predicted.value[rows, position + 1])),
            mean(np.abs(predicted.reward[rows & ~windows.real[:, position], position])),
        )
        for position, rows in enumerate(absorbing)
    )
    return Accuracy(
        value=errors_by_depth(predicted.value, observed, windows.real),
        observed_value=errors_by_depth(predicted.value, observed, windows.real & seen),
        reward=errors_by_depth(
            predicted.reward, rewards[windows.index[:, :-1]], windows.real[:, :-1]
        ),
        after_end=after_end,
    )


def _endings(
    predicted: np.ndarray,
    windows: Windows,
    ends: np.ndarray,
    durations: np.ndarray | None,
    discount: float,
) -> tuple[Calibration, ...]:
    """Calibrate the end's probability, or, with durations, the discount itself, at each depth."""
    ended = ends == TERMINATED
    if durations is None:
        probabilities, truth = end_probability(predicted, discount), ended.astype(np.float64)
        edges = END_EDGES
    else:
        targets = edge_discounts(
            ends[None], discount=discount, num_steps=len(ends), durations=durations[None]
        )
        probabilities, truth, edges = predicted, targets[0], DISCOUNT_EDGES
    index, real = windows.index[:, :-1], windows.real[:, :-1]
    return tuple(
        calibrate(probabilities[rows, position], truth[index[rows, position]], edges)
        for position, rows in enumerate(real.T)
    )


def _rank(
    network: MuZeroNetwork,
    decisions: Decisions,
    rho: np.ndarray,
    discount: float,
    gate: float,
    *,
    with_model: bool,
) -> tuple[Ranked, ...]:
    candidates = ~np.isnan(rho)
    scores = {"prior": predict_roots(network, decisions.observation, candidates).policy_logits}
    if isinstance(network, FlowNetwork):
        scores["foreseen"] = -predict_loadings(network, decisions.observation, candidates)
    if with_model:
        scores["model"] = predict_actions(
            network, decisions.observation, candidates, discount=discount
        )
    nothing = np.full(len(rho), DO_NOTHING)
    rows = [
        Ranked("random", None, 0, None, judge_random(rho, gate=gate)),
        Ranked("do nothing", None, 0, None, judge_choices(nothing, rho, gate=gate)),
    ]
    for name, one in scores.items():
        correlations = rank_correlations(one, rho)
        defined = correlations[~np.isnan(correlations)]
        best = best_actions(one, rho)
        rows.append(
            Ranked(
                name,
                mean(defined),
                len(defined),
                mean(hits_best(one, rho, count=TOP)),
                judge_choices(best, rho, gate=gate),
            )
        )
    rows.append(Ranked("search", None, 0, None, judge_choices(decisions.chosen, rho, gate=gate)))
    return tuple(rows)
