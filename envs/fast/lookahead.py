"""Simulates actions on the five-minute forecast, as grid2op's ``obs.simulate`` does.

Shape letters: C lines that may be lost, D loads, E element ends, G generators, K actions, L lines,
N numbers of a solution, n topologies.
"""

from __future__ import annotations

import numpy as np

from envs.fast.arrays import GridArrays
from envs.fast.cascade import Cascade
from envs.fast.newton import NewtonPowerFlow
from envs.fast.power_flow import Columns, PowerFlow
from envs.fast.sweep import TopologySweep
from envs.fast.topologies import distinct
from envs.grid.connectivity import Connectivity
from envs.grid.state import LegalityState, Lookahead

USUAL = 0.15  # of the nominal: how far the voltages of a usual solution are from it


class Forecaster:
    """Looks ahead on the grids of a simulator, changing nothing in them.

    Power flows are solved from flat voltages first. What comes out as usual is the solution that
    grid2op finds from a DC solution; anything else is solved again, in its way.

    Args:
        simulator: of B grids.
    """

    def __init__(self, simulator: GridArrays):
        self._simulator = simulator
        template = simulator.template
        self._flow = PowerFlow(template, template.topology, foreseeing=True, brief=True)
        self._columns = Columns(template, brief=True)
        self._cascade = Cascade(template, self._columns)
        layout = template.layout
        self._connectivity = Connectivity(layout)
        self._newton = NewtonPowerFlow(template, self._columns)
        self._newton_met = False  # whether it knows the injections of ``_flow``
        self._sweep: TopologySweep | None = None  # made when it is needed
        nominal = layout.nominal_voltage[layout.load_substation]
        self._nominal = np.concatenate([template.kv_per_unit, nominal])  # [G + D] kV

    def look(self, grid: int, actions: np.ndarray, outages: np.ndarray | None = None) -> Lookahead:
        """Play each action on the forecast of ``grid``.

        Args:
            grid: not dark.
            actions: ``[K]`` int; an illegal one is looked ahead at as what it does: nothing.
            outages: ``[C]`` int, lines whose loss in the same step is looked at, too; see
                ``Lookahead``.
        """
        simulator = self._simulator
        catalogue = simulator.template.catalogue
        self.meet(grid)
        one = slice(grid, grid + 1)
        rules = LegalityState(
            simulator.line_status[one],
            simulator.line_cooldown[one],
            simulator.substation_cooldown[one],
        )
        legal = catalogue.legal(rules)[0]
        played = np.where(legal[actions] == 1, actions, 0)
        present = self.expected_topology(grid)[None]
        results = catalogue.results(present, simulator.last_busbar[one], played)[0]
        topologies, which = distinct(results)  # many actions lead to one
        base, steps = simulator.topology[grid], simulator.protection_steps[grid]
        rho, game_over = self._foresee(topologies, steps, base)
        if outages is not None:
            rho, game_over = self._lose(grid, topologies, rho, game_over, outages)
        rho = rho[which]
        return Lookahead(rho=rho, rho_max=rho.max(axis=-1), game_over=game_over[which])

    def expected_topology(self, grid: int) -> np.ndarray:
        """Return ``[E]``, the topology of ``grid`` without what is planned to be out next."""
        simulator, layout = self._simulator, self._simulator.layout
        topology, lines = simulator.topology[grid], simulator.opened_ahead(grid)
        if len(lines):
            topology = topology.copy()
            for ends in (layout.line_or_position, layout.line_ex_position):
                topology[ends[lines]] = -1
        return topology

    def _lose(
        self,
        grid: int,
        topologies: np.ndarray,
        rho: np.ndarray,
        game_over: np.ndarray,
        outages: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Look at the loss of lines in ``[n, E]`` topologies, beside no loss.

        Returns:
            Loadings ``[n, 1 + C, L]`` and ends of the game ``[n, 1 + C]``; the first are those
            given, without a loss.
        """
        layout = self._simulator.layout
        rho = np.repeat(rho[:, None], 1 + len(outages), axis=1)
        game_over = np.repeat(game_over[:, None], 1 + len(outages), axis=1)
        closed = topologies[:, layout.line_or_position[outages]] > 0
        rows, columns = np.nonzero(closed)  # the loss of an open line changes nothing
        if len(rows):
            found = self._foresee(
                topologies[rows],
                self._simulator.protection_steps[grid],
                self._simulator.topology[grid],
                lost=outages[columns],
            )
            rho[rows, 1 + columns], game_over[rows, 1 + columns] = found
        return rho, game_over

    def meet(self, grid: int) -> None:
        """Set the power flow to the forecast of ``grid``, for ``solve``; it is not dark."""
        simulator, flow = self._simulator, self._flow
        self._newton_met = False
        flow.set_injections(simulator.foreseen(np.array([grid]))[0])
        # grid2op looks ahead with shunts as it reads them back, rounding and all
        columns = simulator.columns
        solution = simulator.solution[grid].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = (simulator.template.shunt_voltage / solution[columns.shunt_v]) ** 2
            flow.set_shunts(
                (solution[columns.shunt_p] * scale).astype(np.float32),
                (solution[columns.shunt_q] * scale).astype(np.float32),
            )

    def _foresee(
        self,
        topologies: np.ndarray,
        protection_steps: np.ndarray,
        base: np.ndarray,
        *,
        lost: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return loadings ``[n, L]`` and ends of the game ``[n]`` of ``[n, E]`` topologies.

        Args:
            topologies: ``[n, E]`` int8.
            protection_steps: ``[L]`` int.
            base: ``[E]`` int8, the present topology.
            lost: ``[n]`` int, a line of each topology that is lost in it.
        """
        simulator = self._simulator
        rules, columns, cascade = simulator.template.rules, self._columns, self._cascade
        solutions, solved = self.solve(topologies, base, lost=lost)
        if lost is not None:
            topologies = self._without(topologies, lost)
        if rules.protected:
            steps = np.broadcast_to(protection_steps, (len(topologies), len(protection_steps)))
            status = topologies[:, simulator.layout.line_or_position] > 0
            trips = cascade.trips(solutions[:, columns.a_or], status, steps)
            places = np.flatnonzero(trips.any(axis=1) & solved)
            ends, solutions[places] = self._trip(
                topologies[places], solutions[places], steps[places], base
            )
            solved[places] = [not cause for cause in ends]
        rho = solutions[:, columns.a_or] / rules.limit
        rho[~solved] = np.inf
        return rho, ~solved

    def solve(
        self,
        topologies: np.ndarray,
        base: np.ndarray,
        *,
        lost: np.ndarray | None = None,
        unusual: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve ``[n, E]`` topologies on the forecast of the grid that was met; no line trips.

        Args:
            topologies: ``[n, E]`` int8.
            base: ``[E]`` int8, a topology with a solution, beside which most of them are solved in
                one call.
            lost: ``[n]`` int, a line of each topology that is lost in it.
            unusual: whether solutions with unusual voltages are looked for, too: ten times as slow.

        Returns:
            ``[n, N]`` float32 solutions in grid2op's units, and ``[n]`` bool, which there are.
        """
        raw, solved = self._solve_raw(topologies, base, lost, unusual=unusual)
        solutions = self._cascade.convert(raw)
        solved[solved] = ~self._cascade.dead(solutions[solved])
        return solutions, solved

    def _solve_raw(
        self,
        topologies: np.ndarray,
        base: np.ndarray,
        lost: np.ndarray | None = None,
        *,
        unusual: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Do what ``solve`` does; return solutions as they are read."""
        raw = np.zeros((len(topologies), self._columns.count))
        whole = topologies
        if lost is not None:
            topologies = self._without(topologies, lost)
        solved = self._connectivity.connected(topologies)
        alone = solved & ~self._solve_quickly(topologies, solved, raw)  # to be solved by itself
        alone &= ~self._solve_together(base, whole, lost, alone, raw)
        if alone.any():
            found = np.zeros((int(alone.sum()), raw.shape[1]))
            self._flow.read_each(topologies[alone], found)
            raw[alone] = found
        rest = solved & ~self._usual(raw)
        solved[rest] = self._solve_carefully(topologies, rest, raw) if unusual else False
        return raw, solved

    def _solve_carefully(
        self, topologies: np.ndarray, which: np.ndarray, raw: np.ndarray
    ) -> np.ndarray:
        """Solve some, ``[n]`` bool, of ``[n, E]`` topologies in grid2op's way, from DC solutions.

        Returns:
            Which of those have a solution, which is then in ``raw``, ``[n, N]``.
        """
        flow, solved = self._flow, []
        for place in np.flatnonzero(which).tolist():
            flow.set_topology(topologies[place])
            solved.append(not flow.solve())
            if solved[-1]:
                flow.read(raw[place])
        return np.array(solved, dtype=np.bool_)

    def _without(self, topologies: np.ndarray, lost: np.ndarray) -> np.ndarray:
        """Return ``[n, E]`` topologies in each of which one line, ``[n]``, is opened."""
        topologies, rows = topologies.copy(), np.arange(len(lost))
        layout = self._simulator.layout
        for ends in (layout.line_or_position, layout.line_ex_position):
            topologies[rows, ends[lost]] = -1
        return topologies

    def _solve_quickly(
        self, topologies: np.ndarray, wanted: np.ndarray, raw: np.ndarray
    ) -> np.ndarray:
        """Solve in a compiled loop what can be; see ``_solve_together``."""
        if not self._newton_met:
            self._newton.meet(self._flow)
            self._newton_met = True
        covered = wanted & self._newton.covers(topologies)
        if covered.any():
            self._newton.solve(topologies, covered, raw)
        return covered

    def _solve_together(
        self,
        base: np.ndarray,
        topologies: np.ndarray,
        lost: np.ndarray | None,
        wanted: np.ndarray,
        raw: np.ndarray,
    ) -> np.ndarray:
        """Solve in one call what can be; write to ``raw``, and return ``[n]`` bool, which rows."""
        if not wanted.any():
            return wanted
        if self._sweep is None:
            self._sweep = TopologySweep(self._simulator.template, self._columns)
        covered = wanted & self._sweep.covers(base, topologies)
        if covered.any():
            some = None if lost is None else lost[covered]
            found, solved = self._sweep.solve(self._flow, base, topologies[covered], some)
            raw[np.flatnonzero(covered)[solved]] = found[solved]
        return covered

    def _trip(
        self,
        topologies: np.ndarray,
        solutions: np.ndarray,
        steps: np.ndarray,
        base: np.ndarray,
    ) -> tuple[list[str], np.ndarray]:
        """Let lines trip; return why there is no solution in the end, or "", and the solutions."""

        def solve(_: np.ndarray, after: np.ndarray) -> tuple[list[str], np.ndarray]:
            raw, solved = self._solve_raw(after, base)
            return ["" if there else "no solution" for there in solved.tolist()], raw

        return self._cascade.run(solve, solutions, topologies, steps), solutions

    def _usual(self, raw: np.ndarray) -> np.ndarray:
        """Return ``[n]`` bool, which of ``[n, N]`` are solutions with usual voltages everywhere."""
        away = np.abs(raw[:, self._columns.volts] - self._nominal)
        return np.asarray((away <= USUAL * self._nominal).all(axis=1))
