"""Plays episodes on the simulator: rewards, ends, reconnection and gates, for B grids.

It does to a ``Simulator`` what ``PowerGridEnv.advance``, ``ReconnectLines`` and ``IdleGate`` do to
grid2op, in the same order.

Shape letters: B grids, L lines, m calm rows, n grids of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from envs.decision_gate import DecisionGate
from envs.fast.arrays import GridSnapshot
from envs.fast.calm_stretches import CHUNK, MARGIN, CalmStretch, steady_voltages
from envs.fast.contingencies import Contingencies, ContingencyStretch
from envs.fast.simulator import Simulator, StepRecord
from envs.grid.actions import DO_NOTHING
from envs.grid.blackout_text import first_line
from envs.grid.rewards import (
    BlackoutReward,
    L2RPNReward,
    MarginReward,
    N1Reward,
    NearReferenceReward,
    Reward,
    StepOutcome,
    SurvivalReward,
)
from envs.grid.state import GridState
from envs.opponents import Attack
from envs.scenarios import Scenario
from powergrid_muzero.copies import Copyable

# rewards that look at nothing but line status and topology, or at currents, too: a calm stretch
# knows no more, and its currents agree with those of a step but for their last bits
_OF_TOPOLOGY = (BlackoutReward, NearReferenceReward, SurvivalReward)
_OF_CALM = (*_OF_TOPOLOGY, L2RPNReward, MarginReward)


class EpisodeSnapshot(NamedTuple):
    """An episode at one decision, to go back to."""

    grid: GridSnapshot
    over: bool
    blackout: bool
    end: str
    steady: bool


class _Attacked(NamedTuple):
    """How n grids are attacked."""

    count: np.ndarray  # [n] int, attacks that began so far
    held: np.ndarray  # [n, L] bool, lines that are held out still

    def of(self, which: np.ndarray) -> _Attacked:
        """Return that of some of the grids, ``[n]`` bool."""
        return _Attacked(self.count[which], self.held[which])


class _KeptStretch(NamedTuple):
    """What solves calm rows."""

    scenario: Scenario
    topology: bytes
    stretch: CalmStretch
    losses: ContingencyStretch | None


class GridPlayer(Copyable):
    """Plays decisions on the grids of a simulator.

    Args:
        simulator: of B grids.
        reward: what steps pay.
        gate: when the agent decides; None for at every step.
        at_risk: ``[C]`` int, lines whose loss an N-1 gate or reward looks at.
        reconnect_lines: close lines that are out where the agent does nothing.
        max_steps: of an episode; None for the whole scenario.
    """

    _rebuilt = ("_kept",)

    def __init__(
        self,
        simulator: Simulator,
        reward: Reward,
        *,
        gate: DecisionGate | None = None,
        at_risk: np.ndarray | None = None,
        reconnect_lines: bool = False,
        max_steps: int | None = None,
    ):
        self.simulator = simulator
        self._decision_gate = gate
        self._losses: Contingencies | None = None
        gated = gate is not None and gate.n1 is not None
        self._n1_gate = float(gate.n1) if gate is not None and gate.n1 is not None else np.inf
        if gated or isinstance(reward, N1Reward):
            assert at_risk is not None
            self._losses = Contingencies(simulator, at_risk)
        self._at_risk = at_risk
        self._reward = reward
        self._reconnect_lines = reconnect_lines
        self._max_steps = max_steps
        num_grids = simulator.num_grids
        self.over = np.ones(num_grids, dtype=np.bool_)  # [B] no episode is running
        self.blackout = np.zeros(num_grids, dtype=np.bool_)  # [B] it ended so
        self.end = np.full(num_grids, "", dtype=object)  # [B] str, see PowerGridEnv
        self._steady: list[bool] = [False] * num_grids  # B, voltages are the same in all rows
        self._scenarios: list[Scenario | None] = [None] * num_grids

        rules = simulator.template.rules
        calm = np.minimum(rules.limit, np.minimum(rules.soft_limit, rules.hard_limit))
        self._calm_limit = calm * MARGIN  # [L] float32, A
        rho = np.inf if gate is None or gate.rho is None else gate.rho
        self._calm_rho = np.float32(rho) * MARGIN
        self._stretches = gate is not None and isinstance(reward, _OF_CALM)
        self._blank: GridState | None = None
        self._rebuild()

    def _rebuild(self) -> None:
        """See ``Copyable``."""
        # of each grid, what solved its last stretch: it serves as long as the topology stays
        self._kept: dict[int, _KeptStretch] = {}

    def start(self, grid: int, scenario: Scenario, first_row: int, attack_seed: int = 0) -> None:
        """Start an episode.

        Raises:
            ValueError: see ``Simulator.start``.
        """
        self.over[grid] = True
        self.simulator.start(grid, scenario, first_row, attack_seed)
        if scenario is not self._scenarios[grid]:
            self._scenarios[grid] = scenario
            self._steady[grid] = self._stretches and steady_voltages(
                scenario, foreseen=self._losses is not None
            )
        self.over[grid] = self.blackout[grid] = False
        self.end[grid] = ""

    def stop(self, grid: int, end: str) -> None:
        """End the running episode on ``grid`` from outside; ``end`` says why."""
        self.over[grid], self.end[grid] = True, end

    def save(self, grid: int) -> EpisodeSnapshot:
        """Return a snapshot of the episode on ``grid``."""
        return EpisodeSnapshot(
            self.simulator.save(grid),
            bool(self.over[grid]),
            bool(self.blackout[grid]),
            self.end[grid],
            self._steady[grid],
        )

    def beside(self, simulator: Simulator) -> GridPlayer:
        """Return a player of ``simulator`` by the same rules, but without an idle gate."""
        return GridPlayer(
            simulator,
            self._reward,
            at_risk=self._at_risk,
            reconnect_lines=self._reconnect_lines,
            max_steps=self._max_steps,
        )

    def take(self, other: GridPlayer, grids: np.ndarray, places: np.ndarray) -> None:
        """Put copies of n episodes of ``other``, which may be this player, on n places of this one.

        See ``Simulator.take``.
        """
        self.simulator.take(other.simulator, grids, places)
        for name in ("over", "blackout", "end"):
            getattr(self, name)[places] = getattr(other, name)[grids]
        for grid, place in zip(grids.tolist(), places.tolist(), strict=True):
            self._scenarios[place] = other._scenarios[grid]
            self._steady[place] = other._steady[grid]

    def load(self, grid: int, snapshot: EpisodeSnapshot) -> None:
        """Put the episode on ``grid`` back where ``snapshot`` was taken."""
        self.simulator.load(grid, snapshot.grid)
        self._scenarios[grid] = snapshot.grid.scenario
        self.over[grid], self.blackout[grid] = snapshot.over, snapshot.blackout
        self.end[grid], self._steady[grid] = snapshot.end, snapshot.steady

    # ------------------------------------------------------------------------------- one step

    def play(
        self,
        grids: np.ndarray,
        actions: np.ndarray,
        attacks: Mapping[int, Attack] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Play one grid step of n running episodes.

        Args:
            grids: ``[n]`` int, ascending.
            actions: ``[n]`` int.
            attacks: see ``Simulator.step``.

        Returns:
            ``[n]`` float32 rewards; ``[n]`` bool, refused; n reasons of it, "" if legal.
        """
        simulator = self.simulator
        if self._reconnect_lines:
            actions = self._replace(grids, actions)
        record = simulator.step(grids, actions, attacks)
        outcome = StepOutcome(
            action=actions,
            illegal=record.illegal,
            blackout=record.blackout,
            complete=record.complete,
            worst_loss=self._worst_loss(grids, record),
        )
        state = simulator.state(grids if len(grids) < simulator.num_grids else None, foresee=False)
        rewards = self._reward(state, outcome)
        ended = record.blackout | record.complete
        if self._max_steps is not None:
            ended = ended | (simulator.row[grids] - simulator.first_row[grids] >= self._max_steps)
        if ended.any():
            self._finish(grids, ended, record.causes, record.complete)
        return rewards, record.illegal, record.reasons

    def _worst_loss(self, grids: np.ndarray, record: StepRecord) -> np.ndarray | None:
        """Return ``[n]`` what an N-1 reward is about, None without one; inf where all is over."""
        if self._losses is None or not isinstance(self._reward, N1Reward):
            return None
        worst = np.full(len(grids), np.inf)
        looked = ~record.blackout & ~record.complete
        worst[looked] = self._losses.worst(grids[looked])
        return worst

    def _finish(
        self, grids: np.ndarray, ended: np.ndarray, causes: list[str], complete: np.ndarray
    ) -> None:
        for place in np.flatnonzero(ended).tolist():
            grid = int(grids[place])
            self.over[grid] = True
            if causes[place]:
                self.blackout[grid] = True
                self.end[grid] = f"blackout: {first_line(causes[place])}"
            else:
                self.end[grid] = "scenario complete" if complete[place] else "time limit"

    def _replace(self, grids: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Close the first line that may be closed where the agent does nothing."""
        simulator = self.simulator
        ready = ~simulator.line_status[grids] & (simulator.line_cooldown[grids] == 0)
        ready[actions != DO_NOTHING] = False
        if not ready.any():
            return actions
        switches = simulator.template.catalogue.switch_line_action
        return np.where(ready.any(axis=1), switches[ready.argmax(axis=1)], actions)

    # ------------------------------------------------------------------------------ decisions

    def decide(
        self, grids: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        """Play one decision of n running episodes, and calm steps up to the next one.

        Returns:
            ``[n]`` float64 rewards summed; ``[n]`` int64 grid steps played; ``[n]`` bool, the
            decision was refused; n reasons of it.
        """
        if self._decision_gate is None:
            rewards, illegal, reasons = self.play(grids, actions)
            return rewards.astype(np.float64), np.ones(len(grids), np.int64), illegal, reasons
        before = self._attacked(grids)
        acting = ~self._waits(grids, actions, before)
        total, illegal = np.zeros(len(grids)), np.zeros(len(grids), dtype=np.bool_)
        reasons = [""] * len(grids)
        places = np.flatnonzero(acting)
        if len(places):
            total[places], illegal[places], given = self.play(grids[places], actions[places])
            for place, reason in zip(places.tolist(), given, strict=True):
                reasons[place] = reason
        duration = acting.astype(np.int64)
        more, steps = self.coast(grids, waited=duration, before=before)
        return total + more, duration + steps, illegal, reasons

    def _waits(self, grids: np.ndarray, actions: np.ndarray, before: _Attacked) -> np.ndarray:
        """Return ``[n]`` bool, where the decision is to wait on: calm steps may start with it."""
        gate = self._decision_gate
        assert gate is not None
        waits = actions == DO_NOTHING
        if gate.n1 is not None or not self._stretches or not isinstance(self._reward, _OF_TOPOLOGY):
            return np.zeros(len(grids), dtype=np.bool_)
        return waits & ~self._due(grids, np.zeros(len(grids), dtype=np.int64), before)

    def coast(
        self,
        grids: np.ndarray,
        *,
        most: int | None = None,
        waited: np.ndarray | int = 0,
        before: _Attacked | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Do nothing on n grids until a decision is due or the episode is over.

        Args:
            grids: ``[n]`` int, ascending.
            most: grid steps, at most; None for no limit.
            waited: ``[n]`` int, grid steps since the last decision.
            before: attacks as they were before the last step; None for as they are.

        Returns:
            ``[n]`` float64 rewards summed, ``[n]`` int64 grid steps played.
        """
        total = np.zeros(len(grids))
        duration = np.zeros(len(grids), dtype=np.int64)
        gate = self._decision_gate
        assert gate is not None
        waited = np.broadcast_to(waited, len(grids))
        ends = np.full(len(grids), np.inf if most is None else most)
        if gate.every is not None:
            ends = np.minimum(ends, gate.every - waited)
        if before is None:
            before = self._attacked(grids)
        waiting = ~self.over[grids]
        while True:
            # who is asked once stays asked while others play on: attacks begin and end once
            waiting &= ~self.over[grids]
            if most is not None:
                waiting &= duration < most
            waiting[waiting] = ~self._due(
                grids[waiting], duration[waiting] + waited[waiting], before.of(waiting)
            )
            places = np.flatnonzero(waiting)
            if not len(places):
                return total, duration
            before = self._attacked(grids)
            if self._stretches:
                left = (ends[places] - duration[places]).tolist()
                stretches = map(self._stretch, grids[places].tolist(), left)
                for place, (reward, steps) in zip(places.tolist(), stretches, strict=True):
                    total[place] += reward
                    duration[place] += steps
            rewards, _, _ = self.play(grids[places], np.zeros(len(places), dtype=np.int64))
            total[places] += rewards
            duration[places] += 1

    def _due(self, grids: np.ndarray, waited: np.ndarray, before: _Attacked) -> np.ndarray:
        """Return ``[n]`` bool, on which of n grids the agent is asked now.

        Args:
            grids: ``[n]`` int, of running episodes.
            waited: ``[n]`` int, grid steps since the last decision.
            before: the last step.
        """
        gate, simulator = self._decision_gate, self.simulator
        assert gate is not None
        due = np.zeros(len(grids), dtype=np.bool_)
        if gate.rho is not None:
            due |= simulator.rho[grids].max(axis=1) >= gate.rho
        if gate.every is not None:
            due |= waited >= gate.every
        if gate.attacks:
            freed = before.held & (simulator.attack_steps[grids] == 0)
            due |= (simulator.attacks[grids] > before.count) | freed.any(axis=1)
        if gate.n1 is not None:
            assert self._losses is not None
            rest = np.flatnonzero(~due)
            due[rest] = self._losses.worst(grids[rest]) >= gate.n1
        return due

    def _attacked(self, grids: np.ndarray) -> _Attacked:
        """Return how n grids are attacked now."""
        simulator = self.simulator
        return _Attacked(simulator.attacks[grids], simulator.attack_steps[grids] > 0)

    def _stretch(self, grid: int, most: float) -> tuple[float, int]:
        """Play the steps of one grid in which nothing happens, at most so many, but the last.

        The step after it is left to ``play``: it may be the one at which something does.
        """
        simulator = self.simulator
        row = int(simulator.row[grid])
        left = int(simulator.last_row[grid]) - row
        if self._max_steps is not None:
            left = min(left, self._max_steps - row + int(simulator.first_row[grid]))
        left = int(min(left, most))
        held = simulator.attack_steps[grid]
        if self._decision_gate is not None and self._decision_gate.attacks and held.any():
            left = min(left, int(held[held > 0].min()))  # a step in which it becomes free
        left = min(left - 1, simulator.undisturbed(grid, ahead=self._losses is not None))
        status, topology = simulator.line_status[grid], simulator.topology[grid]
        if self._reconnect_lines and not status.all():
            left = min(left, int(simulator.line_cooldown[grid][~status].min()))
        # near a limit the next rows seldom are calm
        stressed = (simulator.solution[grid, simulator.columns.a_or] >= self._calm_limit).any()
        if left < 1 or stressed or not self._steady[grid]:
            return 0.0, 0
        scenario = self._scenarios[grid]
        assert scenario is not None
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
                count = losses.safe(row + 1 + steps, count, self._n1_gate)
            if simulator.attackers:
                count = self._until_attack(grid, status, before, rho[:count])
            if count:
                before = rho[count - 1]
                total += self._pay_calm(currents[:count], rho[:count], status, topology)
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
            if self._losses is not None and self._n1_gate < np.inf:
                losses = self._losses.stretch(scenario, topology)
            stretch = CalmStretch(self.simulator.template, scenario, topology)
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
        attacker, step = self.simulator.attackers[grid], 0
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

    def _pay_calm(
        self, currents: np.ndarray, rho: np.ndarray, status: np.ndarray, topology: np.ndarray
    ) -> float:
        """Return the reward of m calm steps, ``[m, L]`` each, in one topology, ``[L]``, ``[E]``."""
        count = len(currents)
        if isinstance(self._reward, SurvivalReward):
            return float(count)
        if isinstance(self._reward, BlackoutReward):
            return 0.0
        if self._blank is None:
            self._blank = self.simulator.state(np.zeros(0, dtype=np.int64), foresee=False)
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
