"""``ForecastPlanner``: copies of grids that are played ahead on the forecast.

A plan starts from where grids stand now. Its first step is played on the five-minute forecast, as
``simulate`` plays it; of what comes after, nothing is foreseen, so all later steps hold that
forecast (persistence). No later row of the scenario is ever read. Everything else goes on as in a
real step: cooldowns, overflow counters, cascades, planned outages, the clock, the reward, and the
end of the scenario or a time limit.

A step of a plan is one grid step, whatever the idle gate, so a value that is to go with it should
be discounted per grid step. The environment would play calm states on by itself; here that would
never end, since under a held forecast a calm grid stays calm. ``calm`` says which states are.

Shape letters: A actions, n copies of a call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from envs.decision_gate import DecisionGate
from envs.fast.grid_player import GridPlayer
from envs.fast.power_flow import PowerFlow
from envs.fast.simulator import Simulator
from envs.fast.template import GridTemplate
from envs.grid.observations import ObservationEncoder
from envs.grid.rewards import Reward
from envs.grid.state import GridState, LegalityState
from envs.opponents import Attack
from envs.scenarios import Scenario
from powergrid_muzero.checks import check_actions
from powergrid_muzero.copies import Copyable

if TYPE_CHECKING:
    from envs.fast.grids import GridSave


class PlannedStep(NamedTuple):
    """What one step of n copies led to."""

    slots: np.ndarray  # [n] int64, where the states after it are kept; as given where all was over
    reward: np.ndarray  # [n] float32, of the step; 0 where all was over before it
    blackout: np.ndarray  # [n] bool, the game is lost: in this step, or before
    over: np.ndarray  # [n] bool, that, or the end of the scenario or the time limit


class PlayedGrids(Protocol):
    """The vector environment whose grids are planned on."""

    simulator_calls: np.ndarray  # [B] int64, steps simulated are added to it

    def save_state(self, grid: int) -> GridSave:
        """Return where grid number ``grid`` stands."""
        ...


class ForecastPlanner(Copyable):
    """Copies of the grids of a vector environment, kept in slots until the next plan begins.

    Any slot may be stepped from any number of times: a step copies it first. Memory: a slot takes
    about 5 kB on 14 substations, and there are as many as one plan ever needed, rounded up to a
    power of two times its roots: n of its beginning and one for each step of each copy.

    A copy has slots of its own; it plans on the environment's copy, where they are copied together,
    or else on one that comes with it.

    Args:
        template: of the grid.
        played: the environment.
        encoder: of observations.
        reward: what steps pay.
        reconnect_lines: as in the environment.
        max_steps: of an episode, as in the environment.
        gate: when the environment asks; None for at every step.
        at_risk: ``[C]`` int, lines whose loss an N-1 reward looks at.
    """

    def __init__(
        self,
        template: GridTemplate,
        played: PlayedGrids,
        *,
        encoder: ObservationEncoder,
        reward: Reward,
        reconnect_lines: bool,
        max_steps: int | None,
        gate: DecisionGate | None,
        at_risk: np.ndarray,
    ):
        self._played = played
        self._encoder = encoder
        self._gate = np.float64(0 if gate is None or gate.rho is None else gate.rho)
        num_grids = len(played.simulator_calls)
        self._used = 0
        self._simulator = ForecastSimulator(template, num_grids)
        self._player = GridPlayer(
            self._simulator,
            reward,
            at_risk=at_risk,
            reconnect_lines=reconnect_lines,
            max_steps=max_steps,
        )
        self._origin = np.zeros(num_grids, dtype=np.int64)  # of each slot, the grid it is from

    @property
    def num_actions(self) -> int:
        """A, of one grid."""
        return self._simulator.template.catalogue.num_actions

    @property
    def num_slots(self) -> int:
        """Copies that there is room for now."""
        return self._simulator.num_grids

    def begin(self, grids: np.ndarray) -> np.ndarray:
        """Forget all plans; copy n grids of the environment as they stand now.

        Args:
            grids: ``[n]`` int, of the environment.

        Returns:
            ``[n]`` int64 slots.

        Raises:
            ValueError: a grid that does not exist.
            gymnasium.error.ResetNeeded: no episode is running on one.
        """
        grids = np.asarray(grids, dtype=np.int64)
        num_grids = len(self._played.simulator_calls)
        wrong = (grids < 0) | (grids >= num_grids)
        if wrong.any():
            raise ValueError(f"grid {grids[wrong][0]} does not exist: there are {num_grids}")
        self._used = 0
        slots = self._take_slots(len(grids))
        simulator = self._simulator
        for slot, grid in zip(slots.tolist(), grids.tolist(), strict=True):
            saved = self._played.save_state(grid).episode
            scenario = saved.grid.scenario
            if saved.over or scenario is None:
                raise gym.error.ResetNeeded(
                    f"environment {grid}: no episode is running, so there is nothing to plan"
                )
            self._player.load(slot, saved)
            simulator.set_scenario(slot, hold_forecast(scenario, int(simulator.row[slot])))
        self._origin[slots] = grids
        return slots

    def step(
        self,
        slots: np.ndarray,
        actions: np.ndarray,
        attacked: np.ndarray | None = None,
        *,
        duration: int = 1,
    ) -> PlannedStep:
        """Play one action on a copy of each of n slots, which stay as they are.

        Args:
            slots: ``[n]`` int, of this plan; one may be there several times.
            actions: ``[n]`` int; an illegal one does nothing, as in the environment.
            attacked: ``[n]`` int, the line that an attack takes out within the step, after the
                action, -1 for none; None: there are no attacks but those under way.
            duration: steps for which it is held out, this one included.

        Raises:
            ValueError: a slot, an action or a line that does not exist.
        """
        slots = self._check(slots)
        actions = check_actions(actions, len(slots), self.num_actions)
        places = np.flatnonzero(~self._player.over[slots])
        after = slots.copy()
        reward = np.zeros(len(slots), dtype=np.float32)
        if len(places):
            played = self._take_slots(len(places))  # may replace the player
            self._player.take(self._player, slots[places], played)
            self._origin[played] = self._origin[slots[places]]
            attacks: dict[int, Attack] = {}
            if attacked is not None:
                lines = self._check_lines(attacked, len(slots))[places]
                for place in np.flatnonzero(lines >= 0).tolist():
                    attacks[int(played[place])] = Attack(lines[[place]], duration)
            reward[places], _, _ = self._player.play(played, actions[places], attacks)
            after[places] = played
            np.add.at(self._played.simulator_calls, self._origin[played], 1)
        return PlannedStep(after, reward, self._player.blackout[after], self._player.over[after])

    def state(self, slots: np.ndarray) -> GridState:
        """Return the state of n slots."""
        return self._simulator.state(self._check(slots))

    def observations(self, slots: np.ndarray) -> Any:
        """Return the observations ``[n, ...]`` of n slots, as the environment encodes them."""
        return self._encoder.encode(self.state(slots))

    def calm(self, slots: np.ndarray) -> np.ndarray:
        """Return ``[n]`` bool: the idle gate would ask nobody there; False without a gate."""
        slots = self._check(slots)
        return (self._simulator.rho[slots].max(axis=1) < self._gate) & ~self._player.over[slots]

    def legal(self, slots: np.ndarray) -> np.ndarray:
        """Return ``[n, A]`` int8, 1 = legal in the slot's state."""
        slots, simulator = self._check(slots), self._simulator
        return simulator.template.catalogue.legal(
            LegalityState(
                simulator.line_status[slots],
                simulator.line_cooldown[slots],
                simulator.substation_cooldown[slots],
            )
        )

    def _check_lines(self, lines: np.ndarray, count: int) -> np.ndarray:
        lines = np.asarray(lines, dtype=np.int64)
        most = self._simulator.layout.num_lines - 1
        if lines.shape != (count,) or ((lines < -1) | (lines > most)).any():
            raise ValueError(
                f"attacked must be {count} lines of 0 to {most}, or -1 for none, but is {lines}"
            )
        return lines

    def _check(self, slots: np.ndarray) -> np.ndarray:
        slots = np.asarray(slots, dtype=np.int64)
        wrong = (slots < 0) | (slots >= self._used)
        if wrong.any():
            raise ValueError(
                f"slot {slots[wrong][0]} is not of the present plan, which has {self._used}; "
                "beginning a plan forgets the one before"
            )
        return slots

    def _take_slots(self, count: int) -> np.ndarray:
        first, self._used = self._used, self._used + count
        if self._used > self.num_slots:
            self._make_room(max(self._used, 2 * self.num_slots))
        return np.arange(first, self._used)

    def _make_room(self, num_slots: int) -> None:
        """Have ``num_slots`` slots, more than before; those there are stay."""
        kept = np.arange(self.num_slots)
        simulator = ForecastSimulator(self._simulator.template, num_slots)
        player = self._player.beside(simulator)
        player.take(self._player, kept, kept)
        self._simulator, self._player = simulator, player
        self._origin = np.concatenate([self._origin, np.zeros(num_slots - len(kept), np.int64)])


class ForecastSimulator(Simulator):
    """A simulator on the grid that forecasts are played on, with one power flow for all.

    Plans seldom visit a topology twice in a row. Changing it in one power flow then costs no more
    than keeping one for each, and memory does not grow with the number of copies. A solution does
    not depend on what was solved before it.
    """

    def __init__(self, template: GridTemplate, num_grids: int):
        super().__init__(template, num_grids)
        self._one = PowerFlow(template, template.topology, foreseeing=True)
        self._solved = template.topology.tobytes()

    def _meet_topology(self, grid: int) -> None:
        """See ``Simulator``: it is met when it is solved."""

    def _flow(self, grid: int) -> PowerFlow:
        topology = self.topology[grid]
        wanted = topology.tobytes()
        if wanted != self._solved:
            self._one.set_topology(topology)
            self._solved = wanted
        return self._one

    def _discard_flow(self, grid: int) -> None:
        """See ``Simulator``: the power flow forgets a failure by itself."""


def hold_forecast(scenario: Scenario, row: int) -> Scenario:
    """Return ``scenario`` as it is foreseen at ``row``: the five-minute forecast, held for ever.

    Planned outages are known beforehand and stay; hazards are not, and go.
    """

    def held(forecast: np.ndarray) -> np.ndarray:
        return np.broadcast_to(forecast[row], forecast.shape)

    load_p, load_q = held(scenario.load_p_forecast), held(scenario.load_q_forecast)
    prod_p, prod_v = held(scenario.prod_p_forecast), held(scenario.prod_v_forecast)
    return replace(
        scenario,
        load_p=load_p,
        load_q=load_q,
        prod_p=prod_p,
        prod_v=prod_v,
        load_p_forecast=load_p,
        load_q_forecast=load_q,
        prod_p_forecast=prod_p,
        prod_v_forecast=prod_v,
        hazards=None,
    )
