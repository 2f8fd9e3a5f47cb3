"""The loss of lines in the look-ahead; ``test_vector_equality`` compares it with grid2op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.fast.vector import PowerGridVectorEnv
from envs.reference.power_grid import PowerGridEnv
from tests.envs.equality import assert_identical


def test_what_is_lost_in_both_environments():
    env, fast = PowerGridEnv(), PowerGridVectorEnv(1)
    env.reset(seed=0)
    fast.reset(seed=0)
    actions, lines = [0, 200, 400], [3, 18, 19]
    expected, (given,) = env.simulate(actions, lines), fast.simulate([actions], lines)
    assert given is not None
    assert expected.rho.shape == given.rho.shape == (3, 4, 20)
    assert expected.rho_max.shape == given.game_over.shape == (3, 4)
    np.testing.assert_allclose(expected.rho, given.rho, rtol=1e-4, atol=1e-5)
    assert given.game_over[:, 2].all()  # line 18 is the one line of a generator
    assert not given.game_over[0, [0, 1, 3]].any() and not given.rho[0, 1, 3]
    (plain,) = fast.simulate([actions])
    assert plain is not None
    assert_identical(plain.rho, given.rho[:, 0])
    assert_identical(env.simulate(actions).rho, expected.rho[:, 0])  # nothing is left behind


def test_opening_a_line_is_losing_it():
    fast = PowerGridVectorEnv(1)
    fast.reset(seed=1)
    opens = [int(np.flatnonzero(fast.catalogue.set_line[:, line] < 0)[0]) for line in (2, 6, 13)]
    (opened,), (lost,) = fast.simulate([opens]), fast.simulate([[0]], [2, 6, 13])
    assert opened is not None and lost is not None
    np.testing.assert_allclose(opened.rho, lost.rho[0, 1:], atol=1e-5)


def test_counts_all_that_is_simulated_and_changes_nothing():
    fast = PowerGridVectorEnv(2)
    fast.reset(seed=0)
    before = fast.state.rho.copy()
    fast.simulate([[0, 5], None], [1, 2, 3])
    assert fast.simulator_calls.tolist() == [8, 0]
    assert_identical(before, fast.state.rho)


@pytest.mark.parametrize(
    ("outages", "message"),
    [
        ([20], "outages are lines from 0 to 19, by number, but one is 20"),
        ([-1], "but one is -1"),
        (["3_4_6"], "outages must be a list of lines, by number"),
        (3, "outages must be a list of lines, by number"),
        ([[1], [2, 3]], "outages must be a list of lines, by number"),
        ([True], "outages must be a list of lines, by number"),
        ({3}, "outages must be a list of lines, by number"),
        ([2**70], "outages must be a list of lines, by number"),
    ],
)
def test_refuses_lines_that_are_none(outages: Any, message: str):
    env, fast = PowerGridEnv(), PowerGridVectorEnv(1)
    env.reset(seed=0)
    fast.reset(seed=0)
    for look in (lambda: env.simulate([0], outages), lambda: fast.simulate([[0]], outages)):
        with pytest.raises(ValueError, match=message):
            look()


def test_an_n1_reward_is_about_the_worst_loss():
    env = PowerGridVectorEnv(2, reward="n1", opponent="rl4pnc")
    env.reset(seed=0)
    _, rewards, *_ = env.step([0, 0])
    looked = env.simulate([[0], [0]], [6, 13, 15, 16, 19])
    worst = [one.rho_max[0, 1:].max() for one in looked if one is not None]
    np.testing.assert_allclose(rewards, 1 - np.minimum(worst, 2), atol=1e-5)
