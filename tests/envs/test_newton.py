"""Newton's method in a compiled loop finds what lightsim2grid finds."""

from __future__ import annotations

import numpy as np
import pytest

from envs.fast.lookahead import USUAL
from envs.fast.newton import NewtonPowerFlow
from envs.fast.power_flow import Columns
from envs.fast.sweep import TopologySweep
from envs.fast.template import grid_template
from envs.fast.vector import PowerGridVectorEnv
from envs.grid.connectivity import Connectivity


def random_topologies(grid: str, count: int) -> np.ndarray:
    """Connected ones, up to three actions away from the reference."""
    template = grid_template(grid, {})
    catalogue, rng = template.catalogue, np.random.default_rng(0)
    topologies = np.repeat(template.topology[None], count, axis=0)
    for number, topology in enumerate(topologies):
        for action in rng.integers(catalogue.num_actions, size=number % 4).tolist():
            topology[:] = catalogue.results(topology[None], template.topology[None], [action])[0, 0]
    return topologies[Connectivity(template.layout).connected(topologies)]


@pytest.mark.parametrize("heavier", [1.0, 2.0], ids=["as it is", "near collapse"])
@pytest.mark.parametrize("grid", ["l2rpn_case14_sandbox", "rte_case5_example"])
def test_it_finds_what_lightsim2grid_finds(grid: str, heavier: float) -> None:
    env = PowerGridVectorEnv(1, grid=grid, scenarios="bundled")
    env.reset(seed=0, options={"first_step": 140})  # about noon
    rollouts = env.rollouts()
    rollouts.begin(0)
    flow = rollouts._forecaster._flow
    injections = rollouts._present.foreseen(np.array([0]))[0]
    injections[: -env.layout.num_generators] *= heavier  # all but the voltages held
    flow.set_injections(injections)
    template = grid_template(grid, {})
    columns = Columns(template, brief=True)
    newton = NewtonPowerFlow(template, columns)
    newton.meet(flow)

    topologies = random_topologies(grid, 300)
    covered = newton.covers(topologies)
    assert covered.mean() > 0.9
    found, expected = np.zeros((2, len(topologies), columns.count))
    newton.solve(topologies, covered, found)
    assert not found[~covered].any()
    rows = expected[covered]
    flow.read_each(topologies[covered], rows)
    expected[covered] = rows

    solved = expected.any(axis=1)
    np.testing.assert_array_equal(found.any(axis=1), solved)
    assert solved.mean() > 0.5
    volts = expected[:, columns.volts]
    nominal = np.median(volts[solved], axis=0)
    usual = solved & (np.abs(volts - nominal) < USUAL * nominal).all(axis=1)
    for part in (columns.a_or, columns.volts):
        np.testing.assert_allclose(found[usual, part], expected[usual, part], 1e-9, 1e-9)

    # larger grids are solved by a sweep in C++, which agrees, too
    sweep = TopologySweep(template, columns)
    usual &= sweep.covers(template.topology, topologies)
    swept, there = sweep.solve(flow, template.topology, topologies[usual])
    assert there.all()
    for part in (columns.a_or, columns.volts):
        np.testing.assert_allclose(swept[:, part], found[usual, part], 1e-8, 1e-8)
