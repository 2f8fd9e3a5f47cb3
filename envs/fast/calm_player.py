"""Plays stretches of calm steps, in which nobody acts and nothing happens, in one call.

Shape letters: E element ends, L lines, m calm steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.decision_gate import DecisionGate
from envs.fast.calm_stretches import CHUNK, MARGIN, CalmStretch
from envs.fast.contingencies import Contingencies, ContingencyStretch
from envs.fast.simulator import Simulator
from envs.grid.rewards import (
    BlackoutReward,
    L2RPNReward,
    MarginReward,
    NearReferenceReward,
    Reward,
    StepOutcome,
    SurvivalReward,
)
from envs.grid.state import GridState
from envs.scenarios import Scenario
from powergrid_muzero.copies import Copyable

# rewards that look at nothing but line status and topology, or at currents, too: a calm stretch
# knows no more, and its currents agree with those of a step but for their last bits
_OF_TOPOLOGY = (BlackoutReward, NearReferenceReward, SurvivalReward)
_OF_CALM = (*_OF_TOPOLOGY, L2RPNReward, MarginReward)


class _KeptStretch(NamedTuple):
    """What solves calm rows."""

    scenario: Scenario
    topology: bytes
    stretch: CalmStretch
    losses: ContingencyStretch | None


class CalmPlayer(Copyable):
    """Plays the steps of single grids on in which nothing happens.

    Args:
        simulator: of the grids.
        reward: what steps pay; see ``pays``.
        gate: when the agent decides.
        losses: of the lines that an N-1 gate or reward looks at; None without one.
        reconnect_lines: see ``GridPlayer``.
        max_steps: see ``GridPlayer``.
    """

    _rebuilt = ("_kept",)

    def __init__(
        self,
        simulator: Simulator,
        reward: Reward,
        *,
        gate: DecisionGate,
        losses: Contingencies | None,
        reconnect_lines: bool,
        max_steps: int | None,
    ):
        self._simulator = simulator
        self._reward = reward
        self._losses = losses
        self._n1_gate = None if gate.n1 is None else float(gate.n1)
        self._asked_at_attacks = gate.attacks
        self._reconnect_lines = reconnect_lines
        self._max_steps = max_steps
        rules = simulator.template.rules
        calm = np.minimum(rules.limit, np.minimum(rules.soft_limit, rules.hard_limit))
        self._calm_limit = calm * MARGIN  # [L] float32, A
        self._calm_rho = np.float32(np.inf if gate.rho is None else gate.rho) * MARGIN
        self._blank: GridState | None = None
        self._rebuild()

    def _rebuild(self) -> None:
        """See ``Copyable``."""
        # of each grid, what solved its last stretch: it serves as long as the topology stays
        self._kept: dict[int, _KeptStretch] = {}

    @staticmethod
    def pays(reward: Reward) -> bool:
        """Whether calm steps tell all that ``reward`` looks at."""
        return isinstance(reward, _OF_CALM)

    @property
    def is_exact(self) -> bool:
        """Whether calm steps pay what steps do to the last bit."""
        return isinstance(self._reward, _OF_TOPOLOGY)

    def play(self, grid: int, scenario: Scenario, most: float) -> tuple[float, int]:
        """Play the steps of one grid in which nothing happens, but the last.

        The step after it is left to ``Simulator.step``: it may be the one at which something does.

        Args:
            grid: which; its generators' voltages are the same in all rows.
            scenario: that it plays.
            most: steps, that one included, at most.

        Returns:
            Rewards summed, and steps played.
        """
        simulator = self._simulator
        row = int(simulator.row[grid])
        left = int(simulator.last_row[grid]) - row
        if self._max_steps is not None:
            left = min(left, self._max_steps - row + int(simulator.first_row[grid]))
        left = int(min(left, most))
        held = simulator.attack_steps[grid]
        if self._asked_at_attacks and held.any():
            left = min(left, int(held[held > 0].min()))  # a step in which it becomes free
        left = min(left - 1, simulator.undisturbed(grid, ahead=self._losses is not None))
        status, topology = simulator.line_status[grid], simulator.topology[grid]
        if self._reconnect_lines and not status.all():
            left = min(left, int(simulator.line_cooldown[grid][~status].min()))
        # near a limit the next rows seldom are calm
        stressed = (simulator.solution[grid, simulator.columns.a_or] >= self._calm_limit).any()
        if left < 1 or stressed:
            return 0.0, 0
        limit = simulator.template.rules.limit
        stretch, losses = self._kept_stretch(grid, scenario, topology)
        total, steps, before = 0.0, 0, simulator.rho[grid]
        while steps < left:
            asked = min(CHUNK, left - steps)
            currents = stretch.currents(row + 1 + steps, asked)
            rho = currents / limit
            calm = (rho.max(axis=1) < self._calm_rho) & (currents < self._calm_limit).all(axis=1)
            count = len(calm) if calm.all() else int(calm.argmin())
            if losses is not None and count:
                assert self._n1_gate is not None
                count = losses.safe(row + 1 + steps, count, self._n1_gate)
            if simulator.attackers:
                count = self._until_attack(grid, status, before, rho[:count])
            if count:
                before = rho[count - 1]
                total += self._pay(currents[:count], rho[:count], status, topology)
                steps += count
            if count < asked:
                break
        if simulator.attackers:  # on the loadings that are left behind
            simulator.attackers[grid].foresee(status, before)
        simulator.skip(grid, steps)
        return total, steps

    def _kept_stretch(
        self, grid: int, scenario: Scenario, topology: np.ndarray
    ) -> tuple[CalmStretch, ContingencyStretch | None]:
        """Return what solves the rows of ``scenario`` in ``[E]`` topology, and losses in them."""
        kept, key = self._kept.get(grid), topology.tobytes()
        if kept is None or kept.scenario is not scenario or kept.topology != key:
            losses = None
            if self._losses is not None and self._n1_gate is not None:
                losses = self._losses.stretch(scenario, topology)
            stretch = CalmStretch(self._simulator.template, scenario, topology)
            kept = self._kept[grid] = _KeptStretch(scenario, key, stretch, losses)
        return kept.stretch, kept.losses

    def _until_attack(
        self, grid: int, status: np.ndarray, before: np.ndarray, rho: np.ndarray
    ) -> int:
        """Play the opponent of one grid on, up to the step in which it takes a line out.

        Args:
            grid: which.
            status: ``[L]`` bool, of all the steps.
            before: ``[L]`` loadings before the first step.
            rho: ``[m, L]`` loadings after each step.

        Returns:
            Steps before that one, at most m.
        """
        attacker, step = self._simulator.attackers[grid], 0
        while step < len(rho):
            quiet = attacker.pass_quiet(status, len(rho) - step)
            step += quiet
            if quiet:
                continue
            if step:
                before = rho[step - 1]
            attack = attacker.foresee(status, before)
            if attack is not None and status[attack.lines].any():
                return step
            attacker.attack(status, before)
            step += 1
        return len(rho)

    def _pay(
        self, currents: np.ndarray, rho: np.ndarray, status: np.ndarray, topology: np.ndarray
    ) -> float:
        """Return the reward of m calm steps, ``[m, L]`` each, in one topology, ``[L]``, ``[E]``."""
        count = len(currents)
        if isinstance(self._reward, SurvivalReward):
            return float(count)
        if isinstance(self._reward, BlackoutReward):
            return 0.0
        if self._blank is None:
            self._blank = self._simulator.state(np.zeros(0, dtype=np.int64), foresee=False)
        state = self._blank._replace(
            a_or=currents,
            rho=rho,
            line_status=np.broadcast_to(status, rho.shape),
            topo_vect=np.broadcast_to(topology, (count, *topology.shape)),
        )
        none = np.zeros(count, dtype=np.bool_)
        outcome = StepOutcome(
            action=np.zeros(count, dtype=np.int64), illegal=none, blackout=none, complete=none
        )
        return float(self._reward(state, outcome).sum(dtype=np.float64))
