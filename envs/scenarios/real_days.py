"""Three days on 36 substations, made of the real days that ship inside the grid2op wheel.

``l2rpn_wcci_2020``, ``l2rpn_neurips_2020_track1`` and ``l2rpn_icaps_2021`` are one wiring with the
same 37 loads and 22 generators, under two naming schemes. Their wheel holds ten days of April with
the first; three of August and three of February with the second; one of April and one of August,
with twice the sun and a throttled nuclear plant, with the third. The limits of the lines are of two
kinds, and flows of one kind do not suit the other: the ten days of April load lines, mostly line
13, beyond the limits of the other two grids in 39 to 49 % of the steps. So ``l2rpn_wcci_2020``
plays what is made of its own ten days, and the other two grids, whose limits are the same, play
what is made of the other eight.

A scenario is three days, as in the competitions, each with the loads of one real day, the wind of
another, and the sun and the maintenance of a third (where a split has two days: the wind of the
other one, the sun of either). ``l2rpn_wcci_2020`` draws its maintenance in each episode, as its own
series do. Few days stand behind each split:

=================================================== ======================= ==== ====
grid                                                train                   val  test
=================================================== ======================= ==== ====
l2rpn_wcci_2020                                     4                       3    3
l2rpn_neurips_2020_track1, l2rpn_icaps_2021         4 (two of the third's)  2    2
=================================================== ======================= ==== ====

What was measured on the bundled scenarios (grid2op 1.12.6), and is kept:

- 29 loads have a reactive load of 0.7 x the active one. The other eight, where the rest of the 118
  substations is cut off, go up to 200 MW in and out and have reactive series of their own. All of
  them come from the day of the loads.
- Production is 1.002 to 1.036 x load; the ratio of each moment is that of the day of the loads.
- What wind and sun leave is made as on the day of the loads. What differs is taken by the hydro
  plant within 0 to 250 MW (95 % of what moves in April, 47 to 95 % in August), beyond it by the
  largest thermal one (90 % in February, when the hydro plant is near its maximum), and beyond that
  by the nuclear one, which goes down to 220 MW on the days of ``l2rpn_icaps_2021``.
- Voltage set points are 147.8 kV, and 369.6 kV at the nuclear plant.
- Forecasts err by 1.0 % at loads (not at all at the eight), 1.7 % of wind, 2.5 % of sun and 1 % of
  other production (on the two days of ``l2rpn_icaps_2021`` more of wind and sun, 2.3 and 12 %,
  which is not kept).

The first row of 1 April is missing, and is that of five minutes later here. Where two days meet,
what differs is bridged linearly over an hour on each side, so nothing jumps; days of different
months may meet. The last row, which ends the last step, is row 0 again. The calendar goes on from
the date of the first day of the loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from grid2op.MakeEnv.Make import TEST_DEV_ENVS

from envs.scenarios.base import Scenario
from envs.scenarios.compositions import (
    Composition,
    Period,
    Periods,
    Variation,
    digest,
    foresee,
    read_only,
)
from envs.scenarios.grid2op_grids import grid_columns
from envs.scenarios.maintenance import META_FILE, MaintenancePlan, read_maintenance_plan

PLACES = 3  # days in a scenario
ROWS_PER_DAY = 288
BRIDGE = 12  # rows on each side of a midnight
SERIES = (  # (grid, chronic, first day, days) in the wheel
    ("l2rpn_wcci_2020", "Scenario_april_000", "2012-04-01", 10),
    ("l2rpn_neurips_2020_track1", "Scenario_august_dummy", "2012-08-06", 3),
    ("l2rpn_neurips_2020_track1", "Scenario_february_dummy", "2012-02-21", 3),
    ("l2rpn_icaps_2021", "Scenario_april_17_wk1", "2012-04-08", 1),
    ("l2rpn_icaps_2021", "Scenario_august_21_wk1", "2012-08-12", 1),
)
ALL_DAYS = tuple((series, day) for series, (*_, days) in enumerate(SERIES) for day in range(days))


def _split(
    *, val: tuple[Period, ...], test: tuple[Period, ...], series: tuple[int, ...]
) -> Periods:
    """Return the days of some series, those that are neither of val nor of test for training."""
    days = tuple(day for day in ALL_DAYS if day[0] in series)
    return Periods(
        noun="day",
        splits={
            "train": tuple(day for day in days if day not in val + test),
            "val": val,
            "test": test,
            "all": days,  # for comparison with the real days, never beside the other three
        },
        places=PLACES,
        lengths={"train": 32, "val": 16, "test": 16, "all": 40},
        more=3,  # of two days there are no more than 64 scenarios
        stream=f"days of {min(series)} ",
        expected=(
            "a split and three days (series and day: "
            + ", ".join(f"{series}{day}" for series, day in days)
            + ") each for loads, wind and sun"
        ),
    )


# case36 was mined on what comes before 60 % of the first three series, so on nothing of test; on
# the days 04 and 05, and on four fifths of 11 and 21, of val
APRIL = _split(series=(0,), val=((0, 4), (0, 5), (0, 6)), test=((0, 7), (0, 8), (0, 9)))
OTHER_MONTHS = _split(series=(1, 2, 3, 4), val=((1, 1), (2, 1)), test=((1, 2), (2, 2)))

EXCHANGES = (1, 2, 6, 30, 33, 34, 35, 36)  # loads that stand for the rest of the 118 substations
WIND = (1, 5, 8, 17)  # generators
SUN = (6, 7, 9, 11, 12, 14, 15, 18)
HYDRO, LARGEST, NUCLEAR = 3, 21, 19  # they take what differs, in this order
OTHERS = (20, 16, 10, 13, 0, 2, 4)  # thermal, used last
DISPATCHED = (HYDRO, LARGEST, NUCLEAR, *OTHERS)
LOWEST = (0.0, 6.0, 220.0, *(0.0,) * len(OTHERS))  # MW, of DISPATCHED
HIGHEST = (250.0, 350.0, 399.0, 300.0, 150.0, 100.0, 100.0, 50.0, 50.0, 50.0)
MAXIMUM = {  # MW, of WIND and SUN
    **dict(zip(WIND, (67.2, 33.6, 33.6, 67.2), strict=True)),
    **dict(zip(SUN, (37.3, 37.3, 74.7, 37.3, 37.3, 74.7, 74.7, 74.7), strict=True)),
}
_MAXIMA = np.array([MAXIMUM.get(plant, 0.0) for plant in range(22)])
VOLTAGE, NUCLEAR_VOLTAGE = 147.8, 369.6  # kV
LOAD_ERROR, WIND_ERROR, SUN_ERROR, OTHER_ERROR = 0.01, 0.017, 0.025, 0.01  # of forecasts
NUM_LOADS, NUM_GENERATORS, NUM_LINES = 37, 22, 59
MAINTENANCE: dict[Period, tuple[int, ...]] = {(1, 0): (13,), (1, 1): (39,), (1, 2): (14, 18)}
MAINTENANCE_ROWS = slice(108, 204)  # 9:00 to 17:00

_SUBSTATIONS = (  # of the loads of the wcci_2020 grid, by number; the other grids add 32 and more
    *(0, 0, 1, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24),
    *(25, 26, 27, 29, 32, 33, 34, 35, 35, 35, 35),
)
LOADS = tuple(f"load_{substation}_{load}" for load, substation in enumerate(_SUBSTATIONS))
LOADS_OF_118 = (
    *("load_32_26", "interco_14_32", "interco_18_33", "load_33_27", "load_34_28", "load_35_29"),
    *("interco_29_37", "load_38_30", "load_39_31", "load_40_32", "load_41_33", "load_42_34"),
    *("load_43_35", "load_44_36", "load_45_37", "load_46_38", "load_47_39", "load_48_40"),
    *("load_49_41", "load_50_42", "load_51_43", "load_52_44", "load_53_45", "load_54_46"),
    *("load_55_47", "load_56_48", "load_57_49", "load_58_50", "load_59_51", "load_61_52"),
    *("interco_64_67", "load_65_53", "load_66_54", "interco_68_74", "interco_68_76"),
    *("interco_68_69", "interco_67_68"),
)
_PLANTS = (*(1, 7, 9, 9, 13, 16, 16, 16, 16, 21, 22, 23, 23, 23, 26, 27, 28, 29, 29, 32, 33, 35),)
GENERATORS = tuple(f"gen_{substation}_{gen}" for gen, substation in enumerate(_PLANTS))
GENERATORS_OF_118 = tuple(
    f"gen_{substation + (33 if substation == 35 else 32)}_{gen + 16}"
    for gen, substation in enumerate(_PLANTS)
)


class _Days(NamedTuple):
    """The real days, in the order of ``ALL_DAYS``."""

    load_p: np.ndarray  # [18, 288, 37] float32, MW
    load_q: np.ndarray  # [18, 288, 37] float32, MVAr
    prod_p: np.ndarray  # [18, 288, 22] float32, MW


@lru_cache(maxsize=1)
def _read_days() -> _Days:
    """Read the series from the wheel, once per process."""
    tables: dict[str, list[np.ndarray]] = {"load_p": [], "load_q": [], "prod_p": []}
    for grid, chronic, _, days in SERIES:
        folder = Path(TEST_DEV_ENVS[grid]) / "chronics" / chronic
        of_118 = grid != SERIES[0][0]
        for kind, parts in tables.items():
            names = (
                (LOADS, LOADS_OF_118)[of_118]
                if kind.startswith("load")
                else (GENERATORS, GENERATORS_OF_118)[of_118]
            )
            table = pd.read_csv(folder / f"{kind}.csv.bz2", sep=";")
            rows = table[list(names)].to_numpy(np.float32)[: days * ROWS_PER_DAY]
            missing = days * ROWS_PER_DAY - len(rows)  # the first row of 1 April
            parts.append(np.concatenate([rows[:missing], rows]))
    return _Days(
        *(
            np.concatenate(parts).reshape(len(ALL_DAYS), ROWS_PER_DAY, -1)
            for parts in tables.values()
        )
    )


def _join(days: np.ndarray, chosen: tuple[Period, ...]) -> np.ndarray:
    """Return the chosen days one after the other, bridged, and the first row once more.

    Args:
        days: ``[18, 288, N]`` of all days.
        chosen: ``[P]``.

    Returns:
        ``[P * 288 + 1, N]`` float64.
    """
    given = days[[ALL_DAYS.index(day) for day in chosen]].astype(np.float64)
    joined = given.copy()
    weights = np.arange(BRIDGE, 0, -1)[:, None] / (2 * BRIDGE + 1)
    for place in range(len(given)):
        following = (place + 1) % len(given)
        gap = given[following, 0] - given[place, -1]
        joined[place, -BRIDGE:] += gap * weights[::-1]
        joined[following, :BRIDGE] -= gap * weights
    return np.concatenate([*joined, joined[0][:1]])


def _dispatch(usual: np.ndarray, needed: np.ndarray, share: float) -> np.ndarray:
    """Return what ``DISPATCHED`` make.

    Args:
        usual: ``[T, 10]`` MW, what they make on the day of the loads.
        needed: ``[T]`` MW, what they have to make together.
        share: of what differs, what the largest thermal plant takes before the hydro plant.

    Returns:
        ``[T, 10]`` MW.
    """
    made = np.clip(usual, LOWEST, HIGHEST)

    def take(column: int, part: float = 1.0) -> None:
        differs = part * (needed - made.sum(axis=1))
        made[:, column] = np.clip(made[:, column] + differs, LOWEST[column], HIGHEST[column])

    take(1, share)
    for column in range(len(DISPATCHED)):
        take(column)
    return made


@dataclass(frozen=True, eq=False)
class RealDays:
    """Three days on 36 substations; see ``envs.scenarios.compositions.Recipe``.

    Args:
        periods: the days that they are made of.
        grids: that they are played on.
        names: of the loads, and of the generators.
        drawn_maintenance: whether each episode draws its maintenance, as the grid's own series do.
    """

    periods: Periods
    grids: tuple[str, ...]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    drawn_maintenance: bool = False
    num_loads: int = NUM_LOADS

    def fits(self, load_names: tuple[str, ...], generator_names: tuple[str, ...]) -> bool:
        """Return whether these are the loads and generators of ``grids``."""
        return (load_names, generator_names) == self.names

    def make(self, name: str, composition: Composition, variation: Variation | None) -> Scenario:
        """Return the scenario called ``name``: the days of ``composition``, scaled if varied."""
        days = _read_days()
        load_p = _join(days.load_p, composition.load)
        load_q = _join(days.load_q, composition.load)
        usual = _join(days.prod_p, composition.load)
        prod_p = np.zeros_like(usual)
        prod_p[:, WIND] = _join(days.prod_p[..., WIND], composition.wind)
        prod_p[:, SUN] = _join(days.prod_p[..., SUN], composition.sun)
        over_load = usual.sum(axis=1) / load_p.sum(axis=1)
        share = 0.0
        if variation is not None:
            load_p, load_q = load_p * variation.load, load_q * variation.load
            largest = np.maximum(prod_p, _MAXIMA)  # real series exceed the maxima, too
            prod_p[:, WIND] *= variation.wind
            prod_p[:, SUN] *= variation.sun
            prod_p = np.minimum(prod_p, largest)
            share = variation.random.uniform()
        produced = over_load * load_p.sum(axis=1)
        renewable = prod_p.sum(axis=1)
        prod_p *= np.minimum(1.0, (produced - sum(LOWEST)) / renewable)[:, None]  # curtailed
        needed = produced - prod_p.sum(axis=1)
        prod_p[:, DISPATCHED] = _dispatch(usual[:, DISPATCHED], needed, share)
        random = np.random.RandomState(digest(name))
        foreseen = foresee(np.ones_like(load_p), random, _load_errors())
        prod_v = np.full(NUM_GENERATORS, VOLTAGE, np.float32)
        prod_v[NUCLEAR] = NUCLEAR_VOLTAGE
        prod_v = np.broadcast_to(prod_v, prod_p.shape)
        series, day = composition.load[0]
        return Scenario(
            name=name,
            prod_v=prod_v,
            prod_v_forecast=prod_v,
            start=np.datetime64(f"{SERIES[series][2]}T00:00", "m") + np.timedelta64(day, "D"),
            maintenance=_maintenance(composition.sun),
            maintenance_plan=_maintenance_plan() if self.drawn_maintenance else None,
            **read_only(
                load_p=load_p,
                load_q=load_q,
                prod_p=prod_p,
                load_p_forecast=foresee(load_p, random, 0.0) * foreseen,
                load_q_forecast=foresee(load_q, random, 0.0) * foreseen,
                prod_p_forecast=foresee(prod_p, random, _production_errors()),
            ),
        )


def _load_errors() -> np.ndarray:
    errors = np.full(NUM_LOADS, LOAD_ERROR)
    errors[list(EXCHANGES)] = 0.0
    return errors


def _production_errors() -> np.ndarray:
    errors = np.full(NUM_GENERATORS, OTHER_ERROR)
    errors[list(WIND)] = WIND_ERROR
    errors[list(SUN)] = SUN_ERROR
    return errors


@lru_cache(maxsize=1)
def _maintenance_plan() -> MaintenancePlan:
    """Return how ``l2rpn_wcci_2020`` draws maintenance."""
    grid, chronic, *_ = SERIES[0]
    path = Path(TEST_DEV_ENVS[grid]) / "chronics" / chronic / META_FILE
    return read_maintenance_plan(path, grid_columns(grid).line_names)


def _maintenance(days: tuple[Period, ...]) -> np.ndarray | None:
    """Return ``[T, L]`` bool, the lines under maintenance, None where there are none."""
    if not any(day in MAINTENANCE for day in days):
        return None
    out = np.zeros((len(days), ROWS_PER_DAY, NUM_LINES), dtype=np.bool_)
    for place, day in enumerate(days):
        out[place, MAINTENANCE_ROWS, list(MAINTENANCE.get(day, ()))] = True
    out = np.concatenate([*out, out[0][:1]])
    out.flags.writeable = False
    return out


WCCI_2020 = RealDays(APRIL, ("l2rpn_wcci_2020",), (LOADS, GENERATORS), drawn_maintenance=True)
TRACK_1 = RealDays(
    OTHER_MONTHS,
    ("l2rpn_neurips_2020_track1", "l2rpn_icaps_2021"),
    (LOADS_OF_118, GENERATORS_OF_118),
)
