"""Plays episodes on the simulator: rewards, ends, reconnection and gates, for B grids.

It does to a ``Simulator`` what ``PowerGridEnv.advance``, ``ReconnectLines`` and ``IdleGate`` do to
grid2op, in the same order.

Shape letters: B grids, L lines, n grids of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from envs.decision_gate import DecisionGate
from envs.fast.arrays import GridSnapshot
from envs.fast.calm_player import CalmPlayer
from envs.fast.calm_stretches import steady_voltages
from envs.fast.contingencies import Contingencies
from envs.fast.simulator import Simulator, StepRecord
from envs.grid.actions import DO_NOTHING
from envs.grid.blackout_text import first_line
from envs.grid.rewards import N1Reward, Reward, StepOutcome
from envs.opponents import Attack
from envs.scenarios import Scenario
from powergrid_muzero.copies import Copyable


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
        self._calm = None
        if gate is not None and CalmPlayer.pays(reward):
            self._calm = CalmPlayer(
                simulator,
                reward,
                gate=gate,
                losses=self._losses,
                reconnect_lines=reconnect_lines,
                max_steps=max_steps,
            )

    def start(self, grid: int, scenario: Scenario, first_row: int, attack_seed: int = 0) -> None:
        """Start an episode.

        Raises:
            ValueError: see ``Simulator.start``.
        """
        self.over[grid] = True
        self.simulator.start(grid, scenario, first_row, attack_seed)
        if scenario is not self._scenarios[grid]:
            self._scenarios[grid] = scenario
            self._steady[grid] = self._calm is not None and steady_voltages(
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
        if gate.n1 is not None or self._calm is None or not self._calm.is_exact:
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
            if self._calm is not None:
                for place, grid in zip(places.tolist(), grids[places].tolist(), strict=True):
                    scenario = self._scenarios[grid]
                    if scenario is not None and self._steady[grid]:
                        left = ends[place] - duration[place]
                        reward, steps = self._calm.play(grid, scenario, left)
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
