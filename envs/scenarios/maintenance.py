"""Maintenance that is drawn at random in every episode, as some grids have it.

Their scenarios hold ``maintenance_meta.json`` in place of a table. What is drawn follows from the
seed of the episode as in ``grid2op.Chronics.GridStateFromFileWithForecastsWithMaintenance``; the
tests compare both.

Shape letters: L lines, T rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from powergrid_muzero.checks import is_integer, is_number
from powergrid_muzero.names import choose

META_FILE = "maintenance_meta.json"
_LARGEST_SEED = np.iinfo(np.int32).max
_SEEDS_BETWEEN = 3  # of the chronics handler, of its scenarios, of the one that is played
_WORKING_DAYS = (0, 1, 2, 3, 4)
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class MaintenancePlan:
    """When which lines may be under maintenance."""

    lines: tuple[int, ...]  # by number, ascending
    num_lines: int  # L, of the grid
    first_hour: float  # of the day, at which all begin
    last_hour: float  # at which all end
    chance: tuple[float, ...]  # [12] of each line on a day of each month
    most: tuple[int, ...]  # [12] lines at a time
    weekdays: tuple[int, ...] = _WORKING_DAYS  # 0 for Monday

    def draw(
        self, grid_seed: int, *, start: np.datetime64, minutes_per_step: int, rows: int
    ) -> np.ndarray | None:
        """Return ``[T, L]`` bool, the lines under maintenance, None where there is none.

        Args:
            grid_seed: of grid2op's environment.
            start: wall clock of the step before row 0, as files have it.
            minutes_per_step: of the rows.
            rows: T.
        """
        days = _days(start, minutes_per_step, rows)
        months = days.astype("datetime64[M]").astype(np.int64) % 12
        weekdays = (days.astype(np.int64) + 3) % 7  # 1970 began on a Thursday
        if not any(self.chance[month] > 0 < self.most[month] for month in set(months.tolist())):
            return None
        rng = np.random.RandomState(_seed_of_scenario(grid_seed))
        per_day = 86400 // (60 * minutes_per_step)
        first, last = (
            int(hour * 60 / minutes_per_step) for hour in (self.first_hour, self.last_hour)
        )
        lines = np.array(self.lines)
        out = np.zeros((rows, self.num_lines), dtype=np.bool_)
        for day, (month, weekday) in enumerate(zip(months, weekdays, strict=True)):
            if weekday not in self.weekdays:
                continue
            chance, most = self.chance[month], self.most[month]
            drawn = rng.choice([False, True], p=[1.0 - chance, chance], size=len(lines))
            count = int(drawn.sum())
            if count > most:
                spared = rng.choice(count, replace=False, size=count - most)
                drawn[np.flatnonzero(drawn)[spared]] = False
            begins = day * per_day + first
            out[begins : day * per_day + min(last, per_day), lines[drawn]] = True
        return out if out.any() else None


def read_maintenance_plan(path: Path, line_names: tuple[str, ...]) -> MaintenancePlan:
    """Read a file called ``maintenance_meta.json``.

    Args:
        path: of the file.
        line_names: ``[L]``, of the grid.

    Raises:
        ValueError: it is no such file, or about lines that the grid lacks.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    try:
        lines = sorted(
            line_names.index(choose("line under maintenance", name, line_names))
            for name in set(given["line_to_maintenance"])
        )
        return MaintenancePlan(
            lines=tuple(lines),
            num_lines=len(line_names),
            first_hour=_number(given, "maintenance_starting_hour"),
            last_hour=_number(given, "maintenance_ending_hour"),
            chance=_by_month(given, "daily_proba_per_month_maintenance", is_number, 1),
            most=_by_month(given, "max_daily_number_per_month_maintenance", is_integer, np.inf),
            weekdays=tuple(int(day) for day in given.get("maintenance_day_of_week", _WORKING_DAYS)),
        )
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def write_maintenance_plan(
    plan: MaintenancePlan, folder: Path, line_names: tuple[str, ...]
) -> None:
    """Write ``maintenance_meta.json`` to the folder of a scenario.

    Args:
        plan: what is written.
        folder: of the scenario.
        line_names: ``[L]``, of the grid.
    """
    meta = {
        "maintenance_starting_hour": plan.first_hour,
        "maintenance_ending_hour": plan.last_hour,
        "line_to_maintenance": [line_names[line] for line in plan.lines],
        "daily_proba_per_month_maintenance": plan.chance,
        "max_daily_number_per_month_maintenance": plan.most,
        "maintenance_day_of_week": plan.weekdays,
    }
    (folder / META_FILE).write_text(json.dumps(meta), encoding="utf-8")


def _number(given: dict[str, Any], key: str) -> float:
    value = given[key]
    if not is_number(value) or not 0 <= value <= 24:
        raise ValueError(f"{key} must be an hour of the day, but is {value!r}")
    return value


def _by_month(given: dict[str, Any], key: str, right: Any, largest: float) -> tuple[Any, ...]:
    values = given[key]
    fine = (
        isinstance(values, list)
        and len(values) == 12
        and all(right(value) and 0 <= value <= largest for value in values)
    )
    if not fine:
        raise ValueError(f"{key} must be a list of 12 numbers from 0 on, but is {values!r}")
    return tuple(values)


@lru_cache(maxsize=256)
def _days(start: np.datetime64, minutes_per_step: int, rows: int) -> np.ndarray:
    """Return the days that rows fall on; grid2op leaves out the last of them."""
    last = start + (rows - 1) * np.timedelta64(minutes_per_step, "m")
    return np.arange(start.astype("datetime64[D]"), last.astype("datetime64[D]"), _DAY)


def _seed_of_scenario(grid_seed: int) -> int:
    """Return the seed that grid2op gives the scenario of an environment seeded with this one."""
    seed = grid_seed
    for _ in range(_SEEDS_BETWEEN):
        seed = int(np.random.RandomState(seed).randint(_LARGEST_SEED))
    return seed
