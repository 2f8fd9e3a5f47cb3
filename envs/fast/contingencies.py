"""Contingency analysis: simulates the loss of each of some lines from the present state.

Shape letters: C lines, E element ends, L lines of the grid, m rows, n grids of a call.
"""

from __future__ import annotations

import numpy as np
from lightsim2grid.lightsim2grid_cpp import ScenarioSweepCPP

from envs.fast.calm_stretches import MARGIN
from envs.fast.lookahead import USUAL, Forecaster
from envs.fast.simulator import Simulator
from envs.fast.template import GridTemplate
from envs.grid.actions import DO_NOTHING
from envs.scenarios import Scenario


class Contingencies:
    """Contingency analysis on the grids of a simulator.

    Args:
        simulator: of B grids.
        lines: ``[C]`` int, those that may be lost.
    """

    def __init__(self, simulator: Simulator, lines: np.ndarray):
        self._simulator = simulator
        self._lines = lines
        self._forecaster = Forecaster(simulator)

    def worst(self, grids: np.ndarray) -> np.ndarray:
        """Return the highest loading after the worst loss, ``[n]``; inf where the game would end.

        Args:
            grids: ``[n]`` int, none of them dark.
        """
        action = np.array([DO_NOTHING])
        found = [self._forecaster.look(grid, action, self._lines) for grid in grids.tolist()]
        return np.array([one.rho_max[0, 1:].max(initial=0) for one in found], dtype=np.float64)

    def stretch(self, scenario: Scenario, topology: np.ndarray) -> ContingencyStretch:
        """Return what solves the losses of many rows of ``scenario`` in ``[E]`` topology."""
        return ContingencyStretch(self._simulator.template, scenario, topology, self._lines)


class ContingencyStretch:
    """Contingency analysis of one scenario and topology, many rows at a time.

    Args:
        template: of the grid.
        scenario: with one set of forecast generator voltages throughout.
        topology: ``[E]`` int8.
        lines: ``[C]`` int; those that are open are left out.
    """

    def __init__(
        self, template: GridTemplate, scenario: Scenario, topology: np.ndarray, lines: np.ndarray
    ):
        self._template = template
        self._scenario = scenario
        self._lines = lines[topology[template.layout.line_or_position[lines]] > 0]
        model = template.forecast_model.copy()
        model.update_topo(np.ones(len(topology), dtype=np.bool_), topology.astype(np.int32))
        generators = np.ones(template.layout.num_generators, dtype=np.bool_)
        model.update_gens_v(generators, scenario.prod_v_forecast[0] / template.kv_per_unit)
        self._num_powerlines = len(model.get_lines())
        self._sweep = ScenarioSweepCPP(model)

    def safe(self, row: int, count: int, limit: float) -> int:
        """Return how many rows after each other are below ``limit``, whichever line is lost.

        Args:
            row: the first one; what is foreseen at it is looked at.
            count: m, rows looked at.
            limit: of the highest loading. What is so close to it, or so unusual, that the ordinary
                look-ahead should decide is not called safe.
        """
        template, scenario, lines = self._template, self._scenario, self._lines
        if not len(lines):
            return count
        rows = slice(row, row + count)
        sweep, rules = self._sweep, template.rules
        masks = np.zeros((len(lines), template.layout.num_lines), dtype=np.bool_)
        masks[np.arange(len(lines)), lines] = True
        masks = np.tile(masks, (count, 1))
        sweep.clear()
        for modify, values in (
            (sweep.modify_gen_p, scenario.prod_p_forecast),
            (sweep.modify_load_p, scenario.load_p_forecast),
            (sweep.modify_load_q, scenario.load_q_forecast),
        ):
            modify(np.repeat(values[rows].astype(np.float64), len(lines), axis=0))
        sweep.set_contingency_lines(masks[:, : self._num_powerlines].copy())
        sweep.set_contingency_trafos(masks[:, self._num_powerlines :].copy())
        flat = np.ones(template.num_buses, dtype=np.complex128)
        sweep.compute(flat, template.max_iterations, template.tolerance)
        currents = sweep.compute_flows().astype(np.float32) * np.float32(1000)
        most = np.minimum(rules.hard_limit, np.float32(limit) * rules.limit)
        if rules.overflow_allowed < 1:
            most = np.minimum(most, rules.soft_limit)
        volts = np.abs(sweep.get_voltages())
        usual = (np.abs(volts - 1) <= USUAL) | (volts == 0)
        safe = np.array(sweep.converged_mask(), dtype=np.bool_)
        safe &= (currents < most * MARGIN).all(axis=1) & usual.all(axis=1)
        each = safe.reshape(count, len(lines)).all(axis=1)
        return count if each.all() else int(each.argmin())
