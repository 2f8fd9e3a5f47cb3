"""Calm actions that take away what a loss of a line would do, in evenings that are hard to hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.power_grid.beam import BeamSearch, Plan
from agents.power_grid.prevention import Course, Prevention
from agents.power_grid.screening import Screening
from envs.decision_gate import lines_at_risk
from envs.fast.rollouts import ForecastRollouts, Rollouts, Steps
from envs.fast.vector import PowerGridVectorEnv

# a validation month: on the 13th evening, in the reference topology, the loss of line 3_6_15 has no
# answer, and no topology takes the overloads away that it causes
HARD = "val-l20.33.11.20-w11.02.02.02-s02.11.20.11"
EVENING = (3640, 3650, 3670, 3700, 3730, 3740)
CALM = 0.97


def make_env(opponent: Any = "rte_case14") -> PowerGridVectorEnv:
    return PowerGridVectorEnv(
        1,
        autoreset="disabled",
        opponent=opponent,
        scenarios="recombined_more",
        split="val",
    )


@pytest.fixture(scope="module")
def env() -> PowerGridVectorEnv:
    return make_env()


def begun(env: PowerGridVectorEnv, step: int) -> tuple[ForecastRollouts, Rollouts]:
    """Return rollouts from a step of the hard month, in the reference topology."""
    env.reset(seed=0, options={"scenario": HARD, "first_step": step})
    rollouts = env.rollouts(unusual=False)
    return rollouts, rollouts.begin(0)


def beam(env: PowerGridVectorEnv, **options: Any) -> BeamSearch:
    settings: dict[str, Any] = {"depth": 3, "width": 6, "solved": 24, "expanded": 2}
    settings |= {"error": 0.015, "safe": 1.0, "endures": 2, "trips_at": 2.0}
    return BeamSearch(env.layout, **settings | options)


def prevention(env: PowerGridVectorEnv) -> Prevention:
    return Prevention(
        env.layout,
        lines_at_risk(env.layout, env.opponent),
        beam(env),
        safe=CALM,
        margin=1.0,
        tolerance=0.5,
        gain=0.5,
        candidates=20,
        grave=5.0,
        courses=12,
    )


def danger_now(env: PowerGridVectorEnv, rollouts: ForecastRollouts, root: Rollouts) -> float:
    nothing = rollouts.choices(root).of(np.array([0]))
    return prevention(env).danger(rollouts, root, nothing, {}, {})


def follow(rollouts: ForecastRollouts, root: Rollouts, course: Course) -> tuple[Rollouts, Steps]:
    """Return the state before the last action of a course, and that action as a step."""
    before = there = root
    step = None
    for action in course.actions:
        before, step = there, rollouts.choice(there, action)
        assert step is not None  # cooldowns allow it
        assert rollouts.loadings(step.topology).max() < CALM
        assert (step.topology > 0).all()  # it opens no line
        there = rollouts.step(there, step)
    assert step is not None
    return before, step


def test_prevention_takes_danger_away(env: PowerGridVectorEnv) -> None:
    prevented = 0
    for at in EVENING:
        rollouts, root = begun(env, at)
        prepared: dict[int, Plan] = {}
        tables: dict[int, Screening] = {}
        before = danger_now(env, rollouts, root)
        course = prevention(env).choose(rollouts, root, prepared, tables, far=False)
        if before <= 0.5 or not course.actions:
            continue
        assert len(course.actions) == 1
        state, step = follow(rollouts, root, course)
        after = prevention(env).danger(rollouts, state, step, prepared, tables)
        assert after <= before - 0.5
        prevented += 1
    assert prevented > 2


def test_several_calm_actions_take_away_what_one_does_not(env: PowerGridVectorEnv) -> None:
    longer = 0
    for at in EVENING:
        rollouts, root = begun(env, at)
        single = prevention(env).choose(rollouts, root, {}, {}, far=False)
        course = prevention(env).choose(rollouts, root, {}, {}, far=True)
        assert course.danger <= single.danger
        if len(course.actions) < 2:
            continue
        assert course.danger <= single.danger - 0.5
        state, step = follow(rollouts, root, course)
        left = prevention(env).danger(rollouts, state, step, {}, {})
        assert left == pytest.approx(course.danger)
        longer += 1
    assert longer


def test_where_a_loss_looks_hopeless_it_finds_topologies_in_which_it_can_be_stood(
    env: PowerGridVectorEnv,
) -> None:
    line = env.layout.line_names.index("3_6_15")
    search = beam(env, depth=4, width=20, solved=60, expanded=4, safe=0.95)
    hopeless = 0
    for at in EVENING:
        rollouts, root = begun(env, at)
        if danger_now(env, rollouts, root) < 60:
            continue
        course = prevention(env).choose(rollouts, root, {}, {}, far=True)
        assert course.danger < 8  # less than that of one line that trips
        # overloads are passed on, two hours long; no line trips
        lost = rollouts.step(*follow(rollouts, root, course), np.array([line]))
        for _ in range(24):
            (action, *_) = search.search(rollouts, lost).actions
            step = rollouts.choice(lost, action)
            assert step is not None
            lost = rollouts.step(lost, step)
            assert not lost.over[0] and not lost.tripped[0]
        hopeless += 1
    assert hopeless > 3


def test_without_danger_it_returns_to_the_reference() -> None:
    lines = ("3_4_6", "11_12_13", "3_6_15", "3_8_16")
    later = {"lines": lines, "duration": 48, "period": 144, "budget": 0.0, "budget_per_step": 0.1}
    env = make_env(later)
    env.reset(seed=0, options={"first_step": 90})  # at night
    rollouts = env.rollouts(unusual=False)
    root = rollouts.begin(0)
    assert not prevention(env).choose(rollouts, root, {}, {}, far=True).actions
    steps = rollouts.choices(root)
    away = rollouts.step(root, steps.of(rollouts.loadings(steps.topology).max(axis=1) < 0.8))
    returned = 0
    for number in range(1, len(away.over)):
        there = away.of(np.array([number]))
        nothing = rollouts.choices(there).of(np.array([0]))
        if prevention(env).danger(rollouts, there, nothing, {}, {}) > 0.5:
            continue
        course = prevention(env).choose(rollouts, there, {}, {}, far=True)
        if course.actions:
            back = rollouts.choice(there, course.actions[0])
            assert back is not None
            assert (back.topology != 1).sum() < (there.topology != 1).sum()
            returned += 1
    assert returned > 5
