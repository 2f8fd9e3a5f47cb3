"""Solves many topologies of one grid in one call of lightsim2grid.

A row is a topology and, on top of it, the loss of a line. It takes a third less time than solving
the grid in each of them by itself, and agrees with that to 1e-9.

Shape letters: D loads, E element ends, G generators, L lines, N numbers of a solution, n rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lightsim2grid.lightsim2grid_cpp import ElementType, ScenarioSweepCPP, TopoAction

from envs.fast.power_flow import Columns, PowerFlow
from envs.fast.template import GridTemplate

_KEPT = 8192  # descriptions of topologies, at most
_FEW = 20  # topologies that need the same busbars: fewer are solved with others


class TopologySweep:
    """Solves a power flow's grid in other topologies.

    Args:
        template: of the grid.
        columns: brief, what solutions are read as.
    """

    def __init__(self, template: GridTemplate, columns: Columns):
        layout = self._layout = template.layout
        self._template = template
        self._columns = columns
        self._num_powerlines = len(template.forecast_model.get_lines())
        slack = [generator.is_slack for generator in template.forecast_model.get_generators()]
        self._slack_position = layout.generator_position[np.array(slack, dtype=np.bool_)]
        self._elements: list[tuple[ElementType, int]] = [(ElementType.load, 0)] * (
            layout.num_elements
        )
        self._line_of_end = np.full(layout.num_elements, -1)
        for kind, positions in (
            (ElementType.line_or, layout.line_or_position),
            (ElementType.line_ex, layout.line_ex_position),
            (ElementType.gen, layout.generator_position),
            (ElementType.load, layout.load_position),
            (ElementType.storage, template.storage_position),
        ):
            for number, position in enumerate(positions.tolist()):
                self._elements[position] = (kind, number)
                if kind in (ElementType.line_or, ElementType.line_ex):
                    self._line_of_end[position] = number
        self._flat = np.ones(template.num_buses, dtype=np.complex128)
        self._actions: dict[bytes, TopoAction] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle what it is made of: descriptions of topologies are C++ objects."""
        return TopologySweep, (self._template, self._columns)

    def covers(self, base: np.ndarray, topologies: np.ndarray) -> np.ndarray:
        """Return ``[n]`` bool: which of ``[n, E]`` can be solved here, beside ``[E]``."""
        slack = self._slack_position
        return np.asarray((topologies[:, slack] == base[slack]).all(axis=1))

    def solve(
        self,
        flow: PowerFlow,
        base: np.ndarray,
        topologies: np.ndarray,
        lost: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve n topologies from flat voltages, perhaps with a line being lost in each.

        Args:
            flow: set to the injections; it is left in topology ``base``.
            base: ``[E]`` int8, a topology with a solution.
            topologies: ``[n, E]`` int8, those that are covered, before the loss.
            lost: ``[n]`` int, lines; None for no losses.

        Returns:
            ``[n, N]`` float64 raw solutions, and ``[n]`` bool, which there are.
        """
        flow.set_topology(base)
        flow.solve_from_flat()
        found = np.zeros((len(topologies), self._columns.count))
        solved = np.zeros(len(topologies), dtype=np.bool_)
        for rows in self._groups(base, topologies):
            found[rows], solved[rows] = self._solve_group(
                flow, base, topologies[rows], None if lost is None else lost[rows]
            )
        return found, solved

    def _groups(self, base: np.ndarray, topologies: np.ndarray) -> list[np.ndarray]:
        """Return numbers of ``[n, E]`` topologies, those together that are best solved so.

        A call solves all its topologies on the busbars that any of them needs. A third less time is
        needed where they all need the same ones; but each call takes as long as six topologies.
        """
        layout = self._layout
        ends = np.zeros((layout.num_elements, layout.num_substations), dtype=np.float32)
        ends[np.arange(layout.num_elements), layout.element_substation] = 1
        split = (topologies == 2) @ ends > 0  # [n, S] an end on its second busbar
        groups: dict[bytes, list[int]] = {}
        for row, key in enumerate(split):
            groups.setdefault(key.tobytes(), []).append(row)
        large = [rows for rows in groups.values() if len(rows) >= _FEW]
        rest = [row for rows in groups.values() if len(rows) < _FEW for row in rows]
        return [np.array(rows) for rows in (*large, rest) if rows]

    def _solve_group(
        self,
        flow: PowerFlow,
        base: np.ndarray,
        topologies: np.ndarray,
        lost: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve topologies beside ``base``, in which ``flow`` is; see ``solve``."""
        changes = np.where(topologies == base, np.int8(0), topologies)
        masks = np.zeros((len(topologies), self._layout.num_lines), dtype=np.bool_)
        if lost is not None:
            topologies = self._lose(base, topologies, lost, changes, masks)
        sweep = ScenarioSweepCPP(flow.model)
        sweep.set_topo_actions([self._action(change) for change in changes])
        if lost is not None:
            sweep.set_contingency_lines(masks[:, : self._num_powerlines].copy())
            sweep.set_contingency_trafos(masks[:, self._num_powerlines :].copy())
        template = self._template
        sweep.compute(self._flat, template.max_iterations, template.tolerance)
        solved = np.array(sweep.converged_mask(), dtype=np.bool_)
        return self._read(sweep, topologies), solved

    def _lose(
        self,
        base: np.ndarray,
        topologies: np.ndarray,
        lost: np.ndarray,
        changes: np.ndarray,
        masks: np.ndarray,
    ) -> np.ndarray:
        """Write the loss of ``[n]`` lines into ``[n, E]`` changes or ``[n, L]`` masks.

        Returns:
            ``[n, E]`` topologies after it.
        """
        ends = self._layout.line_or_position[lost], self._layout.line_ex_position[lost]
        rows = np.arange(len(lost))
        named = (changes[rows, ends[0]] != 0) | (changes[rows, ends[1]] != 0)
        masks[rows, lost] = ~named
        after = topologies.copy()
        for end in ends:  # an action that names the line must open it itself
            at = rows[named], end[named]
            changes[at] = np.where(base[end[named]] < 0, 0, -1)
            after[rows, end] = -1
        return after

    def _read(self, sweep: ScenarioSweepCPP, topologies: np.ndarray) -> np.ndarray:
        """Return raw solutions ``[n, N]`` of ``[n, E]`` topologies."""
        columns, layout = self._columns, self._layout
        raw = np.zeros((len(topologies), columns.count))
        raw[:, columns.a_or] = sweep.compute_flows()
        voltages = sweep.get_voltages()
        size, degrees = np.abs(voltages), np.rad2deg(np.angle(voltages))
        rows = np.arange(len(topologies))[:, None]
        at = layout.element_substation + layout.num_substations * (topologies == 2)
        connected = topologies > 0
        volts = size[rows, at] * layout.nominal_voltage[layout.element_substation] * connected
        angles = degrees[rows, at] * connected
        raw[:, columns.theta_or] = angles[:, layout.line_or_position]
        raw[:, columns.theta_ex] = angles[:, layout.line_ex_position]
        raw[:, columns.gen_v] = volts[:, layout.generator_position]
        raw[:, columns.load_v] = volts[:, layout.load_position]
        return raw

    def _action(self, change: np.ndarray) -> TopoAction:
        """Return what puts element ends on busbars: ``[E]`` int8, 0 leaves one where it is."""
        key = change.tobytes()
        action = self._actions.get(key)
        if action is None:
            if len(self._actions) >= _KEPT:
                self._actions.clear()
            action = self._actions[key] = TopoAction()
            opened: set[int] = set()
            for end in np.flatnonzero(change).tolist():
                if change[end] > 0:
                    action.add_element(*self._elements[end], int(change[end]))
                else:
                    opened.add(int(self._line_of_end[end]))
            for line in sorted(opened):
                action.set_line_status(line, -1)
        return action
