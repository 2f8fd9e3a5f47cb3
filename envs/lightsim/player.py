"""What an episode is made of: rewards, its end, reconnection and the idle gate, for B grids.

It does to a ``Simulator`` what ``PowerGridEnv.advance``, ``ReconnectLines`` and ``IdleGate`` do to
grid2op, in the same order.

Shape letters: B grids, L lines, m calm rows, n grids of a call.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from envs.actions import DO_NOTHING
from envs.blackout_text import first_line
from envs.copies import Copyable
from envs.lightsim.arrays import GridSnapshot
from envs.lightsim.calm import CHUNK
from envs.lightsim.calm import MARGIN
from envs.lightsim.calm import CalmStretch
from envs.lightsim.calm import steady_voltages
from envs.lightsim.simulator import Simulator
from envs.rewards import BlackoutReward
from envs.rewards import L2RPNReward
from envs.rewards import MarginReward
from envs.rewards import NearReferenceReward
from envs.rewards import Reward
from envs.rewards import StepOutcome
from envs.rewards import SurvivalReward
from envs.scenarios import Scenario
from envs.state import GridState

# rewards that look at nothing but currents, line status and topology: all a calm stretch knows
_OF_CALM = (BlackoutReward, L2RPNReward, MarginReward, NearReferenceReward, SurvivalReward)


class PlayerSnapshot(NamedTuple):
    """An episode at one decision, to go back to."""

    grid: GridSnapshot
    over: bool
    blackout: bool
    end: str
    steady: bool


class Player(Copyable):
    """Plays decisions on the grids of a simulator.

    Args:
        simulator: of B grids.
        reward: what steps pay.
        idle_gate: rho from which on the agent decides; None for every step.
        reconnect_lines: close lines that are out where the agent does nothing.
        max_steps: of an episode; None for the whole scenario.
        threads: that solve the calm stretches of different grids side by side; results do not
            depend on their number.
    """

    _rebuilt = ("_threads",)

    def __init__(
        self,
        simulator: Simulator,
        reward: Reward,
        *,
        idle_gate: float | None = None,
        reconnect_lines: bool = False,
        max_steps: int | None = None,
        threads: int = 1,
    ):
        self.simulator = simulator
        self._num_threads = threads
        self._threads: ThreadPoolExecutor | None = None  # made when needed
        # float64 as info["rho_max"] is, so that both sides of the gate agree to the last bit
        self.idle_gate = None if idle_gate is None else np.float64(idle_gate)
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
        self._calm_rho = np.float32(0 if idle_gate is None else idle_gate) * MARGIN
        self._stretches = idle_gate is not None and isinstance(reward, _OF_CALM)
        self._blank: GridState | None = None

    def start(self, grid: int, scenario: Scenario, first_row: int) -> None:
        """Start an episode.

        Raises:
            ValueError: see ``Simulator.start``.
        """
        self.over[grid] = True
        self.simulator.start(grid, scenario, first_row)
        if scenario is not self._scenarios[grid]:
            self._scenarios[grid] = scenario
            self._steady[grid] = self._stretches and steady_voltages(scenario)
        self.over[grid] = self.blackout[grid] = False
        self.end[grid] = ""

    def stop(self, grid: int, end: str) -> None:
        """End the running episode on ``grid`` from outside; ``end`` says why."""
        self.over[grid], self.end[grid] = True, end

    def close(self) -> None:
        """End the threads, if any, until they are needed again."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def save(self, grid: int) -> PlayerSnapshot:
        """Return a snapshot of the episode on ``grid``."""
        return PlayerSnapshot(
            self.simulator.save(grid),
            bool(self.over[grid]),
            bool(self.blackout[grid]),
            self.end[grid],
            self._steady[grid],
        )

    def beside(self, simulator: Simulator) -> Player:
        """Return a player of ``simulator`` by the same rules, but without an idle gate."""
        return Player(
            simulator,
            self._reward,
            reconnect_lines=self._reconnect_lines,
            max_steps=self._max_steps,
        )

    def take(self, other: Player, grids: np.ndarray, places: np.ndarray) -> None:
        """Put copies of n episodes of ``other``, which may be this player, on n places of this one.

        See ``Simulator.take``.
        """
        self.simulator.take(other.simulator, grids, places)
        for name in ("over", "blackout", "end"):
            getattr(self, name)[places] = getattr(other, name)[grids]
        for grid, place in zip(grids.tolist(), places.tolist(), strict=True):
            self._scenarios[place] = other._scenarios[grid]
            self._steady[place] = other._steady[grid]

    def load(self, grid: int, snapshot: PlayerSnapshot) -> None:
        """Put the episode on ``grid`` back where ``snapshot`` was taken."""
        self.simulator.load(grid, snapshot.grid)
        self._scenarios[grid] = snapshot.grid.scenario
        self.over[grid], self.blackout[grid] = snapshot.over, snapshot.blackout
        self.end[grid], self._steady[grid] = snapshot.end, snapshot.steady

    # ------------------------------------------------------------------------------- one step

    def play(
        self, grids: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Play one grid step of n running episodes.

        Args:
            grids: ``[n]`` int, ascending.
            actions: ``[n]`` int.

        Returns:
            ``[n]`` float32 rewards; ``[n]`` bool, refused; n reasons of it, "" if legal.
        """
        simulator = self.simulator
        if self._reconnect_lines:
            actions = self._replace(grids, actions)
        record = simulator.step(grids, actions)
        outcome = StepOutcome(
            action=actions,
            illegal=record.illegal,
            blackout=record.blackout,
            complete=record.complete,
        )
        state = simulator.state(grids if len(grids) < simulator.num_grids else None, foresee=False)
        rewards = self._reward(state, outcome)
        ended = record.blackout | record.complete
        if self._max_steps is not None:
            ended = ended | (simulator.row[grids] - simulator.first_row[grids] >= self._max_steps)
        if ended.any():
            self._finish(grids, ended, record.causes, record.complete)
        return rewards, record.illegal, record.reasons

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
        rewards, illegal, reasons = self.play(grids, actions)
        total = rewards.astype(np.float64)
        duration = np.ones(len(grids), dtype=np.int64)
        if self.idle_gate is not None:
            more, steps = self.coast(grids)
            total += more
            duration += steps
        return total, duration, illegal, reasons

    def coast(self, grids: np.ndarray, *, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Do nothing on n grids until a decision is due or the episode is over.

        Args:
            grids: ``[n]`` int, ascending.
            most: grid steps, at most; None for no limit.

        Returns:
            ``[n]`` float64 rewards summed, ``[n]`` int64 grid steps played.
        """
        total = np.zeros(len(grids))
        duration = np.zeros(len(grids), dtype=np.int64)
        simulator = self.simulator
        while True:
            waiting = ~self.over[grids] & (simulator.rho[grids].max(axis=1) < self.idle_gate)
            if most is not None:
                waiting &= duration < most
            places = np.flatnonzero(waiting)
            if not len(places):
                return total, duration
            if self._stretches:
                left = [None if most is None else most - steps for steps in duration[places]]
                if self._num_threads > 1 and self._threads is None:
                    self._threads = ThreadPoolExecutor(self._num_threads)
                # C++ frees the interpreter while it solves
                side_by_side = map if self._threads is None else self._threads.map
                stretches = side_by_side(self._stretch, grids[places].tolist(), left)
                for place, (reward, steps) in zip(places.tolist(), stretches, strict=True):
                    total[place] += reward
                    duration[place] += steps
            rewards, _, _ = self.play(grids[places], np.zeros(len(places), dtype=np.int64))
            total[places] += rewards
            duration[places] += 1

    def _stretch(self, grid: int, most: int | None) -> tuple[float, int]:
        """Play the steps of one grid in which nothing happens, but the last.

        The step after it is left to ``play``: it may be the one at which something does.
        """
        simulator = self.simulator
        row = int(simulator.row[grid])
        left = int(simulator.last_row[grid]) - row
        if self._max_steps is not None:
            left = min(left, self._max_steps - row + int(simulator.first_row[grid]))
        if most is not None:
            left = min(left, int(most))
        left -= 1
        status, topology = simulator.line_status[grid], simulator.topology[grid]
        if self._reconnect_lines and not status.all():
            left = min(left, int(simulator.line_cooldown[grid][~status].min()))
        if left < 1 or not self._steady[grid]:
            return 0.0, 0
        scenario = self._scenarios[grid]
        assert scenario is not None
        limit = simulator.template.rules.limit
        stretch = CalmStretch(simulator.template, scenario, topology, row + 1)
        total, steps = 0.0, 0
        while steps < left:
            asked = min(CHUNK, left - steps)
            currents = stretch.currents(asked)
            rho = currents / limit
            calm = (rho.max(axis=1) < self._calm_rho) & (currents < self._calm_limit).all(axis=1)
            count = len(calm) if calm.all() else int(calm.argmin())
            if count:
                total += self._pay_calm(currents[:count], rho[:count], status, topology)
                steps += count
            if count < asked:
                break
        simulator.skip(grid, steps)
        return total, steps

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
