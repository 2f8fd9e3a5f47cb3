"""Beam search over several actions for the plan most likely to hold the grid.

Shape letters: E element ends, K steps in a row that a line endures an overload, from 0, L lines,
m steps, n states.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from agents.power_grid.screening import Screening
from envs import REFERENCE_BUSBAR, ForecastRollouts, GridLayout, Rollouts, Steps
from powergrid_muzero.checks import check_count

_STEEPNESS = math.pi / math.sqrt(3)  # of the logistic function whose standard deviation is 1
_RISK, _EXCESS, _HIGHEST, _DEPARTURE = 20.0, 3.0, 0.3, 0.01  # weights of a score
_ON_THE_WAY = 0.5  # weight of what is bad before the end of a plan: forecasts err there, too
NEAR_LIMIT = 0.98  # loading from which on a line may be overloaded, since forecasts err


class Nodes(NamedTuple):
    """n plans."""

    states: Rollouts  # n, that they lead to
    actions: np.ndarray  # [n, d] int, their actions
    overload: np.ndarray  # [n, L, K] chances that a line has been overloaded for so many steps
    risk: np.ndarray  # [n] lines that will have tripped, expected
    past: np.ndarray  # [n] what was bad on the way, weighted
    score: np.ndarray  # [n] what is bad of them

    def of(self, which: np.ndarray) -> Nodes:
        """Return some of the plans: ``[m]`` int or ``[n]`` bool."""
        return Nodes(
            self.states.of(which),
            self.actions[which],
            self.overload[which],
            self.risk[which],
            self.past[which],
            self.score[which],
        )


class _Judged(NamedTuple):
    """What is bad after m steps, see ``Nodes``."""

    risk: np.ndarray  # [m]
    past: np.ndarray  # [m]
    score: np.ndarray  # [m]


class Plan(NamedTuple):
    """What to do, and what it comes to."""

    actions: tuple[int, ...]  # one after another; none if there is nothing to be done
    risk: float  # lines that will have tripped, expected
    score: float  # what is bad of it, see BeamSearch
    rho: float  # the highest loading in the end; inf where the game is over


LOST = Plan((), math.inf, 100.0, math.inf)  # nothing keeps the game going


class BeamSearch:
    """Follows the best plans of every length, on the forecast held.

    A forecast errs, so a plan is judged by the chances that lines are overloaded: with the foreseen
    loading rho, a standard deviation ``error`` and a logistic distribution. From these follow the
    chances of each line's overload counter, and the number of lines that are expected to trip.

    Args:
        layout: of the grid.
        depth: actions ahead, at most.
        width: plans that are followed on.
        solved: plans of each length, from two actions on, whose power flows are solved; those that
            estimates (``Screening``) find the best.
        expanded: of those that are followed on, the best ones, all of whose next actions are
            solved besides: estimates add up changes, and are wrong by much where overloads are
            passed from line to line.
        error: of foreseen loadings, a standard deviation per unit.
        safe: loading below which a state is safe: no plan needs to go on from there.
        endures: steps in a row that a line endures an overload.
        trips_at: loading above which a line trips at once.
    """

    def __init__(
        self,
        layout: GridLayout,
        *,
        depth: int,
        width: int,
        solved: int,
        expanded: int,
        error: float,
        safe: float,
        endures: int,
        trips_at: float,
    ):
        self._depth = check_count("depth", depth)
        self._width = check_count("width", width)
        self._solved = check_count("solved", solved)
        self._expanded = check_count("expanded", expanded, least=0)
        self._error = error
        self._safe = safe
        self._endures = endures
        self._trips_at = trips_at
        self._layout = layout

    def search(
        self, rollouts: ForecastRollouts, root: Rollouts, screening: Screening | None = None
    ) -> Plan:
        """Return the best plan from ``root``, ``[1]``.

        Args:
            rollouts: begun at some time before.
            root: the state to start from.
            screening: estimates for first actions, too, where they are there; learned here if it
                has not learned anything yet. None: all first actions are solved.
        """
        nodes, best = self._root(root), LOST
        screening = Screening(self._layout) if screening is None else screening
        for _ in range(self._depth):
            steps = rollouts.choices(nodes.states)
            if not len(steps.rows):
                return LOST
            if screening.learned:
                steps = self._promising(nodes, steps, screening)
            rho = rollouts.loadings(steps.topology)
            if not screening.learned:
                screening.learn(root, steps.topology, rho)
            nodes = self._follow(rollouts, nodes, steps, rho)
            if not len(nodes.risk):
                return LOST._replace(actions=best.actions)
            best = self._plan(nodes)
            if best.rho < self._safe:
                break
        return best

    def follow(self, rollouts: ForecastRollouts, root: Rollouts, actions: tuple[int, ...]) -> Plan:
        """Return what a given plan comes to from ``root``, ``[1]``."""
        nodes = self._root(root)
        for action in actions:
            steps = rollouts.choice(nodes.states, action)
            if steps is None:
                return LOST
            nodes = self._follow(rollouts, nodes, steps, rollouts.loadings(steps.topology))
            if not len(nodes.risk):
                return LOST
        return self._plan(nodes)

    def _root(self, root: Rollouts) -> Nodes:
        steps = np.minimum(root.overload_steps, self._endures)
        overload = (steps[..., None] == np.arange(self._endures + 1)).astype(np.float32)
        return Nodes(root, np.zeros((1, 0), dtype=np.int64), overload, *np.zeros((3, 1)))

    def _plan(self, nodes: Nodes) -> Plan:
        """Return the first plan."""
        actions = tuple(nodes.actions[0].tolist())
        rho = float(nodes.states.rho[0].max())
        return Plan(actions, float(nodes.risk[0]), float(nodes.score[0]), rho)

    def _promising(self, nodes: Nodes, steps: Steps, screening: Screening) -> Steps:
        """Return those of m steps that are solved: see ``solved`` and ``expanded``."""
        score = self._judge(nodes, steps, screening.estimate(nodes.states, steps)).score
        score[np.isnan(score)] = -np.inf  # to be looked at
        expanded = steps.rows < self._expanded  # the best come first
        score[expanded] = -np.inf
        count = self._solved + int(expanded.sum())
        return steps.of(np.argsort(score, kind="stable")[:count])

    def _judge(self, nodes: Nodes, steps: Steps, rho: np.ndarray) -> _Judged:
        """Return what is bad after m steps.

        Args:
            nodes: n plans.
            steps: m, from their ends.
            rho: ``[m, L]`` loadings after them, before any line trips.
        """
        trips, bad, departed = _judge(
            nodes.overload,
            steps.rows,
            np.asarray(rho, dtype=np.float32),
            np.float32(self._error),
            np.float32(self._trips_at),
            steps.topology,
        )
        risk = nodes.risk[steps.rows] + trips
        past = nodes.past[steps.rows]
        score = _RISK * risk + past + bad + _DEPARTURE * departed
        return _Judged(risk, past + _ON_THE_WAY * bad, score)

    def _follow(
        self,
        rollouts: ForecastRollouts,
        nodes: Nodes,
        steps: Steps,
        rho: np.ndarray,
    ) -> Nodes:
        """Return the best plans that are one step longer, best first."""
        judged = self._judge(nodes, steps, rho)
        order = np.argsort(judged.score, kind="stable")
        best = self._distinct(nodes, steps, rho, order[np.isfinite(judged.score[order])])
        steps = steps.of(best)
        states = rollouts.step(nodes.states, steps)
        actions = np.column_stack([nodes.actions[steps.rows], steps.actions])
        near = np.asarray(rho[best], dtype=np.float32)
        overload = _count(nodes.overload, steps.rows, near, np.float32(self._error))
        after = Nodes(states, actions, overload, *(values[best] for values in judged))
        return after.of(~states.over)

    def _distinct(
        self, nodes: Nodes, steps: Steps, rho: np.ndarray, order: np.ndarray
    ) -> np.ndarray:
        """Return the first ``width`` of ``order`` that lead to no two equal states."""
        over = rho > 1
        counters = (nodes.states.overload_steps[steps.rows] + 1) * over
        kept: dict[bytes, int] = {}
        for place in order.tolist():
            key = steps.topology[place].tobytes() + counters[place].tobytes()
            kept.setdefault(key, place)
            if len(kept) == self._width:
                break
        return np.fromiter(kept.values(), dtype=np.int64, count=len(kept))


@numba.njit(cache=True)
def _judge(overload, rows, rho, error, trips_at, topology):
    """Return what ``BeamSearch._judge`` needs of each of m steps.

    Args:
        overload: ``[n, L, K]`` chances before.
        rows: ``[m]`` int, of those.
        rho: ``[m, L]`` float32.
        error: its standard deviation.
        trips_at: loading above which a line trips at once.
        topology: ``[m, E]`` int8.

    Returns:
        ``[m]`` expected trips, ``[m]`` what is bad of the loadings and counters, and ``[m]`` int,
        element ends away from the reference topology.
    """
    count, num_lines = rho.shape
    size = overload.shape[2]
    trips, bad = np.empty(count), np.empty(count)
    departed = np.zeros(count, dtype=np.int64)
    for step in range(count):
        row = rows[step]
        expected, harm, highest = 0.0, 0.0, 0.0
        for line in range(num_lines):
            loading = rho[step, line]
            exceeded = _chance(loading - 1, error)
            if exceeded != 0:
                for number in range(1, size):
                    harm += overload[row, line, number - 1] * exceeded * number**2
                at_once = _chance(loading - trips_at, error)
                expected += max(overload[row, line, size - 1] * exceeded, at_once)
            harm += _EXCESS * max(loading - NEAR_LIMIT, 0)
            highest = max(highest, loading)
            if math.isnan(loading):
                highest = loading
                break
        trips[step], bad[step] = expected, harm + _HIGHEST * highest
        for end in range(topology.shape[1]):
            departed[step] += topology[step, end] != REFERENCE_BUSBAR
    return trips, bad, departed


@numba.njit(cache=True)
def _count(overload, rows, rho, error):
    """Return ``[m, L, K]`` chances of counters after m steps; see ``_judge``."""
    count, num_lines = rho.shape
    size = overload.shape[2]
    after = np.empty((count, num_lines, size), dtype=np.float32)
    for step in range(count):
        for line in range(num_lines):
            exceeded = _chance(rho[step, line] - 1, error)
            after[step, line, 0] = 1 - exceeded
            for number in range(1, size):
                after[step, line, number] = overload[rows[step], line, number - 1] * exceeded
    return after


@numba.njit(cache=True)
def _chance(above, error):
    """Return the chance that a loading foreseen this far above a limit, per unit, exceeds it."""
    deviations = _STEEPNESS * above / error
    if deviations < -50:
        return 0.0
    return 1.0 if deviations > 50 else 1 / (1 + math.exp(-deviations))
