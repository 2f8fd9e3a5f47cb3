"""What a solved step means for many grids, in compiled loops.

``Cascade`` says the same of solutions that are no grid's state; the tests compare both.

Shape letters: B grids, E element ends, L lines, N numbers of a solution, n grids of a call,
S substations.
"""

from __future__ import annotations

import numba
import numpy as np

from envs.fast.power_flow import Columns
from envs.fast.template import Rules

QUIET, DEAD, TRIPS = 0, 1, 2  # verdicts on a solution
VAST_ANGLE = np.float32(1e6)  # degrees; the backend takes such a solution for none
_FINITE, _AMPERE = 1, 2  # numbers that are 0 where they are not finite; and those read in kA


class StepRules:
    """Reads solutions and counts steps.

    Args:
        rules: of the grid.
        columns: of its solutions.
    """

    def __init__(self, rules: Rules, columns: Columns):
        self._rules = rules
        self._kinds = np.zeros(columns.count, dtype=np.int8)  # [N] of numbers
        for part in (columns.v_or, columns.v_ex):
            self._kinds[part] = _FINITE
        for part in (columns.a_or, columns.a_ex):
            self._kinds[part] = _AMPERE
        parts = (columns.a_or, columns.volts, columns.angles)
        self._parts = np.array([(part.start, part.stop) for part in parts])

    def settle(
        self,
        raw: np.ndarray,
        grids: np.ndarray,
        line_status: np.ndarray,
        protection_steps: np.ndarray,
        solution: np.ndarray,
        rho: np.ndarray,
        *,
        counting: bool,
    ) -> np.ndarray:
        """Read the solutions of n grids and judge them.

        Args:
            raw: ``[B, N]`` float64 as they were read.
            grids: ``[n]`` int64, which.
            line_status: ``[B, L]`` bool.
            protection_steps: ``[B, L]`` int32, steps above the soft limit, without this one.
            solution: ``[B, N]`` float32, written to, in grid2op's units.
            rho: ``[B, L]`` float32, written to.
            counting: whether what is above its soft limit now counts (not at a reset).

        Returns:
            ``[n]`` int8: DEAD where a load or generator is without voltage or angles run away, else
            TRIPS where a line does, else QUIET.
        """
        rules = self._rules
        verdicts = np.zeros(len(grids), dtype=np.int8)
        limits = (rules.limit, rules.soft_limit, rules.hard_limit)
        allowed = rules.overflow_allowed if rules.protected else -1
        arrays = (raw, line_status, protection_steps, solution, rho)
        _settle(grids, *arrays, self._kinds, self._parts, *limits, allowed, counting, verdicts)
        return verdicts

    def count(
        self,
        grids: np.ndarray,
        currents: np.ndarray,
        topology: np.ndarray,
        overflow_steps: np.ndarray,
        protection_steps: np.ndarray,
        last_busbar: np.ndarray,
        cooldowns: tuple[np.ndarray, np.ndarray],
        attack_steps: np.ndarray,
    ) -> np.ndarray:
        """Count what a step lets pass on n grids, in place; return ``[n]`` bool, any cooling ones.

        Args:
            grids: ``[n]`` int64.
            currents: ``[B, L]`` float32, A.
            topology: ``[B, E]`` int8.
            overflow_steps: ``[B, L]`` int32.
            protection_steps: ``[B, L]`` int32.
            last_busbar: ``[B, E]`` int8.
            cooldowns: ``[B, L]`` and ``[B, S]`` int32.
            attack_steps: ``[B, L]`` int32.
        """
        rules = self._rules
        cooling = np.zeros(len(grids), dtype=np.bool_)
        _count_above(grids, currents, rules.limit, overflow_steps)
        _count_above(grids, currents, rules.soft_limit, protection_steps)
        _remember(grids, topology, last_busbar)
        for steps in cooldowns:
            _count_down(grids, steps, cooling)
        _count_down(grids, attack_steps, np.zeros_like(cooling))
        return cooling


@numba.njit(cache=True)
def _settle(
    grids,
    raw,
    line_status,
    protection_steps,
    solution,
    rho,
    kinds,
    parts,
    limit,
    soft_limit,
    hard_limit,
    allowed,
    counting,
    verdicts,
):
    """See ``StepRules.settle``; ``allowed`` is -1 where nothing trips."""
    for n in range(len(grids)):
        grid = grids[n]
        for column in range(len(kinds)):
            value = raw[grid, column]
            if kinds[column] and not np.isfinite(value):
                value = 0.0
            number = np.float32(value)
            if kinds[column] == _AMPERE:
                number *= np.float32(1000)
            solution[grid, column] = number
        dead = False
        for column in range(parts[1, 0], parts[1, 1]):
            dead |= not (solution[grid, column] > 0 and solution[grid, column] < np.inf)
        for column in range(parts[2, 0], parts[2, 1]):
            dead |= abs(solution[grid, column]) >= VAST_ANGLE
        trips = False
        for line in range(len(limit)):
            current = solution[grid, parts[0, 0] + line]
            rho[grid, line] = current / limit[line]
            if allowed >= 0 and line_status[grid, line]:
                steps = protection_steps[grid, line]
                if counting and current > soft_limit[line]:
                    steps += 1
                trips |= current > hard_limit[line] or steps > allowed
        if dead:
            verdicts[n] = DEAD
        elif trips:
            verdicts[n] = TRIPS


@numba.njit(cache=True)
def _count_above(grids, currents, limit, steps):
    """Count the steps in a row in which currents are above a limit."""
    for grid in grids:
        for line in range(len(limit)):
            above = currents[grid, line] > limit[line]
            steps[grid, line] = steps[grid, line] + 1 if above else 0


@numba.njit(cache=True)
def _count_down(grids, steps, cooling):
    """Count what is left; note where anything was."""
    for n in range(len(grids)):
        for place in range(steps.shape[1]):
            if steps[grids[n], place] > 0:
                steps[grids[n], place] -= 1
                cooling[n] = True


@numba.njit(cache=True)
def _remember(grids, topology, last_busbar):
    """Remember where connected element ends are."""
    for grid in grids:
        for end in range(topology.shape[1]):
            if topology[grid, end] > 0:
                last_busbar[grid, end] = topology[grid, end]
