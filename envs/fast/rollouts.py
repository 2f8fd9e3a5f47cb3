"""Rolls out many futures of one grid under the held forecast, for deep searches.

Under a held forecast a power flow depends on the topology alone, so each topology is solved once,
however many futures pass through it. What is left of a step are the rules: legality, cooldowns,
overload counters, lines that trip. ``ForecastPlanner`` plays the same steps as copies of whole
grids, with observations and rewards.

Shape letters: A actions, C lines that may be lost, E element ends, L lines, N numbers of a
solution, S substations, m steps of a call, n states.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import numpy as np

from envs.fast.arrays import GridArrays
from envs.fast.cascade import Cascade
from envs.fast.effects import Effects
from envs.fast.forecast_planner import PlayedGrids
from envs.fast.lookahead import Forecaster
from envs.fast.power_flow import Columns
from envs.fast.template import GridTemplate
from envs.grid.state import LegalityState
from powergrid_muzero.copies import Copyable

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
    """

    _rebuilt = ("_forecaster", "_effects")

    def __init__(self, template: GridTemplate, played: PlayedGrids, *, unusual: bool = True):
        self._unusual = unusual
        self._played = played
        self._present = GridArrays(template, 1)
        self._columns = Columns(template, brief=True)
        self._cascade = Cascade(template, self._columns)
        self._rebuild()

    def _rebuild(self) -> None:
        """See ``Copyable``."""
        self._forecaster = Forecaster(self._present)
        self._effects = Effects(self._present.template.catalogue)
        self._places: dict[bytes, int] = {}  # topology -> its row below
        # solutions [*, N] in grid2op's units, and [*] which there are, of the topologies solved
        self._solutions = np.zeros((1024, self._columns.count), dtype=np.float32)
        self._solved = np.zeros(1024, dtype=np.bool_)
        self._grid: int | None = None

    @property
    def endures(self) -> int:
        """Steps in a row that a line endures an overload."""
        return self._present.template.rules.overflow_allowed

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
        self._places.clear()
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
        template, columns = self._present.template, self._columns
        rules, layout = template.rules, template.layout
        before = rollouts.of(steps.rows)
        topology = steps.topology.copy()
        each = np.arange(len(topology))
        if lost is not None:
            for ends in (layout.line_or_position, layout.line_ex_position):
                topology[each, ends[lost]] = -1
        places = self._solve(topology)
        solutions, solved = self._solutions[places], self._solved[places]
        closed = topology[:, layout.line_or_position] > 0
        tripped = np.zeros(closed.shape, dtype=np.bool_)
        if rules.protected:
            trips = self._cascade.trips(solutions[:, columns.a_or], closed, before.overload_steps)
            trips = np.flatnonzero(trips.any(axis=1) & solved)
            if len(trips):
                rest, found = topology[trips], solutions[trips]
                causes = self._cascade.run(
                    lambda _, after: self._solution(after),
                    found,
                    rest,
                    before.overload_steps[trips],
                )
                topology[trips], solutions[trips] = rest, found
                solved[trips] = [not cause for cause in causes]
                tripped = closed & (topology[:, layout.line_or_position] < 0)
        currents = solutions[:, columns.a_or]
        rho = currents / rules.limit
        rho[~solved] = np.inf
        line_cooldown = np.maximum(before.line_cooldown - 1, 0)
        line_cooldown[tripped] = rules.reconnection
        if lost is not None:
            line_cooldown[each, lost] = _FOR_GOOD
        substation_cooldown = np.maximum(before.substation_cooldown - 1, 0)
        if rules.line_cooldown or rules.substation_cooldown:
            status = before.topology[:, layout.line_or_position] > 0
            lines, substations = template.catalogue.impacts(steps.actions, status)
            line_cooldown[lines] = np.maximum(line_cooldown[lines], rules.line_cooldown)
            substation_cooldown[substations] = rules.substation_cooldown
        return Rollouts(
            topology=topology,
            last_busbar=np.where(topology > 0, topology, before.last_busbar),
            line_cooldown=line_cooldown,
            substation_cooldown=substation_cooldown,
            overload_steps=(before.overload_steps + 1) * (currents > rules.soft_limit),
            rho=rho,
            tripped=before.tripped + tripped.sum(axis=1, dtype=np.int32),
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
        places, known = self._places, len(self._places)
        kept = [places.setdefault(row.tobytes(), len(places)) for row in topologies]
        found = np.array(kept, dtype=np.int64)
        count = len(places)
        if count > known:
            numbers, first = np.unique(found, return_index=True)
            first = first[numbers >= known]
            while count > len(self._solved):
                self._solutions = np.concatenate([self._solutions, np.zeros_like(self._solutions)])
                self._solved = np.concatenate([self._solved, np.zeros_like(self._solved)])
            solutions, solved = self._forecaster.solve(
                topologies[first], base=self._present.topology[0], unusual=self._unusual
            )
            self._solutions[found[first]], self._solved[found[first]] = solutions, solved
            self._played.simulator_calls[self._grid] += count - known
        return found
