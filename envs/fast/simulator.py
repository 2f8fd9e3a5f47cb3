"""Simulates B grids by grid2op's rules on lightsim2grid's power flow.

What a step does, and in which order, follows ``grid2op.Environment.BaseEnv.step``; the tests
compare every number of both.

Shape letters: B grids, E element ends, L lines, N numbers of a solution, n grids of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from envs.fast.arrays import GridArrays
from envs.fast.cascade import Cascade
from envs.fast.effects import Effects
from envs.fast.power_flow import PowerFlow, PowerFlowPool
from envs.fast.rules import DEAD, TRIPS, StepRules
from envs.fast.template import GridTemplate
from envs.grid.blackout_text import after_cascade, first_line
from envs.grid.state import LegalityState
from envs.opponents import Attack, Opponent
from envs.scenarios import Scenario


class StepRecord(NamedTuple):
    """What a step of n grids came to, beside the state."""

    illegal: np.ndarray  # [n] bool, the action was refused
    reasons: list[str]  # n, why, "" if legal
    blackout: np.ndarray  # [n] bool
    causes: list[str]  # n, of a blackout, "" without
    complete: np.ndarray  # [n] bool, the scenario has no more rows, and no blackout


class Simulator(GridArrays):
    """B grids side by side that play.

    Args:
        template: of the grid.
        num_grids: B.
        opponent: who takes lines out; None for nobody.
    """

    _rebuilt = (*GridArrays._rebuilt, "cascade", "_step_rules", "effects", "_pool", "_flows")

    def __init__(self, template: GridTemplate, num_grids: int, opponent: Opponent | None = None):
        super().__init__(template, num_grids, opponent)
        self._rebuild()
        self._raw = np.zeros((num_grids, self.columns.count))  # [B, N] solutions as they were read

    def _rebuild(self) -> None:
        """See ``Copyable``: make what follows from the template and the present topologies."""
        super()._rebuild()
        template = self.template
        self.cascade = Cascade(template, self.columns)
        self._step_rules = StepRules(template.rules, self.columns)
        self.effects = Effects(template.catalogue)
        self._pool = PowerFlowPool(template)
        # of each grid's topology
        self._flows = [self._pool.of(template.topology)] * self.num_grids
        for grid in np.flatnonzero(~self.dark).tolist():
            self._meet_topology(grid)

    # --------------------------------------------------------------------------------- playing

    def start(self, grid: int, scenario: Scenario, first_row: int, attack_seed: int = 0) -> None:
        """Start ``scenario`` at ``first_row`` on ``grid``, all else as the grid file has it.

        Args:
            grid: which.
            scenario: what is played.
            first_row: of it.
            attack_seed: what the attacks of the episode follow from.

        Raises:
            ValueError: the scenario is not to be played here, has no step left after
                ``first_row``, or no solution at it.
        """
        self.template.check(scenario)
        if not 0 <= first_row < scenario.num_steps:
            raise ValueError(
                f"scenario {scenario.name!r} has {scenario.num_steps} steps: first_step must be "
                f"in 0..{scenario.num_steps - 1}, but is {first_row}"
            )
        self.set_scenario(grid, scenario)
        self.row[grid] = self.first_row[grid] = first_row
        self.last_row[grid] = scenario.num_steps
        self._clock[grid] = scenario.start
        self._minutes[grid] = scenario.minutes_per_step
        self.topology[grid] = self.last_busbar[grid] = self.template.topology
        self.line_status[grid] = True
        self.line_cooldown[grid] = self.substation_cooldown[grid] = 0
        self.overflow_steps[grid] = self.protection_steps[grid] = 0
        self.attack_steps[grid] = self.attacks[grid] = 0
        self.lost_to_attack[grid] = False
        if self.attackers:
            self.attackers[grid].reset(attack_seed, scenario.num_steps - first_row)
        self.dark[grid] = False
        self.rules_changed[grid] = True
        self._meet_topology(grid)
        self._open_what_is_out(grid)
        self._tell_maintenance(grid)
        grids = np.array([grid])
        causes = self._solve(grids)
        # at the start nothing is counted: only what is far above its limit trips
        self._settle(grids, causes, counting=False)
        if causes[0]:
            self.dark[grid] = True
            raise ValueError(
                f"scenario {scenario.name!r} cannot start at row {first_row}: {causes[0]}"
            )

    def step(
        self,
        grids: np.ndarray,
        actions: np.ndarray,
        attacks: Mapping[int, Attack] | None = None,
    ) -> StepRecord:
        """Play one action on each of n grids, none of which is dark or at its last row.

        Args:
            grids: ``[n]`` int, which, each at most once, in ascending order.
            actions: ``[n]`` int, of the catalogue.
            attacks: grid -> what is done to it; None for what the opponents decide.
        """
        count = len(grids)
        illegal = np.zeros(count, dtype=np.bool_)
        reasons = [""] * count
        acted: list[tuple[int, np.ndarray, np.ndarray]] = []  # grid, lines, substations
        if attacks is None:
            attacks = self._decide_attacks(grids)  # on what was there before the action
        for place in np.flatnonzero(actions).tolist():
            grid, action = int(grids[place]), int(actions[place])
            reasons[place] = self._refusal(grid, action)
            illegal[place] = bool(reasons[place])
            if not reasons[place]:
                acted.append((grid, *self._act(grid, action)))
        for grid, attack in attacks.items():
            self._take_out(grid, attack)

        self.row[grids] += 1
        interrupted = [grid for grid in grids.tolist() if grid in self._outages]
        for grid in interrupted:
            self._open_what_is_out(grid)
        causes = self._solve(grids)
        tripped = self._settle(grids, causes)
        blackout = np.zeros(count, dtype=np.bool_)
        alive = grids
        if any(causes):
            blackout = np.array([bool(cause) for cause in causes])
            alive = grids[~blackout]
        self._pass_time(alive, acted, tripped)
        for grid, attack in attacks.items():
            if not self.dark[grid]:
                self.attack_steps[grid, attack.lines] = attack.duration - 1
        for grid in grids[blackout].tolist():
            self._darken(grid)
            self.lost_to_attack[grid] = grid in attacks
        for grid in interrupted:
            self._tell_maintenance(grid)
        complete = (self.row[grids] >= self.last_row[grids]) & ~blackout
        return StepRecord(illegal, reasons, blackout, causes, complete)

    def _refusal(self, grid: int, action: int) -> str:
        view = LegalityState(self.line_status, self.line_cooldown, self.substation_cooldown)
        return self.template.catalogue.illegal_reason(action, view, grid)

    def _act(self, grid: int, action: int) -> tuple[np.ndarray, np.ndarray]:
        """Change the topology; return the lines and the substations acted on."""
        before = self.topology[grid]
        impact = self.effects.impact(action, self.line_status[grid])
        after = self.effects.result(action, before, self.last_busbar[grid])
        if (after != before).any():
            self.topology[grid] = after
            self._meet_topology(grid)
            self.line_status[grid] = after[self.layout.line_or_position] > 0
            self.rules_changed[grid] = True
        return impact

    def _decide_attacks(self, grids: np.ndarray) -> dict[int, Attack]:
        """Return what the opponents do in this step: grid -> attack, where there is one."""
        if not self.attackers:
            return {}
        attacks = {}
        for grid in grids.tolist():
            attack = self.attackers[grid].attack(self.line_status[grid], self.rho[grid])
            if attack is not None:
                attacks[grid] = attack
                self.attacks[grid] += bool(self.line_status[grid, attack.lines].any())
        return attacks

    def _take_out(self, grid: int, attack: Attack) -> None:
        """Open the attacked lines, and keep them from being closed."""
        lines, cooldown = attack.lines, self.line_cooldown[grid]
        cooldown[lines] = np.maximum(cooldown[lines], attack.duration)
        if self.line_status[grid, lines].any():
            self._open(grid, lines)

    def _open_what_is_out(self, grid: int) -> None:
        """Open the lines that are out in the present row, planned or not."""
        outages = self._outages.get(grid)
        if outages is not None:
            lines = outages.lines[outages.out[self.row[grid]]]
            lines = lines[self.line_status[grid, lines]]
            if len(lines):
                self._open(grid, lines)

    def _open(self, grid: int, lines: np.ndarray) -> None:
        self.topology[grid, self.layout.line_or_position[lines]] = -1
        self.topology[grid, self.layout.line_ex_position[lines]] = -1
        self.line_status[grid, lines] = False
        self._meet_topology(grid)
        self.rules_changed[grid] = True

    def _solve(self, grids: np.ndarray) -> list[str]:
        """Solve the present rows of n grids; return for each "" or why it cannot be."""
        causes = []
        for grid, injections in zip(
            grids.tolist(), self._rows.present(grids, self.row[grids]), strict=True
        ):
            flow = self._flow(grid)
            flow.set_injections(injections)
            cause = flow.solve()
            if cause:
                self._discard_flow(grid)
            else:
                flow.read(self._raw[grid])
            causes.append(cause)
        return causes

    def _solve_as(self, grids: np.ndarray, topologies: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Put n grids into ``[n, E]`` topologies; return what ``_solve`` does, and ``[n, N]``."""
        self.topology[grids] = topologies
        for grid in grids.tolist():
            self._meet_topology(grid)
        return self._solve(grids), self._raw[grids]

    # what solves a grid: here one power flow for each topology, shared by all grids in it

    def _meet_topology(self, grid: int) -> None:
        """Get ready to solve ``grid`` in its present topology."""
        self._flows[grid] = self._pool.of(self.topology[grid])

    def _flow(self, grid: int) -> PowerFlow:
        """Return a power flow in the topology of ``grid``."""
        return self._flows[grid]

    def _discard_flow(self, grid: int) -> None:
        """Forget the power flow of ``grid``, which found no solution."""
        self._pool.forget(self.topology[grid])

    def _settle(
        self, grids: np.ndarray, causes: list[str], *, counting: bool = True
    ) -> dict[int, np.ndarray]:
        """Read the solutions of n solved grids and let their lines trip.

        Args:
            grids: ``[n]``.
            causes: n, "" where there is a solution; filled in where there is none in the end.
            counting: see ``Cascade.run``.

        Returns:
            Grid -> ``[L]`` bool, which lines tripped, where any did and the grid survived.
        """
        solved = grids[[not cause for cause in causes]] if any(causes) else grids
        verdicts = self._step_rules.settle(
            self._raw,
            solved,
            self.line_status,
            self.protection_steps,
            self.solution,
            self.rho,
            counting=counting,
        )
        tripped: dict[int, np.ndarray] = {}
        if not verdicts.any():
            return tripped
        places = np.searchsorted(grids, solved)
        for row in np.flatnonzero(verdicts == DEAD).tolist():
            causes[places[row]] = self.cascade.cause_of_death(self.solution[solved[row]])
        rows = np.flatnonzero(verdicts == TRIPS)
        if len(rows):
            which = solved[rows]
            ends, solution, tripped = self._trip(which, self.solution[which], counting=counting)
            self.solution[which] = solution
            self.rho[which] = solution[:, self.columns.a_or] / self.template.rules.limit
            for place, cause in zip(places[rows].tolist(), ends, strict=True):
                causes[place] = cause
        return tripped

    def _trip(
        self, grids: np.ndarray, solution: np.ndarray, *, counting: bool
    ) -> tuple[list[str], np.ndarray, dict[int, np.ndarray]]:
        """Let lines of n solved grids trip until all is quiet.

        Args:
            grids: ``[n]``.
            solution: ``[n, N]``, of before.
            counting: see ``Cascade.run``.

        Returns:
            n causes of the ends, "" for a grid that survived it; solutions ``[n, N]``; see
            ``_settle``.
        """
        acted, closed = self.topology[grids], self.line_status[grids]
        topology = acted.copy()
        rounds = np.full(closed.shape, -1, dtype=np.int8)
        causes = self.cascade.run(
            lambda places, after: self._solve_as(grids[places], after),
            solution,
            topology,
            self.protection_steps[grids],
            counting=counting,
            rounds=rounds,
        )
        tripped: dict[int, np.ndarray] = {}
        for place, grid in enumerate(grids.tolist()):
            if causes[place]:  # what has tripped by then is not remembered, see _darken
                self.topology[grid] = acted[place]
                story = after_cascade(self.layout, rounds[place])
                causes[place] = first_line(causes[place]) + story
                continue
            self.line_status[grid] = topology[place, self.layout.line_or_position] > 0
            tripped[grid] = closed[place] & ~self.line_status[grid]
            self.rules_changed[grid] = True
        return causes, solution, tripped

    def _pass_time(
        self,
        alive: np.ndarray,
        acted: list[tuple[int, np.ndarray, np.ndarray]],
        tripped: dict[int, np.ndarray],
    ) -> None:
        """Count what a step lets pass on the grids that survived it."""
        rules = self.template.rules
        self.rules_changed[alive] |= self._step_rules.count(
            alive,
            self.solution[:, self.columns.a_or],
            self.topology,
            self.overflow_steps,
            self.protection_steps,
            self.last_busbar,
            (self.line_cooldown, self.substation_cooldown),
            self.attack_steps,
        )
        for grid, lines in tripped.items():
            self.line_cooldown[grid, lines] = rules.reconnection
        for grid in alive.tolist() if self._outages else ():
            if grid in self._outages:
                outages, cooldown = self._outages[grid], self.line_cooldown[grid]
                held = outages.held[self.row[grid]]
                cooldown[outages.lines] = np.maximum(cooldown[outages.lines], held)
                self.rules_changed[grid] |= bool(held.any())
        for grid, lines, substations in acted:
            if rules.line_cooldown > 0:
                cooldown = self.line_cooldown[grid]
                cooldown[lines] = np.maximum(cooldown[lines], rules.line_cooldown)
            if rules.substation_cooldown > 0:
                self.substation_cooldown[grid, substations] = rules.substation_cooldown
            self.rules_changed[grid] = True

    def _darken(self, grid: int) -> None:
        """Leave ``grid`` as grid2op shows a lost game."""
        self.last_busbar[grid] = np.where(
            self.topology[grid] > 0, self.topology[grid], self.last_busbar[grid]
        )
        self.topology[grid] = -1
        self.line_status[grid] = False
        self.solution[grid] = 0
        self.rho[grid] = 0
        self.overflow_steps[grid] = self.protection_steps[grid] = 0
        self.line_cooldown[grid] = self.substation_cooldown[grid] = 0
        self.attack_steps[grid] = 0
        self.dark[grid] = True
        self.rules_changed[grid] = True

    def undisturbed(self, grid: int, *, ahead: bool) -> int:
        """Return how many of the next steps of ``grid`` no outage changes anything in.

        Args:
            grid: not dark.
            ahead: neither anything in look-aheads after them.
        """
        outages, row = self._outages.get(grid), int(self.row[grid])
        if outages is None:
            return int(self.last_row[grid])
        cooldown = self.line_cooldown[grid, outages.lines]
        if (cooldown < outages.held[row]).any():  # an outage before a reset
            return 0
        steps = outages.quiet(row)
        return min(steps, outages.foretold(row + 1)) if ahead else steps

    def skip(self, grid: int, steps: int) -> None:
        """Let time pass in which no line of ``grid`` reached a limit; its solution is left behind.

        Args:
            grid: not dark.
            steps: that were played; fewer than are left.
        """
        if not steps:
            return
        self.row[grid] += steps
        self.overflow_steps[grid] = self.protection_steps[grid] = 0
        if self.attack_steps[grid].any():
            self.attack_steps[grid] = np.maximum(self.attack_steps[grid] - steps, 0)
        for cooldowns in (self.line_cooldown, self.substation_cooldown):
            if cooldowns[grid].any():
                cooldowns[grid] = np.maximum(cooldowns[grid] - steps, 0)
                self.rules_changed[grid] = True
        if grid in self._outages:
            self._tell_maintenance(grid)
