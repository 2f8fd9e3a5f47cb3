"""Solves stretches of steps in which nothing happens in one call of lightsim2grid.

Under an idle gate, hundreds of steps pass between two decisions in which nobody acts and no line
comes near its limit. The topology stays, so their power flows are a time series: lightsim2grid
solves each from the one before in a third of the time that a step takes by itself. They agree with
it to 1e-9; so close to a limit that this could matter, a row is not called calm, and an ordinary
step decides.

Shape letters: E element ends, L lines, m rows.
"""

from __future__ import annotations

import numpy as np
from lightsim2grid.lightsim2grid_cpp import TimeSeriesCPP

from envs.fast.template import GridTemplate
from envs.scenarios import Scenario

CHUNK = 48  # rows solved at a time: those after the stretch's end are solved in vain
MARGIN = np.float32(1 - 1e-5)  # of a limit, from which on an ordinary step decides
_START_PER_UNIT = 1.04  # of the voltages, flat; as good a start as any


class CalmStretch:
    """The currents of one scenario and topology, chunk after chunk.

    What was solved before leaves no trace, so that a replay gives the same bits. Chunks of the same
    size share what their solutions have in common, 30 microseconds; others do not.

    Args:
        template: of the grid.
        scenario: with one set of generator voltages throughout.
        topology: ``[E]`` int8.
    """

    def __init__(self, template: GridTemplate, scenario: Scenario, topology: np.ndarray):
        self._template = template
        self._scenario = scenario
        model = template.model.copy()
        model.update_topo(np.ones(len(topology), dtype=np.bool_), topology.astype(np.int32))
        generators = np.ones(template.layout.num_generators, dtype=np.bool_)
        model.update_gens_v(generators, scenario.prod_v[0] / template.kv_per_unit)
        self._series = TimeSeriesCPP(model)
        self._size = 0  # of the last chunk; 0 if it was not solved

    def currents(self, row: int, most: int) -> np.ndarray:
        """Return the currents of rows after each other, at the origin ends of lines.

        Args:
            row: the first one.
            most: rows, at most.

        Returns:
            ``[m, L]`` float32, A; fewer rows than asked for if one has no solution.
        """
        series, scenario, template = self._series, self._scenario, self._template
        rows = slice(row, row + most)
        if most != self._size:
            series.clear()
            self._size = most
        series.modify_gen_p(scenario.prod_p[rows].astype(np.float64))
        series.modify_load_p(scenario.load_p[rows].astype(np.float64))
        series.modify_load_q(scenario.load_q[rows].astype(np.float64))
        start = np.full(template.num_buses, _START_PER_UNIT, dtype=np.complex128)
        series.compute(start, template.max_iterations, template.tolerance)
        kiloamperes = series.compute_flows()
        if series.nb_converged() < most:
            converged = np.array(series.converged_mask(), dtype=np.bool_)
            kiloamperes = kiloamperes[: int(converged.argmin())]
            self._size = 0
        return kiloamperes.astype(np.float32) * np.float32(1000)


def steady_voltages(scenario: Scenario, *, foreseen: bool = False) -> bool:
    """Whether the generators' voltages are the same in all rows, and in those ``foreseen``."""

    def steady(volts: np.ndarray) -> bool:
        return volts.strides[0] == 0 or bool((volts == volts[0]).all())

    return steady(scenario.prod_v) and (not foreseen or steady(scenario.prod_v_forecast))
