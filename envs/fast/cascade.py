"""Protections: overloaded lines trip, load others, until nothing trips any more.

It follows ``grid2op.Backend.Backend.next_grid_state``.

Shape letters: E element ends, L lines, N numbers of a solution (``power_flow.Columns``), n grids.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.fast.power_flow import Columns
from envs.fast.rules import VAST_ANGLE
from envs.fast.template import GridTemplate


class Cascade:
    """Reads solutions and lets lines trip.

    Args:
        template: of the grid.
        columns: of its solutions.
    """

    def __init__(self, template: GridTemplate, columns: Columns):
        self._rules = template.rules
        self._columns = columns
        self._or_position = template.layout.line_or_position
        self._ex_position = template.layout.line_ex_position

    def convert(self, raw: np.ndarray) -> np.ndarray:
        """Return ``[n, N]`` float32 in grid2op's units of ``[n, N]`` float64 as it was read."""
        columns = self._columns
        solution = raw.astype(np.float32)
        for currents in (columns.a_or, columns.a_ex):
            solution[:, currents] *= np.float32(1000)  # kA to A
        if not np.isfinite(raw.sum()):
            for part in (columns.a_or, columns.v_or, columns.a_ex, columns.v_ex):
                values = solution[:, part]  # a view
                values[~np.isfinite(values)] = 0
        return solution

    def dead(self, solution: np.ndarray) -> np.ndarray:
        """Return ``[n]`` bool: a load or generator is without voltage, or angles run away."""
        columns = self._columns
        volts, angles = solution[:, columns.volts], solution[:, columns.angles]
        # all comparisons with "not a number" are false
        quiet = np.abs(angles).max(initial=0) < VAST_ANGLE
        if quiet and volts.min(initial=1) > 0 and volts.max(initial=0) < np.inf:
            return np.zeros(len(solution), dtype=np.bool_)
        cut_off = (~((volts > 0) & (volts < np.inf))).any(axis=1)
        return np.logical_or(cut_off, (np.abs(angles) >= VAST_ANGLE).any(axis=1))

    def cause_of_death(self, solution: np.ndarray) -> str:
        """Return what is wrong with ``[N]``; "" if nothing is."""
        columns = self._columns
        for name, short, volts in (
            ("load", "loads", solution[columns.load_v]),
            ("generator", "gen", solution[columns.gen_v]),
        ):
            cut_off = np.flatnonzero(~np.isfinite(volts) | (volts <= 0))
            if len(cut_off):
                return f"At least one {name} is disconnected (check {short} {cut_off})"
        if (np.abs(solution[columns.angles]) >= VAST_ANGLE).any():
            return "Some theta are above 1e6 which should not be happening !"
        return ""

    def trips(
        self,
        currents: np.ndarray,
        line_status: np.ndarray,
        protection_steps: np.ndarray,
        *,
        counting: bool = True,
    ) -> np.ndarray:
        """Return which lines trip first, of n grids whose power flows were just solved.

        Args:
            currents: ``[n, L]`` A.
            line_status: ``[n, L]`` bool.
            protection_steps: ``[n, L]`` int, steps above the soft limit, without this one.
            counting: see ``run``.

        Returns:
            ``[n, L]`` bool.
        """
        rules = self._rules
        steps = protection_steps
        if counting:
            steps = steps + (currents > rules.soft_limit)
        return ((currents > rules.hard_limit) | (steps > rules.overflow_allowed)) & line_status

    def run(
        self,
        solve: Callable[[np.ndarray, np.ndarray], tuple[list[str], np.ndarray]],
        solution: np.ndarray,
        topology: np.ndarray,
        protection_steps: np.ndarray,
        *,
        counting: bool = True,
        rounds: np.ndarray | None = None,
    ) -> list[str]:
        """Let lines of n solved grids trip, and solve them again, until nothing changes.

        Args:
            solve: of ``[m]`` grids, 0 to n - 1, and their new topologies ``[m, E]``: why each has
                no solution, or "", and the raw solutions ``[m, N]``.
            solution: ``[n, N]`` of ``topology``; the last ones when this returns.
            topology: ``[n, E]`` int8; the last ones when this returns.
            protection_steps: ``[n, L]`` int, steps above the soft limit, without this one.
            counting: whether what is above its soft limit now counts (not at a reset).
            rounds: ``[n, L]`` int8, to be told in which round lines tripped, from 0.

        Returns:
            n causes: why there is no solution in the end, or "".
        """
        rules, columns = self._rules, self._columns
        causes = [""] * len(topology)
        status = topology[:, self._or_position] > 0
        steps = protection_steps.copy()
        counted = np.zeros(status.shape, dtype=np.bool_)
        going = np.arange(len(topology))  # grids that may trip still
        number = 0
        while len(going):
            currents = solution[going, columns.a_or]
            if counting:
                above = (currents > rules.soft_limit) & status[going] & ~counted[going]
                steps[going] += above
                counted[going] |= above
            over = (currents > rules.hard_limit) | (steps[going] > rules.overflow_allowed)
            trips = over & status[going]
            going, trips = going[trips.any(axis=1)], trips[trips.any(axis=1)]
            status[going] &= ~trips
            rows, lines = np.nonzero(trips)
            if rounds is not None:
                rounds[going[rows], lines] = number
            number += 1
            topology[going[rows], self._or_position[lines]] = -1
            topology[going[rows], self._ex_position[lines]] = -1
            found, raw = solve(going, topology[going])
            for grid, cause in zip(going.tolist(), found, strict=True):
                causes[grid] = cause
            solved = np.array([not cause for cause in found], dtype=np.bool_)
            going = going[solved]
            solution[going] = converted = self.convert(raw[solved])
            dead = self.dead(converted)
            for grid in going[dead].tolist():
                causes[grid] = self.cause_of_death(solution[grid])
            going = going[~dead]
        return causes
