"""Rolls out many futures of one grid under the held forecast, for deep searches.

Under a held forecast a power flow depends on the topology alone, so each topology is solved once,
however many futures pass through it. What is left of a step are the rules: legality, cooldowns,
overload counters, lines that trip. ``ForecastPlanner`` plays the same steps as copies of whole
grids, with observations and rewards.

Shape letters: A actions, C lines that may be lost, E element ends, L lines, N numbers of a
solution, S substations, m steps of a call, n states.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import gymnasium as gym
import numba
import numpy as np

from envs.fast.arrays import GridArrays
from envs.fast.cascade import Cascade
from envs.fast.effects import Effects
from envs.fast.forecast_planner import PlayedGrids
from envs.fast.lookahead import Forecaster
from envs.fast.power_flow import Columns
from envs.fast.template import GridTemplate
from envs.fast.topologies import keep_distinct
from envs.grid.state import GridState, LegalityState
from powergrid_muzero.copies import Copyable

_FIRST = 1024  # topologies that there is room for at first: a power of two
_FOR_GOOD = np.iinfo(np.int32).max  # steps


class Rollouts(NamedTuple):
    """n states that one grid may come to."""

    topology: np.ndarray  # [n, E] int8, as GridState.topo_vect
    last_busbar: np.ndarray  # [n, E] int8, as GridState.last_busbar
    line_cooldown: np.ndarray  # [n, L] int32, steps
    substation_cooldown: np.ndarray  # [n, S] int32, steps
    overload_steps: np.ndarray  # [n, L] int32, steps in a row above the limit of the protection
    rho: np.ndarray  # [n, L] float32, loadings, inf where the game is over
    tripped: np.ndarray  # [n] int32, lines that tripped since the beginning
    over: np.ndarray  # [n] bool, the game is lost

    def of(self, which: np.ndarray) -> Rollouts:
        """Return some of the states: ``[m]`` int or ``[n]`` bool."""
        return Rollouts(*(values[which] for values in self))


class Steps(NamedTuple):
    """m steps that may be made."""

    rows: np.ndarray  # [m] int, of the states that they start from
    actions: np.ndarray  # [m] int, legal, of distinct effect
    topology: np.ndarray  # [m, E] int8, that they lead to, if no line trips

    def of(self, which: np.ndarray) -> Steps:
        """Return some of the steps."""
        return Steps(*(values[which] for values in self))


class Foresight(Protocol):
    """Says what topologies lead to, in place of power flows; such as a learned model."""

    def meet(self, state: GridState) -> None:
        """Be asked from now on about the grid of which this is the present state, ``[1, ...]``."""
        ...

    def loadings(self, topologies: np.ndarray) -> np.ndarray:
        """Return loadings ``[n, L]`` in connected topologies ``[n, E]``, inf where there are none.

        They are those of the next step, on what is foreseen of loads and generation.
        """
        ...


class ForecastRollouts(Copyable):
    """Plays one grid of a vector environment on, in as many ways as there is time for.

    The first step is what ``simulate`` says; later ones hold its forecast. An attack under way runs
    out, and no other follows. Planned outages of the next step are foreseen, later ones and the end
    of a scenario are not.

    Args:
        template: of the grid.
        played: the environment.
        unusual: whether topologies are solved whose voltages are far from the usual, too. That
            takes ten times as long, and they are seldom good for anything. Without it, they count
            as the end of the game.
        foresight: says what topologies lead to; None: power flows do.
    """

    _rebuilt = ("_forecaster", "_effects")

    def __init__(
        self,
        template: GridTemplate,
        played: PlayedGrids,
        *,
        unusual: bool = True,
        foresight: Foresight | None = None,
    ):
        self._unusual = unusual
        self._foresight = foresight
        self._played = played
        self._present = GridArrays(template, 1)
        self._columns = Columns(template, brief=True)
        self._cascade = Cascade(template, self._columns)
        self._rebuild()

    def _rebuild(self) -> None:
        """See ``Copyable``."""
        self._forecaster = Forecaster(self._present)
        self._effects = Effects(self._present.template.catalogue)
        # topologies that were solved, [*, E], their number, and where they are by their hashes;
        # solutions [*, N] in grid2op's units, and [*] which there are
        self._kept = np.zeros((_FIRST, self._present.layout.num_elements), dtype=np.int8)
        self._known = 0
        self._slots = np.full(4 * _FIRST, -1)
        self._solutions = np.zeros((_FIRST, self._columns.count), dtype=np.float32)
        self._solved = np.zeros(_FIRST, dtype=np.bool_)
        self._grid: int | None = None

    @property
    def endures(self) -> int:
        """Steps in a row that a line endures an overload."""
        return self._present.template.rules.overflow_allowed

    @property
    def trips_at(self) -> float:
        """Loading above which a line trips at once; inf where lines are not protected."""
        rules = self._present.template.rules
        return float((rules.hard_limit / rules.limit).min()) if rules.protected else np.inf

    def begin(self, grid: int) -> Rollouts:
        """Forget all before; return the state ``[1]`` in which a grid is now.

        Raises:
            ValueError: a grid that does not exist.
            gymnasium.error.ResetNeeded: no episode is running there.
        """
        saved = self._played.save_state(grid).episode
        present = self._present
        if saved.over or saved.grid.scenario is None:
            raise gym.error.ResetNeeded(
                f"environment {grid}: no episode is running, so there is nothing to look ahead at"
            )
        present.load(0, saved.grid)
        self._forecaster.meet(0)
        if self._foresight is not None:
            self._foresight.meet(present.state())
        self._known = 0
        self._slots[:] = -1
        self._grid = grid
        return Rollouts(
            topology=self._forecaster.expected_topology(0)[None].copy(),
            last_busbar=present.last_busbar.copy(),
            line_cooldown=present.line_cooldown.copy(),
            substation_cooldown=present.substation_cooldown.copy(),
            overload_steps=present.protection_steps.copy(),
            rho=present.rho.copy(),
            tripped=np.zeros(1, dtype=np.int32),
            over=np.zeros(1, dtype=np.bool_),
        )

    def choices(self, rollouts: Rollouts) -> Steps:
        """Return the steps to be had from n states: legal actions, one of each distinct effect.

        Those that cut off a part of the grid, which ends the game, are left out; doing nothing,
        which comes first of each state, never is. Nothing follows on the end of the game.
        """
        catalogue = self._present.template.catalogue
        going = np.flatnonzero(~rollouts.over)
        rules = self._rules(rollouts.of(going))
        topology, last_busbar = rollouts.topology[going], rollouts.last_busbar[going]
        rows, actions, results = catalogue.choices(rules, topology, last_busbar)
        return Steps(going[rows], actions, results)

    def choice(self, rollouts: Rollouts, action: int) -> Steps | None:
        """Return one action as a step from the state ``[1]``; None if it is not legal there."""
        catalogue = self._present.template.catalogue
        if rollouts.over[0] or not catalogue.legal(self._rules(rollouts))[0, action]:
            return None
        after = self._effects.result(action, rollouts.topology[0], rollouts.last_busbar[0])
        return Steps(np.zeros(1, dtype=np.int64), np.array([action]), after[None])

    def step(self, rollouts: Rollouts, steps: Steps, lost: np.ndarray | None = None) -> Rollouts:
        """Make m steps.

        Args:
            rollouts: n states.
            steps: from ``choices`` of them.
            lost: ``[m]`` int, a line that is lost in each step, after the action, for good; None
                for no losses.

        Returns:
            The m states after them.
        """
        template, a_or = self._present.template, self._columns.a_or
        rules, layout = template.rules, template.layout
        rows, topology = steps.rows, steps.topology.copy()
        each = np.arange(len(topology))
        if lost is not None:
            for ends in (layout.line_or_position, layout.line_ex_position):
                topology[each, ends[lost]] = -1
        places = self._solve(topology)
        currents, solved = self._solutions[places, a_or], self._solved[places]
        tripped = np.zeros(currents.shape, dtype=np.bool_)
        if rules.protected:
            trips = _trip(
                topology[:, layout.line_or_position],
                currents,
                solved,
                rollouts.overload_steps,
                rows,
                (rules.soft_limit, rules.hard_limit, rules.overflow_allowed),
            )
            if len(trips):
                rest, found = topology[trips], self._solutions[places[trips]]
                closed = rest[:, layout.line_or_position] > 0
                causes = self._cascade.run(
                    lambda _, after: self._solution(after),
                    found,
                    rest,
                    rollouts.overload_steps[rows[trips]],
                )
                topology[trips], currents[trips] = rest, found[:, a_or]
                solved[trips] = [not cause for cause in causes]
                tripped[trips] = closed & (rest[:, layout.line_or_position] < 0)
        rho = currents / rules.limit
        rho[~solved] = np.inf
        last_busbar, line_cooldown, substation_cooldown, overload_steps = _count(
            rows,
            topology,
            (rollouts.last_busbar, rollouts.line_cooldown),
            (rollouts.substation_cooldown, rollouts.overload_steps),
            (currents, rules.soft_limit),
            (tripped, rules.reconnection),
        )
        if lost is not None:
            line_cooldown[each, lost] = _FOR_GOOD
        if rules.line_cooldown or rules.substation_cooldown:
            status = rollouts.topology[rows][:, layout.line_or_position] > 0
            lines, substations = template.catalogue.impacts(steps.actions, status)
            line_cooldown[lines] = np.maximum(line_cooldown[lines], rules.line_cooldown)
            substation_cooldown[substations] = rules.substation_cooldown
        return Rollouts(
            topology=topology,
            last_busbar=last_busbar,
            line_cooldown=line_cooldown,
            substation_cooldown=substation_cooldown,
            overload_steps=overload_steps,
            rho=rho,
            tripped=rollouts.tripped[rows] + tripped.sum(axis=1, dtype=np.int32),
            over=~solved,
        )

    def losses(self, topologies: np.ndarray, lines: np.ndarray) -> np.ndarray:
        """Return the loadings after the loss of each of some lines in each of n topologies.

        No line trips in consequence here.

        Args:
            topologies: ``[n, E]`` int8.
            lines: ``[C]`` int; of a line that is open, nothing is lost.

        Returns:
            ``[n, C, L]`` float32, inf where the game would end.
        """
        layout = self._present.layout
        after = np.repeat(topologies[:, None], len(lines), axis=1)
        each = np.arange(len(lines))
        for ends in (layout.line_or_position, layout.line_ex_position):
            after[:, each, ends[lines]] = -1
        flat = after.reshape(-1, after.shape[-1])
        return self.loadings(flat).reshape(len(topologies), len(lines), layout.num_lines)

    def loadings(self, topologies: np.ndarray) -> np.ndarray:
        """Return the loadings ``[n, L]`` in ``[n, E]`` topologies, inf where there are none."""
        places = self._solve(topologies)
        rho = self._solutions[places, self._columns.a_or] / self._present.template.rules.limit
        rho[~self._solved[places]] = np.inf
        return rho

    def _rules(self, rollouts: Rollouts) -> LegalityState:
        return LegalityState(
            rollouts.topology[:, self._present.layout.line_or_position] > 0,
            rollouts.line_cooldown,
            rollouts.substation_cooldown,
        )

    def _solution(self, topologies: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Return why each of ``[n, E]`` topologies has no solution, or "", and raw ``[n, N]``."""
        places = self._solve(topologies)
        raw = self._solutions[places].astype(np.float64)
        raw[:, self._columns.a_or] /= 1000  # A to kA
        return ["" if there else "no solution" for there in self._solved[places].tolist()], raw

    def _solve(self, topologies: np.ndarray) -> np.ndarray:
        """Return where the solutions of ``[n, E]`` topologies are kept, ``[n]`` int."""
        assert self._grid is not None  # begin() was called
        known, most = self._known, self._known + len(topologies)
        while most > len(self._solved):
            self._grow()
        places = np.empty(len(topologies), dtype=np.int64)
        count = self._known = keep_distinct(topologies, self._kept, known, self._slots, places)
        if count > known:
            new = self._kept[known:count]
            if self._foresight is None:
                self._solutions[known:count], self._solved[known:count] = self._forecaster.solve(
                    new, self._present.topology[0], unusual=self._unusual
                )
                self._played.simulator_calls[self._grid] += count - known
            else:
                template, columns = self._present.template, self._columns
                rho = self._foresight.loadings(new)
                solved = np.isfinite(rho).all(axis=1) & template.catalogue.connected_topologies(new)
                found = self._solutions[known:count]
                found[:] = 0
                found[:, columns.a_or] = np.where(solved[:, None], rho, 0) * template.rules.limit
                found[:, columns.volts] = 1  # all is connected, so nothing is without voltage
                self._solved[known:count] = solved
        return places

    def _grow(self) -> None:
        """Make room for twice as many topologies."""
        kept = self._kept[: self._known]
        self._solutions = np.concatenate([self._solutions, np.zeros_like(self._solutions)])
        self._solved = np.concatenate([self._solved, np.zeros_like(self._solved)])
        self._kept = np.concatenate([self._kept, np.zeros_like(self._kept)])
        self._slots = np.full(2 * len(self._slots), -1)
        keep_distinct(kept, self._kept, 0, self._slots, np.empty(len(kept), dtype=np.int64))


@numba.njit(cache=True)
def _trip(ends, currents, solved, overload_steps, rows, limits):
    """Return the numbers of the m steps in which lines trip: see ``Cascade.trips``."""
    soft_limit, hard_limit, allowed = limits
    trips = np.zeros(len(rows), dtype=np.bool_)
    for number in range(len(rows)):
        for line in range(len(soft_limit)):
            if solved[number] and ends[number, line] > 0:
                current = currents[number, line]
                steps = overload_steps[rows[number], line] + (current > soft_limit[line])
                trips[number] |= current > hard_limit[line] or steps > allowed
    return np.flatnonzero(trips)


@numba.njit(cache=True)
def _count(rows, topology, lasting, passing, current, trips):
    """Return last busbars, cooldowns of lines and substations, and overload steps after m steps."""
    last_busbar, line_cooldown = lasting
    substation_cooldown, overload_steps = passing
    currents, limit = current
    tripped, reconnection = trips
    count = len(rows)
    busbars = np.empty(topology.shape, dtype=last_busbar.dtype)
    lines = np.empty((count, line_cooldown.shape[1]), dtype=line_cooldown.dtype)
    substations = np.empty((count, substation_cooldown.shape[1]), dtype=substation_cooldown.dtype)
    overloads = np.empty((count, overload_steps.shape[1]), dtype=overload_steps.dtype)
    for number in range(count):
        row = rows[number]
        for end in range(topology.shape[1]):
            busbar = topology[number, end]
            busbars[number, end] = busbar if busbar > 0 else last_busbar[row, end]
        for line in range(lines.shape[1]):
            lines[number, line] = max(line_cooldown[row, line] - 1, 0)
            if tripped[number, line]:
                lines[number, line] = reconnection
            above = currents[number, line] > limit[line]
            overloads[number, line] = overload_steps[row, line] + 1 if above else 0
        for substation in range(substations.shape[1]):
            substations[number, substation] = max(substation_cooldown[row, substation] - 1, 0)
    return busbars, lines, substations, overloads
