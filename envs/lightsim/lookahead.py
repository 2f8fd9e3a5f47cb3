"""Actions played on the five-minute forecast, as ``obs.simulate`` of grid2op does.

Shape letters: D loads, E element ends, G generators, K actions, N numbers of a solution,
n topologies.
"""

from __future__ import annotations

import numpy as np

from envs.lightsim.cascade import Cascade
from envs.lightsim.power_flow import Columns
from envs.lightsim.power_flow import PowerFlow
from envs.lightsim.simulator import Simulator
from envs.state import LegalityState
from envs.state import Lookahead

_USUAL = 0.15  # of the nominal: how far the voltages of a usual solution are from it


class Forecaster:
    """Looks ahead on the grids of a simulator, changing nothing in them.

    Power flows are solved from flat voltages first. What comes out as usual is the solution that
    grid2op finds from a DC solution; anything else is solved again, in its way.

    Args:
        simulator: of B grids.
    """

    def __init__(self, simulator: Simulator):
        self._simulator = simulator
        template = simulator.template
        self._flow = PowerFlow(template, template.topology, foreseeing=True, brief=True)
        self._columns = Columns(template, brief=True)
        self._cascade = Cascade(template, self._columns)
        layout = template.layout
        self._of_line = np.zeros(layout.num_elements, dtype=np.bool_)  # [E] an end of a line
        self._of_line[layout.line_or_position] = self._of_line[layout.line_ex_position] = True
        nominal = layout.nominal_voltage[layout.load_substation]
        self._nominal = np.concatenate([template.kv_per_unit, nominal])  # [G + D] kV

    def look(self, grid: int, actions: np.ndarray) -> Lookahead:
        """Play each action on the forecast of ``grid``.

        Args:
            grid: not dark.
            actions: ``[K]`` int; an illegal one is looked ahead at as what it does: nothing.
        """
        simulator = self._simulator
        catalogue = simulator.template.catalogue
        self._set_forecast(grid)
        one = slice(grid, grid + 1)
        rules = LegalityState(
            simulator.line_status[one],
            simulator.line_cooldown[one],
            simulator.substation_cooldown[one],
        )
        legal = catalogue.legal(rules)[0]
        played = np.where(legal[actions] == 1, actions, 0)
        results = catalogue.results(
            simulator.topology[one], simulator.last_busbar[one], played.tolist()
        )[0]
        # many actions lead to one topology
        places: dict[bytes, int] = {}
        which = [places.setdefault(result.tobytes(), len(places)) for result in results]
        size = results.shape[1]
        topologies = np.frombuffer(b"".join(places), dtype=np.int8).reshape(-1, size)
        rho, game_over = self._foresee(topologies, simulator.protection_steps[grid])
        rho = rho[which]
        return Lookahead(rho=rho, rho_max=rho.max(axis=1), game_over=game_over[which])

    def _set_forecast(self, grid: int) -> None:
        simulator, flow = self._simulator, self._flow
        scenario = simulator.scenarios[grid]
        assert scenario is not None
        row = simulator.row[grid]
        flow.set_powers(
            scenario.prod_p_forecast[row],
            scenario.load_p_forecast[row],
            scenario.load_q_forecast[row],
        )
        flow.set_voltages(scenario.prod_v_forecast[row])
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
        self, topologies: np.ndarray, protection_steps: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return loadings ``[n, L]`` and ends of the game ``[n]`` of ``[n, E]`` topologies."""
        simulator = self._simulator
        rules, columns, cascade = simulator.template.rules, self._columns, self._cascade
        raw = np.zeros((len(topologies), columns.count))
        solved = ~self._cut_off(topologies)
        for place in np.flatnonzero(solved).tolist():
            self._flow.set_topology(topologies[place])
            if self._flow.solve_from_flat():
                self._flow.read(raw[place])
        for place in np.flatnonzero(solved & ~self._usual(raw)).tolist():
            solved[place] = not self._solve(topologies[place], raw[place])
        solutions = cascade.convert(raw)
        solved[solved] = ~cascade.dead(solutions[solved])
        if rules.protected:
            steps = np.broadcast_to(protection_steps, (len(topologies), len(protection_steps)))
            status = topologies[:, simulator.layout.line_or_position] > 0
            trips = cascade.trips(solutions[:, columns.a_or], status, steps)
            places = np.flatnonzero(trips.any(axis=1) & solved)
            ends, solutions[places] = self._trip(
                topologies[places], solutions[places], steps[places]
            )
            solved[places] = [not cause for cause in ends]
        rho = solutions[:, columns.a_or] / rules.limit
        rho[~solved] = np.inf
        return rho, ~solved

    def _trip(
        self, topologies: np.ndarray, solutions: np.ndarray, steps: np.ndarray
    ) -> tuple[list[str], np.ndarray]:
        """Let lines trip; return why there is no solution in the end, or "", and the solutions."""
        room = np.empty(solutions.shape[1])
        causes = self._cascade.run(
            lambda _, topology: (self._solve(topology, room), room), solutions, topologies, steps
        )
        return causes, solutions

    def _solve(self, topology: np.ndarray, out: np.ndarray) -> str:
        """Solve ``topology``; write the raw solution to ``out``, or return why there is none."""
        self._flow.set_topology(topology)
        cause = self._flow.solve()
        if not cause:
            self._flow.read(out)
        return cause

    def _usual(self, raw: np.ndarray) -> np.ndarray:
        """Return ``[n]`` bool, which of ``[n, N]`` are solutions with usual voltages everywhere."""
        away = np.abs(raw[:, self._columns.volts] - self._nominal)
        return np.asarray((away <= _USUAL * self._nominal).all(axis=1))

    def _cut_off(self, topologies: np.ndarray) -> np.ndarray:
        """Return ``[n]`` bool: something is on a busbar that no line goes to, so all is lost."""
        substation = self._simulator.layout.element_substation
        rows, ends = np.nonzero(topologies > 0)
        busbars = 2 * int(substation.max()) + 2
        at = rows * busbars + 2 * substation[ends] + topologies[rows, ends] - 1
        there = np.zeros(len(topologies) * busbars, dtype=np.bool_)
        reached = there.copy()
        there[at] = True
        reached[at[self._of_line[ends]]] = True
        return np.asarray((there & ~reached).reshape(-1, busbars).any(axis=1))
