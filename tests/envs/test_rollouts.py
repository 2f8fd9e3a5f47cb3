"""Rollouts are the steps of whole copies of a grid, with less of everything else around them."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs.fast.effects import Effects
from envs.fast.rollouts import ForecastRollouts, Rollouts, Steps
from envs.fast.vector import PowerGridVectorEnv
from envs.grid.state import GridState
from tests.envs.equality import assert_identical

COOLDOWNS = {"NB_TIMESTEP_COOLDOWN_SUB": 2, "NB_TIMESTEP_COOLDOWN_LINE": 3}


def stressed(**options: Any) -> PowerGridVectorEnv:
    """Grids under attack, one of them with an overloaded line."""
    env = PowerGridVectorEnv(
        4, autoreset="same_step", idle_gate=1.0, opponent="rl4pnc", split="val", **options
    )
    _, infos = env.reset(seed=0)
    for _ in range(50):
        *_, infos = env.step([0] * 4)
        if (infos["attack_steps"] > 0).any(axis=1)[infos["rho_max"] > 1.0].any():
            return env
    raise AssertionError("no grid was overloaded under attack")


def chosen(steps: Steps, rng: np.random.Generator, count: int) -> Steps:
    return steps.of(np.sort(rng.choice(len(steps.rows), min(count, len(steps.rows)), False)))


@pytest.mark.parametrize("parameters", [{}, COOLDOWNS])
def test_rollouts_are_the_steps_of_planned_copies(parameters: dict[str, int]) -> None:
    env = stressed(parameters=parameters)
    rng = np.random.default_rng(0)
    lost = tripped = 0
    for grid in range(4):
        planner, rollouts = env.planner(), env.rollouts()
        slots, states = planner.begin(np.array([grid])), rollouts.begin(grid)
        for _ in range(8):
            steps = chosen(rollouts.choices(states), rng, 40)
            if not len(steps.rows):
                break
            planned = planner.step(slots[steps.rows], steps.actions)
            states = rollouts.step(states, steps)
            slots = planned.slots
            assert_identical(planned.blackout, states.over)
            there = planner.state(slots)
            going = ~states.over
            for given, expected in (
                (states.topology, there.topo_vect),
                (states.last_busbar, there.last_busbar),
                (states.line_cooldown, there.line_cooldown),
                (states.substation_cooldown, there.substation_cooldown),
                (states.overload_steps, there.overflow_steps),
            ):
                assert_identical(given[going], expected[going])
            np.testing.assert_allclose(states.rho[going], there.rho[going], rtol=1e-4, atol=1e-5)
            assert np.isinf(states.rho[states.over]).all()
            lost, tripped = lost + states.over.sum(), tripped + states.tripped[going].sum()
    assert lost and tripped  # it was about those, too


def test_the_first_step_is_what_simulate_says() -> None:
    env = stressed()
    for grid in range(4):
        rollouts = env.rollouts()
        steps = rollouts.choices(rollouts.begin(grid))
        first = rollouts.step(rollouts.begin(grid), steps)
        ahead = env.simulate([steps.actions if one == grid else None for one in range(4)])[grid]
        assert ahead is not None
        assert_identical(first.over, ahead.game_over)
        np.testing.assert_allclose(first.rho, ahead.rho, rtol=1e-4, atol=1e-5)


def test_losses_are_those_of_simulate() -> None:
    env = PowerGridVectorEnv(1)
    env.reset(seed=0)
    rollouts, lines = env.rollouts(), np.array([3, 6, 19])
    steps = rollouts.choices(rollouts.begin(0))
    lost = rollouts.losses(steps.topology, lines)
    (ahead,) = env.simulate([steps.actions], lines)
    assert ahead is not None
    # there, lines trip that are loaded twice as much as they may be
    quiet = (lost.max(axis=2) < 2) & np.isfinite(ahead.rho_max[:, 1:])
    assert quiet.mean() > 0.5
    assert rollouts.losses(steps.topology[:0], lines).shape == (0, 3, 20)
    np.testing.assert_allclose(lost[quiet], ahead.rho[:, 1:][quiet], rtol=1e-4, atol=1e-5)


def test_choices_are_the_connected_actions() -> None:
    env = stressed(parameters=COOLDOWNS)
    rollouts = env.rollouts()
    states = rollouts.begin(0)
    states = rollouts.step(states, rollouts.choices(states))
    states = states.of(np.flatnonzero(~states.over)[::7])
    steps = rollouts.choices(states)
    fields: dict[str, Any] = dict.fromkeys(GridState._fields)
    state: Any = GridState(
        **fields
        | {
            "topo_vect": states.topology,
            "last_busbar": states.last_busbar,
            "line_status": states.topology[:, env.layout.line_or_position] > 0,
            "line_cooldown": states.line_cooldown,
            "substation_cooldown": states.substation_cooldown,
        }
    )
    rows, actions = np.nonzero(env.catalogue.connected(state))
    assert_identical(steps.rows, rows)
    assert_identical(steps.actions, actions)
    results = env.catalogue.results(state.topo_vect, state.last_busbar)
    assert_identical(steps.topology, results[rows, actions])


def test_impacts_are_those_of_single_actions() -> None:
    env = PowerGridVectorEnv(1)
    catalogue, effects = env.catalogue, Effects(env.catalogue)
    rng = np.random.default_rng(0)
    actions = np.arange(catalogue.num_actions)
    status = rng.random((len(actions), env.layout.num_lines)) < 0.7
    lines, substations = catalogue.impacts(actions, status)
    for action in actions.tolist():
        expected = effects.impact(action, status[action])
        assert np.flatnonzero(lines[action]).tolist() == sorted(set(expected[0].tolist()))
        assert np.flatnonzero(substations[action]).tolist() == expected[1].tolist()


def test_a_topology_is_solved_once() -> None:
    env = stressed()
    rollouts = env.rollouts()
    before = env.simulator_calls.copy()
    root = rollouts.begin(2)
    steps = rollouts.choices(root)
    first = rollouts.step(root, steps)
    calls = env.simulator_calls - before
    assert calls[2] >= len(steps.rows)  # trips need some more
    assert not calls[[0, 1, 3]].any()
    again = rollouts.step(root, steps)
    assert_identical(first.rho, again.rho)
    assert_identical(env.simulator_calls - before, calls)


def same(one: Rollouts, other: Rollouts) -> None:
    for given, expected in zip(one, other, strict=True):
        assert_identical(given, expected)


def test_copies_roll_out_by_themselves() -> None:
    env = stressed()
    rollouts = env.rollouts()
    copy: ForecastRollouts = pickle.loads(pickle.dumps(rollouts))
    for one in (rollouts, copy):
        one.begin(1)
    root = rollouts.begin(0)
    same(root, copy.begin(0))
    steps = rollouts.choices(root)
    same(rollouts.step(root, steps), copy.step(root, steps))


def test_needs_a_running_episode() -> None:
    env = PowerGridVectorEnv(1, autoreset="disabled")
    with pytest.raises(gym.error.ResetNeeded, match="nothing to look ahead at"):
        env.rollouts().begin(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="must be a number from 0 to 0"):
        env.rollouts().begin(1)


class Oracle:
    """A foresight that solves power flows itself, but for topologies that fall apart."""

    def __init__(self, env: PowerGridVectorEnv) -> None:
        self.rollouts = env.rollouts(unusual=False)
        self.met = 0

    def meet(self, state: GridState) -> None:
        self.met += 1
        root = self.rollouts.begin(0)
        assert_identical(root.rho, state.rho)

    def loadings(self, topologies: np.ndarray) -> np.ndarray:
        found = self.rollouts.loadings(topologies)
        return np.where(np.isfinite(found), found, np.float32(0.5))


def test_a_foresight_stands_for_power_flows() -> None:
    env = stressed()
    oracle = Oracle(env)
    foreseen, solved = env.rollouts(foresight=oracle), env.rollouts(unusual=False)
    states, others = foreseen.begin(0), solved.begin(0)
    assert oracle.met == 1
    rng = np.random.default_rng(0)
    followed = 0
    for _ in range(4):
        steps = chosen(foreseen.choices(states), rng, 60)
        states, others = foreseen.step(states, steps), solved.step(others, steps)
        kept = ~others.over  # the oracle finds no fault with what has no solution
        states, others = states.of(kept), others.of(kept)
        followed += kept.sum()
        for given, expected in zip(states, others, strict=True):
            np.testing.assert_allclose(given, expected, rtol=1e-6)
    assert followed > 20
    root = foreseen.begin(0)
    lines = np.flatnonzero(root.topology[0, env.layout.line_or_position] > 0)
    told = np.isinf(foreseen.losses(root.topology, lines)).any(axis=2)  # by the rules
    ended = np.isinf(solved.losses(solved.begin(0).topology, lines)).any(axis=2)
    assert told.any() and (told <= ended).all()


def test_what_is_foreseen_is_no_power_flow() -> None:
    class Guess:
        def meet(self, state: GridState) -> None:
            self.rho = state.rho

        def loadings(self, topologies: np.ndarray) -> np.ndarray:
            return np.repeat(self.rho, len(topologies), axis=0)

    env = stressed()
    rollouts = env.rollouts(foresight=Guess())
    before = env.simulator_calls.copy()
    root = rollouts.begin(1)
    states = rollouts.step(root, rollouts.choices(root))
    assert_identical(env.simulator_calls, before)
    quiet = (states.tripped == 0) & ~states.over
    closed = states.topology[quiet][:, env.layout.line_or_position] > 0
    expected = np.broadcast_to(root.rho, closed.shape)[closed]
    np.testing.assert_allclose(states.rho[quiet][closed], expected, rtol=1e-6)
