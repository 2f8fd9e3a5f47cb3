"""What actions lead to in the simulator, several actions ahead: the truth that models are held to.

All is on the forecast held, with cooldowns, overload counters and lines that trip, and without
attacks to come, as ``ForecastRollouts`` plays it.

Shape letters: A actions of distinct effect, D actions in a row, L lines, n plans.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agents.power_grid.beam import LOST, BeamSearch
from agents.power_grid.screening import Screening
from envs import DO_NOTHING, ForecastRollouts, GridLayout, Rollouts, Steps

PLAN_DEPTH = 3  # actions that may follow on the one that is judged
HOLDS = 0.02  # lines that may be expected to trip in a plan that holds
_SAFE = 0.95  # loading below which a plan is done
_ERROR = 0.015  # standard deviation of foreseen loadings, as ``agent=planner`` has it
_WIDTH, _SOLVED = 8, 24  # plans followed on, and power flows solved of each length by estimates
_EXPANDED = 2  # of the plans followed on, the best ones, all of whose next actions are solved


class PlannedValues(NamedTuple):
    """Each legal action of distinct effect, and the best plan found that begins with it."""

    actions: np.ndarray  # [A] int64
    value: np.ndarray  # [A] float64, higher is better
    risk: np.ndarray  # [A] lines that will have tripped, expected; inf where the game ends
    rho: np.ndarray  # [A] highest loading one step ahead; inf where the game ends


def make_beam(rollouts: ForecastRollouts, layout: GridLayout) -> BeamSearch:
    """Return the search of the plans that follow on an action."""
    return BeamSearch(
        layout,
        depth=PLAN_DEPTH,
        width=_WIDTH,
        solved=_SOLVED,
        expanded=_EXPANDED,
        error=_ERROR,
        safe=_SAFE,
        endures=rollouts.endures,
        trips_at=rollouts.trips_at,
    )


def find_planned_values(
    rollouts: ForecastRollouts, layout: GridLayout, beam: BeamSearch
) -> PlannedValues:
    """Judge each action in grid 0 by the best plan that begins with it.

    The value of an action is minus the planner's score (``BeamSearch``) of the plan that is made of
    it and the best ``PLAN_DEPTH`` actions found after it: 20 for each line expected to trip, 3 for
    each unit of loading above 0.98, less for the highest loading, for overloads that have lasted
    some steps and for element ends off the reference topology. A plan is done where all loadings
    are below 0.95, so an action that leads there is judged by itself. A score is 100 at most, also
    where no plan is found that keeps the game going, and 200 where the action itself ends it.

    Args:
        rollouts: of the environment whose grid 0 is in the state; begun here.
        layout: of the grid.
        beam: of ``make_beam``.
    """
    root = rollouts.begin(0)
    steps = rollouts.choices(root)
    screening = Screening(layout)  # what first actions do is known better than estimated
    beam.search(rollouts, root, screening)
    count = len(steps.actions)
    score, risk, rho = np.full(count, 2 * LOST.score), np.full(count, np.inf), np.zeros(count)
    for place in range(count):
        step = steps.of(np.array([place]))
        state = rollouts.step(root, step)
        rho[place] = state.rho.max()
        if state.over[0]:
            continue
        action = int(step.actions[0])
        plan = beam.follow(rollouts, root, (action,))
        if plan.rho >= _SAFE:
            after = beam.search(rollouts, state, screening)
            if np.isfinite(after.risk):
                plan = beam.follow(rollouts, root, (action, *after.actions))
            else:
                plan = LOST
        risk[place], score[place] = plan.risk, min(plan.score, LOST.score)
    return PlannedValues(steps.actions, -score, risk, rho)


class Plans(NamedTuple):
    """n plans of D actions, and what the simulator says of them."""

    actions: np.ndarray  # [n, D] int64
    loadings: np.ndarray  # [n, D, L] float32, of each line after each action, before lines trip
    valid: np.ndarray  # [n, D] bool, where all went as planned: no line tripped before
    over: np.ndarray  # [n, D] bool, the game is over after so many actions


def draw_plans(
    rollouts: ForecastRollouts,
    root: Rollouts,
    rng: np.random.Generator,
    *,
    count: int,
    depth: int,
    best_of: int,
) -> Plans:
    """Draw plans of legal actions of distinct effect, doing nothing only where nothing else is.

    Args:
        rollouts: begun at the state.
        root: the state ``[1]``.
        rng: draws.
        count: n.
        depth: D.
        best_of: actions drawn at each step, of which that with the lowest highest loading is taken:
            1 for plans at random, more for sensible ones.
    """
    num_lines = root.rho.shape[1]
    actions = np.full((count, depth), DO_NOTHING, dtype=np.int64)
    loadings = np.zeros((count, depth, num_lines), dtype=np.float32)
    valid = np.zeros((count, depth), dtype=np.bool_)
    over = np.ones((count, depth), dtype=np.bool_)
    states, places = root.of(np.zeros(count, dtype=np.int64)), np.arange(count)
    for position in range(depth):
        choices = rollouts.choices(states)
        drawn = [_draw(choices, row, best_of, rng) for row in range(len(places))]
        rho = rollouts.loadings(choices.topology[np.concatenate(drawn)]) if drawn else root.rho[:0]
        taken = np.zeros(len(drawn), dtype=np.int64)
        start = 0
        for row, some in enumerate(drawn):
            own = rho[start : start + len(some)]
            best = int(own.max(axis=1).argmin())
            taken[row], loadings[places[row], position] = some[best], own[best]
            start += len(some)
        intact = states.tripped == 0  # what trips changes the topologies that follow
        steps = choices.of(taken)
        states = rollouts.step(states, steps)
        actions[places, position] = steps.actions
        solved = np.isfinite(loadings[places, position]).all(axis=1)
        valid[places, position] = intact & solved
        over[places, position] = states.over
        states, places = states.of(~states.over), places[~states.over]
    return Plans(actions, loadings, valid, over)


def _draw(choices: Steps, row: int, best_of: int, rng: np.random.Generator) -> np.ndarray:
    """Return the places in ``choices`` of some actions of one state."""
    own = np.flatnonzero(choices.rows == row)
    others = own[choices.actions[own] != DO_NOTHING]
    if not len(others):
        return own
    return rng.choice(others, min(best_of, len(others)), replace=False)
