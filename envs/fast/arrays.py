"""The state of B grids in arrays.

Shape letters: B grids, E element ends, L lines, N numbers of a solution, n grids of a call,
S substations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.fast.memory import ScenarioRows
from envs.fast.power_flow import Columns
from envs.fast.scheduled_outages import Outages, outages_of
from envs.fast.template import GridTemplate
from envs.grid.state import GridLayout, GridState
from envs.opponents import Attacker, Opponent
from envs.scenarios import Scenario
from powergrid_muzero.copies import Copyable

_SOLVED = (  # fields of GridState that a solution fills
    *("p_or", "q_or", "v_or", "a_or", "theta_or", "p_ex", "q_ex", "v_ex", "a_ex", "theta_ex"),
    *("gen_p", "gen_q", "gen_v", "gen_theta", "load_p", "load_q", "load_v", "load_theta"),
)
_KEPT = (  # arrays of a simulator that make up a grid's state
    *("row", "first_row", "last_row", "_clock", "_minutes", "topology", "last_busbar"),
    *("line_status", "overflow_steps", "protection_steps", "line_cooldown"),
    *("substation_cooldown", "solution", "rho", "dark"),
    *("attack_steps", "attacks", "lost_to_attack"),
    *("maintenance_in", "maintenance_duration"),
)


class GridSnapshot(NamedTuple):
    """One grid at one step, to go back to: 4 kB on 14 substations."""

    scenario: Scenario | None
    arrays: tuple[np.ndarray, ...]  # a row of each of the simulator's
    attacker: dict[str, Any] | None  # of its opponent, if any


class GridArrays(Copyable):
    """B grids side by side, as they stand.

    Args:
        template: of the grid.
        num_grids: B.
        opponent: who takes lines out; None for nobody.
    """

    _rebuilt = ("_views", "_rows", "_outages")

    def __init__(self, template: GridTemplate, num_grids: int, opponent: Opponent | None = None):
        self.template = template
        self.num_grids = num_grids
        self.layout: GridLayout = template.layout
        self.columns = Columns(template)
        layout = self.layout
        L = layout.num_lines

        def steps(size: int) -> np.ndarray:
            return np.zeros((num_grids, size), dtype=np.int32)

        self.scenarios: list[Scenario | None] = [None] * num_grids
        self._rows = ScenarioRows(layout, num_grids)
        self.row = np.zeros(num_grids, dtype=np.int32)  # [B] of the scenario, now on the grid
        self.first_row = np.zeros(num_grids, dtype=np.int32)  # [B] where the episode started
        self.last_row = np.zeros(num_grids, dtype=np.int32)  # [B] of the scenario
        self._clock = np.zeros(num_grids, dtype="datetime64[m]")  # [B] of row 0
        self._minutes = np.zeros(num_grids, dtype=np.int64)  # [B] per step
        self.topology = np.tile(template.topology, (num_grids, 1))  # [B, E] int8
        self.last_busbar = self.topology.copy()  # [B, E] int8
        self.line_status = np.ones((num_grids, L), dtype=np.bool_)  # [B, L]
        self.overflow_steps = steps(L)  # [B, L] above the thermal limit
        self.protection_steps = steps(L)  # [B, L] above the soft limit
        self.line_cooldown = steps(L)  # [B, L]
        self.substation_cooldown = steps(layout.num_substations)  # [B, S]
        self.attack_steps = steps(L)  # [B, L] that an opponent holds the line out still
        self.attacks = np.zeros(num_grids, dtype=np.int64)  # [B] that began in this episode
        self.lost_to_attack = np.zeros(num_grids, dtype=np.bool_)  # [B] during an attack
        self.attackers: list[Attacker] = []  # B with an opponent, else none
        if opponent is not None:
            names = layout.line_names
            self.attackers = [Attacker(opponent, names) for _ in range(num_grids)]
        # [B, N] the solution in grid2op's units, see Columns
        self.solution = np.zeros((num_grids, self.columns.count), dtype=np.float32)
        self.rho = np.zeros((num_grids, L), dtype=np.float32)  # [B, L]
        self.dark = np.ones(num_grids, dtype=np.bool_)  # [B] never started, or after a blackout
        # [B] something that decides about legality may have changed; for the caller to clear
        self.rules_changed = np.ones(num_grids, dtype=np.bool_)
        self._views: GridState | None = None  # of all grids
        self.maintenance_in = np.full((num_grids, L), -1, dtype=np.int32)  # [B, L] see GridState
        self.maintenance_duration = steps(L)  # [B, L]
        self._outages: dict[int, Outages] = {}  # of the grids whose scenarios have any
        self._idle = np.zeros((num_grids, layout.num_generators), dtype=np.float32)  # [B, G]

    def _rebuild(self) -> None:
        """See ``Copyable``: a copy has its scenarios elsewhere."""
        self._rows = ScenarioRows(self.layout, self.num_grids)
        scenarios, self._outages = self.scenarios, {}
        self.scenarios = [None] * self.num_grids
        for grid, scenario in enumerate(scenarios):
            self.set_scenario(grid, scenario)

    def set_scenario(self, grid: int, scenario: Scenario | None) -> None:
        """Let ``grid`` play ``scenario``; all else stays as it is."""
        if scenario is not self.scenarios[grid]:
            self.scenarios[grid] = scenario
            self._outages.pop(grid, None)
            if scenario is not None:
                self._rows.point(grid, scenario)
                outages = outages_of(scenario)
                if outages is not None:
                    self._outages[grid] = outages

    def opened_ahead(self, grid: int) -> np.ndarray:
        """Return the lines, ``[*]`` int, that a look-ahead on ``grid`` opens before the action."""
        outages = self._outages.get(grid)
        if outages is None:
            return np.zeros(0, dtype=np.int64)
        return outages.lines[outages.foreseen[self.row[grid]]]

    def _tell_maintenance(self, grid: int) -> None:
        """Tell of the planned outages at the present row of ``grid``, after a blackout of none."""
        outages = None if self.dark[grid] else self._outages.get(grid)
        self.maintenance_in[grid], self.maintenance_duration[grid] = -1, 0
        if outages is not None:
            row = self.row[grid]
            self.maintenance_in[grid, outages.lines] = outages.maintenance_in[row]
            self.maintenance_duration[grid, outages.lines] = outages.maintenance_duration[row]

    def _meet_topology(self, grid: int) -> None:
        """Get ready to solve ``grid`` in its present topology, which was just put there."""

    # ------------------------------------------------------------------------------- snapshots

    def save(self, grid: int) -> GridSnapshot:
        """Return a snapshot of ``grid``."""
        return GridSnapshot(
            self.scenarios[grid],
            tuple(getattr(self, name)[grid].copy() for name in _KEPT),
            self.attackers[grid].save() if self.attackers else None,
        )

    def load(self, grid: int, snapshot: GridSnapshot) -> None:
        """Put ``grid`` back, or another one there, where ``snapshot`` was taken."""
        self.set_scenario(grid, snapshot.scenario)
        for name, values in zip(_KEPT, snapshot.arrays, strict=True):
            getattr(self, name)[grid] = values
        if self.attackers and snapshot.attacker is not None:
            self.attackers[grid].load(snapshot.attacker)
        if not self.dark[grid]:
            self._meet_topology(grid)
        self.rules_changed[grid] = True

    def take(self, other: GridArrays, grids: np.ndarray, places: np.ndarray) -> None:
        """Put copies of grids of ``other``, which may be this one, on grids of this one.

        Nobody attacks a copy: an attack under way there runs out.

        Args:
            other: of the same template.
            grids: ``[n]`` int, of ``other``.
            places: ``[n]`` int, of this one, each at most once.
        """
        for name in _KEPT:
            getattr(self, name)[places] = getattr(other, name)[grids]
        self._rows.take(other._rows, grids, places)
        for grid, place in zip(grids.tolist(), places.tolist(), strict=True):
            self.scenarios[place] = other.scenarios[grid]
            self._outages.pop(place, None)
            if grid in other._outages:
                self._outages[place] = other._outages[grid]
            if not self.dark[place]:
                self._meet_topology(place)
        self.rules_changed[places] = True

    # -------------------------------------------------------------------------- what they show

    def state(self, grids: np.ndarray | None = None, *, foresee: bool = True) -> GridState:
        """Return the state of n grids, all B by default; arrays may be views of the simulator's.

        Args:
            grids: ``[n]`` int.
            foresee: with forecasts, not the present values in their place.
        """
        if grids is None:  # the arrays are written in place, so views of them stay right
            if self._views is None:
                self._views = self._state(slice(None))
            state = self._views._replace(clock=self._clock + self.row * self._minutes)
        else:
            state = self._state(grids)
        if not foresee:
            return state
        foreseen = self.foreseen(np.arange(self.num_grids) if grids is None else grids)
        gen_p, load_p, load_q, gen_v = (foreseen[:, part] for part in self._rows.parts)
        return state._replace(
            forecast_load_p=load_p,
            forecast_load_q=load_q,
            forecast_gen_p=gen_p,
            forecast_gen_v=gen_v,
        )

    def _state(self, which: np.ndarray | slice) -> GridState:
        columns, solution = self.columns, self.solution[which]
        row = self.row[which]
        return GridState(
            rho=self.rho[which],
            line_status=self.line_status[which],
            topo_vect=self.topology[which],
            overflow_steps=self.overflow_steps[which],
            line_cooldown=self.line_cooldown[which],
            substation_cooldown=self.substation_cooldown[which],
            **{name: solution[:, getattr(columns, name)] for name in _SOLVED},
            forecast_load_p=solution[:, columns.load_p],
            forecast_load_q=solution[:, columns.load_q],
            forecast_gen_p=solution[:, columns.gen_p],
            forecast_gen_v=solution[:, columns.gen_v],
            maintenance_in=self.maintenance_in[which],
            maintenance_duration=self.maintenance_duration[which],
            clock=self._clock[which] + row * self._minutes[which],
            step=row,
            max_step=self.last_row[which],
            attack_steps=self.attack_steps[which],
            last_busbar=self.last_busbar[which],
            redispatch_target=self._idle[which],
        )

    def foreseen(self, grids: np.ndarray) -> np.ndarray:
        """Return the forecasts of n grids, ``[n, 2 G + 2 D]`` as ``ScenarioRows`` reads them.

        They are 0 after a blackout.
        """
        dark = self.dark[grids]
        if not dark.any():
            return self._rows.forecast(grids, self.row[grids])
        forecasts = np.zeros((len(grids), self._rows.num_columns), dtype=np.float32)
        forecasts[~dark] = self._rows.forecast(grids[~dark], self.row[grids[~dark]])
        return forecasts
