"""A grid2op data source that plays a scenario from memory."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
from grid2op.Chronics import GridValue

from envs.scenarios.base import Scenario
from powergrid_muzero.checks import is_integer

MONTH = 8064  # five-minute steps of four weeks, the length of the field's scenarios


class ScenarioChronics(GridValue):
    """Plays the ``Scenario`` handed to ``set_scenario``; grid2op's ``chronics_class``.

    grid2op reads a row of the series at each step, the first one in ``reset``. The arrays of the
    scenario are read in place: every environment of a process shares them. Until a scenario is
    set, which is only while ``grid2op.make`` builds the environment, injections are left as the
    grid file has them.

    It behaves as ``grid2op.Chronics.GridStateFromFileWithForecasts`` does on the same series:
    same clock, same duration, one forecast, five minutes ahead.
    """

    MULTI_CHRONICS = False

    def __init__(
        self,
        time_interval: timedelta = timedelta(minutes=5),
        max_iter: int = -1,
        start_datetime: datetime = datetime(year=2019, month=1, day=1),
        **_: Any,  # grid2op passes what the grid's config.py wrote for its own class of series
    ):
        super().__init__(
            time_interval=time_interval, max_iter=max_iter, start_datetime=start_datetime
        )
        self.scenario: Scenario | None = None
        self.first_row = 0
        self.row = -1  # row of the scenario that the environment shows now
        self.n_load = -1
        self.n_gen = -1
        self.n_line = -1

    def set_scenario(self, scenario: Scenario, first_row: int = 0) -> None:
        """Choose what the next ``env.reset()`` plays, from row ``first_row`` on.

        Raises:
            ValueError: the scenario is of another grid, or has no step left after ``first_row``.
        """
        if not isinstance(scenario, Scenario):
            raise ValueError(f"what is played must be a Scenario, but is {scenario!r}")
        if self.n_load >= 0:
            self._check_columns(scenario)
        if not is_integer(first_row) or not 0 <= first_row < scenario.num_steps:
            raise ValueError(
                f"scenario {scenario.name!r} has {scenario.num_steps} steps: first_row must be "
                f"in 0..{scenario.num_steps - 1}, but is {first_row}"
            )
        self.scenario = scenario
        self.first_row = int(first_row)
        self.maintenance_time = None
        self.maintenance_duration = None
        self.hazard_duration = None
        if scenario.maintenance is not None:
            outages = scenario.maintenance.T
            self.maintenance_time = np.stack([self.get_maintenance_time_1d(o) for o in outages], 1)
            self.maintenance_duration = np.stack(
                [self.get_maintenance_duration_1d(o) for o in outages], 1
            )
        if scenario.hazards is not None:
            self.hazard_duration = np.stack(
                [self.get_hazard_duration_1d(o) for o in scenario.hazards.T], 1
            )
        self._rewind()

    def _check_columns(self, scenario: Scenario) -> None:
        given = (scenario.load_p.shape[1], scenario.prod_p.shape[1])
        expected = (self.n_load, self.n_gen)
        if given != expected:
            raise ValueError(
                f"scenario {scenario.name!r} is of another grid: it has {given[0]} loads and "
                f"{given[1]} generators, but the grid has {expected[0]} and {expected[1]}"
            )

    def _rewind(self) -> None:
        self.curr_iter = 0
        self.row = self.first_row - 1
        if self.scenario is None:
            self.current_datetime = self.start_datetime
            return
        self.time_interval = timedelta(minutes=self.scenario.minutes_per_step)
        # load_next moves the clock before it reads, so the clock starts one interval early
        self.start_datetime = self.scenario.start.astype("datetime64[s]").item()
        self.start_datetime += (self.first_row - 1) * self.time_interval
        self.current_datetime = self.start_datetime

    @property
    def max_iter(self) -> int:
        """Steps of an episode: what is left of the scenario, or fewer if grid2op was told so."""
        if self.scenario is None:  # some opponents must know a duration when the grid is made
            return MONTH
        left = self.scenario.num_steps - self.first_row
        return left if self._max_iter < 0 else min(left, self._max_iter)

    @max_iter.setter
    def max_iter(self, value: int) -> None:
        self._max_iter = int(value)

    def initialize(
        self,
        order_backend_loads: Any,
        order_backend_prods: Any,
        order_backend_lines: Any,
        order_backend_subs: Any,
        names_chronics_to_backend: Any = None,
    ) -> None:
        """Learn the sizes of the grid; columns of a scenario are in its order already."""
        self.n_load = len(order_backend_loads)
        self.n_gen = len(order_backend_prods)
        self.n_line = len(order_backend_lines)
        if self.scenario is not None:
            self._check_columns(self.scenario)
        self._rewind()

    def check_validity(self, backend: Any) -> None:
        """Everything was checked when the scenario was set."""

    def next_chronics(self) -> None:
        """Start the scenario again (grid2op calls this in ``reset``)."""
        if self.scenario is None:
            raise ValueError(
                "no scenario to play: call envs.scenarios.set_scenario(env, scenario) "
                "before env.reset()"
            )
        self._rewind()

    def load_next(
        self,
    ) -> tuple[datetime, dict[str, Any], np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Return the next row in the form that grid2op asks for."""
        self.row += 1
        scenario = self.scenario
        if scenario is not None and (
            self.row > scenario.num_steps or self.curr_iter > self.max_iter
        ):
            raise StopIteration
        self.current_datetime += self.time_interval
        self.curr_iter += 1
        maintenance_time = np.full(self.n_line, -1, dtype=np.int32)
        maintenance_duration = np.zeros(self.n_line, dtype=np.int32)
        hazard_duration = np.full(self.n_line, -1, dtype=np.int32)
        changes: dict[str, Any] = {}
        if scenario is None:
            steady = (maintenance_time, maintenance_duration, hazard_duration)
            return (self.current_datetime, changes, *steady, None)
        row = self.row
        changes["injection"] = {
            "load_p": scenario.load_p[row].copy(),
            "load_q": scenario.load_q[row].copy(),
            "prod_p": scenario.prod_p[row].copy(),
        }
        if self.maintenance_time is not None and self.maintenance_duration is not None:
            assert scenario.maintenance is not None
            changes["maintenance"] = scenario.maintenance[row].copy()
            maintenance_time = self.maintenance_time[row].astype(np.int32)
            maintenance_duration = self.maintenance_duration[row].astype(np.int32)
        if self.hazard_duration is not None:
            assert scenario.hazards is not None
            changes["hazards"] = scenario.hazards[row].copy()
            hazard_duration = self.hazard_duration[row].astype(np.int32)
        return (
            self.current_datetime,
            changes,
            maintenance_time,
            maintenance_duration,
            hazard_duration,
            scenario.prod_v[row].copy(),
        )

    def forecasts(self) -> list[tuple[datetime, dict[str, Any]]]:
        """Return what is foreseen now for the next step (``obs.simulate`` plays it)."""
        if self.scenario is None:
            return [(self.current_datetime + self.time_interval, {})]
        row = self.row
        injection = {
            "load_p": self.scenario.load_p_forecast[row].copy(),
            "load_q": self.scenario.load_q_forecast[row].copy(),
            "prod_p": self.scenario.prod_p_forecast[row].copy(),
            "prod_v": self.scenario.prod_v_forecast[row].copy(),
        }
        return [(self.current_datetime + self.time_interval, {"injection": injection})]

    def done(self) -> bool:
        """Whether the last row is on the grid."""
        return self.max_iter > 0 and self.curr_iter > self.max_iter

    def get_id(self) -> str:
        """Return the scenario's name."""
        return self.scenario.name if self.scenario is not None else ""
