"""Maintenance that is drawn in each episode is the one that grid2op draws."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grid2op.Chronics import GridStateFromFileWithForecastsWithMaintenance as Theirs

from envs.scenarios import BundledSource, Scenario, export_scenarios, make_grid2op
from envs.scenarios.files import read_scenario
from envs.scenarios.grid2op_grids import grid_folder
from envs.scenarios.maintenance import (
    MaintenancePlan,
    _seed_of_scenario,
    read_maintenance_plan,
)

WCCI_2020 = "l2rpn_wcci_2020"
SOME = (1, 2)  # seeds without and with maintenance in its ten days

META = {
    "maintenance_starting_hour": 9,
    "maintenance_ending_hour": 17,
    "line_to_maintenance": ["b", "a"],
    "daily_proba_per_month_maintenance": [0.5] * 12,
    "max_daily_number_per_month_maintenance": [1] * 12,
}


def test_follows_from_the_seed_as_in_grid2op():
    env: Any = make_grid2op(WCCI_2020, chronics_class=None)
    scenario, drawn = BundledSource(WCCI_2020).load("Scenario_april_000"), []
    for seed in SOME:
        env.reset(seed=seed)
        theirs = env.chronics_handler.real_data.data.maintenance
        ours = scenario.drawn(seed).maintenance
        drawn.append(ours is not None)
        np.testing.assert_array_equal(np.zeros_like(theirs) if ours is None else ours, theirs)
    env.close()
    assert drawn == [False, True]


@pytest.mark.parametrize("start", ["2035-08-20T00:00", "2035-06-28T07:35"])
def test_is_drawn_as_grid2op_draws_it(start: str):
    """Days of two months, and more lines than may be out at a time."""
    folder = grid_folder("l2rpn_idf_2023")
    meta = json.loads((folder / "maintenance_meta.json").read_text())
    meta["daily_proba_per_month_maintenance"] = [0.2] * 12
    names = tuple(sorted(meta["line_to_maintenance"])) + ("another",)
    plan = MaintenancePlan(
        lines=tuple(range(len(names) - 1)),
        num_lines=len(names),
        first_hour=9,
        last_hour=17,
        chance=(0.2,) * 12,
        most=tuple(meta["max_daily_number_per_month_maintenance"]),
    )
    clock, rows = np.datetime64(start, "m"), 2000
    for seed in range(3):
        theirs = Theirs._generate_matenance_static(
            np.array(names),
            rows,
            set(meta["line_to_maintenance"]),
            timedelta(minutes=5),
            clock.item(),
            meta["maintenance_starting_hour"],
            meta["maintenance_ending_hour"],
            meta["daily_proba_per_month_maintenance"],
            meta["max_daily_number_per_month_maintenance"],
            np.random.RandomState(_seed_of_scenario(seed)),
        )
        ours = plan.draw(seed, start=clock, minutes_per_step=5, rows=rows)
        assert ours is not None
        np.testing.assert_array_equal(ours, theirs)


def test_is_shared_by_nobody_and_follows_from_the_seed():
    scenario = BundledSource(WCCI_2020).load("Scenario_april_000")
    assert scenario.maintenance is None
    one, again, other = (scenario.drawn(seed) for seed in (SOME[1], SOME[1], 3))
    assert one.maintenance is not None and other.maintenance is not None
    np.testing.assert_array_equal(one.maintenance, again.maintenance)
    assert (one.maintenance != other.maintenance).any()
    assert one.load_p is scenario.load_p
    kept = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one.maintenance, kept.maintenance)
    assert kept.maintenance_plan == scenario.maintenance_plan


def test_there_is_none_in_months_without():
    april = BundledSource(WCCI_2020).load("Scenario_april_000")
    scenario = replace(april, start=np.datetime64("2012-01-09T00:00", "m"))
    assert scenario.maintenance_plan is not None
    assert scenario.drawn(3) is scenario


def test_hours_limits_and_weekdays_hold(tmp_path: Path):
    path = tmp_path / "maintenance_meta.json"
    path.write_text(json.dumps({**META, "maintenance_day_of_week": [6]}))
    plan = read_maintenance_plan(path, ("a", "b", "c"))
    start = np.datetime64("2024-06-01T00:00", "m")  # a Saturday
    for seed in range(20):
        out = plan.draw(seed, start=start, minutes_per_step=5, rows=3 * 288)
        if out is not None:
            break
    else:
        pytest.fail("nothing was ever drawn")
    rows, lines = np.nonzero(out)
    assert set(rows) == set(range(288 + 9 * 12, 288 + 17 * 12))  # Sunday, from 9 to 17
    assert len(set(lines)) == 1 and 2 not in lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"line_to_maintenance": ["a", "d"]}, "unknown line under maintenance 'd'"),
        ({"maintenance_starting_hour": 25}, "maintenance_starting_hour must be an hour"),
        ({"daily_proba_per_month_maintenance": [0.1]}, "must be a list of 12 numbers"),
        ({"daily_proba_per_month_maintenance": [1.5] * 12}, "must be a list of 12 numbers"),
        ({"max_daily_number_per_month_maintenance": [0.5] * 12}, "must be a list of 12 numbers"),
        ({"maintenance_ending_hour": None}, "maintenance_ending_hour must be an hour"),
    ],
)
def test_refuses_what_is_no_plan(tmp_path: Path, change: dict[str, Any], message: str):
    path = tmp_path / "maintenance_meta.json"
    path.write_text(json.dumps({**META, **change}))
    with pytest.raises(ValueError, match=message) as refused:
        read_maintenance_plan(path, ("a", "b", "c"))
    assert str(path) in str(refused.value)


def test_refuses_a_file_cut_short(tmp_path: Path):
    path = tmp_path / "maintenance_meta.json"
    path.write_text(json.dumps(META)[:-20])
    with pytest.raises(ValueError, match="not a JSON file"):
        read_maintenance_plan(path, ("a", "b", "c"))
    path.write_text(json.dumps({"maintenance_ending_hour": 17}))
    with pytest.raises(ValueError, match="'line_to_maintenance' is missing"):
        read_maintenance_plan(path, ("a", "b", "c"))


@dataclass(frozen=True)
class _Short:
    """A day of the scenario of l2rpn_wcci_2020; with "plain" in its name, without maintenance."""

    def names(self, split: str) -> tuple[str, ...]:
        return "drawn", "plain"

    def draw(self, split: str, rng: np.random.Generator) -> str:
        return "drawn"

    def load(self, name: str) -> Scenario:
        whole = BundledSource(WCCI_2020).load("Scenario_april_000")
        series = {
            key: value[:289] for key, value in vars(whole).items() if isinstance(value, np.ndarray)
        }
        plan = None if name == "plain" else whole.maintenance_plan
        return replace(whole, name=name, maintenance_plan=plan, **series)


def test_is_exported_to_be_drawn_again(tmp_path: Path):
    folder = export_scenarios(_Short(), tmp_path / "new", grid=WCCI_2020, names=["drawn"])
    scenario = read_scenario(folder / "chronics" / "drawn", "drawn", WCCI_2020)
    assert scenario.maintenance_plan == _Short().load("drawn").maintenance_plan
    config = (folder / "config.py").read_text()
    assert config.count("GridStateFromFileWithForecastsWithMaintenance\n") == 2
    with pytest.raises(ValueError, match="export them into two folders"):
        export_scenarios(_Short(), tmp_path / "other", grid=WCCI_2020, names=["drawn", "plain"])
    assert not (tmp_path / "other").exists()
