"""Writes scenarios as a grid2op environment folder."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from envs.scenarios.base import Scenario, ScenarioSource
from envs.scenarios.grid2op_grids import GridColumns, grid_columns, grid_folder
from envs.scenarios.maintenance import write_maintenance_plan

_CONFIG = """

# the scenarios in this folder are plain files, whatever the grid's own were
from grid2op.Chronics import {series}, Multifolder

config["chronics_class"] = Multifolder
config["grid_value_class"] = {series}
config["names_chronics_to_grid"] = None
config.pop("data_feeding_kwargs", None)
"""


def export_scenarios(
    source: ScenarioSource,
    folder: str | Path,
    *,
    grid: str = "l2rpn_case14_sandbox",
    names: Sequence[str],
) -> Path:
    """Write scenarios as an environment folder that ``grid2op.make(folder, ...)`` opens.

    The folder gets the grid's own files and one folder of compressed tables a scenario (1 s each
    month); it appears only when all is written.

    Args:
        source: where the scenarios come from.
        folder: where to; must not exist, or be empty.
        grid: the grid of the scenarios.
        names: the scenarios, in ``source``.

    Returns:
        The folder's path.

    Raises:
        ValueError: the folder is not empty, there is no scenario to write, a name is wrong or
            there twice, or only some of the scenarios draw their maintenance anew in each episode.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not an empty folder: give one that does not exist yet")
    if not names:
        raise ValueError("no scenarios to export: give the names of one or more")
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"scenario {name!r} is there {count} times; give each once")
    columns = grid_columns(grid)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        shutil.copytree(
            grid_folder(grid), partial, ignore=shutil.ignore_patterns("chronics", "__pycache__")
        )
        for path in (partial, *partial.rglob("*")):  # grid2op's may be installed read-only
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
        drawn = {
            _write_scenario(source.load(name), partial / "chronics" / name, columns)
            for name in names
        }
        if len(drawn) > 1:
            raise ValueError(
                "some of these scenarios draw their maintenance anew in each episode, and some "
                "have theirs in a file: export them into two folders"
            )
        series = "GridStateFromFileWithForecasts" + "WithMaintenance" * drawn.pop()
        with (partial / "config.py").open("a") as config:
            config.write(_CONFIG.format(series=series))
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_scenario(scenario: Scenario, folder: Path, columns: GridColumns) -> bool:
    """Write a scenario; return whether its maintenance is drawn in each episode."""
    folder.mkdir(parents=True)
    series = {
        "load_p": scenario.load_p,
        "load_q": scenario.load_q,
        "prod_p": scenario.prod_p,
        "prod_v": scenario.prod_v,
        "load_p_forecasted": scenario.load_p_forecast,
        "load_q_forecasted": scenario.load_q_forecast,
        "prod_p_forecasted": scenario.prod_p_forecast,
        "prod_v_forecasted": scenario.prod_v_forecast,
    }
    if scenario.maintenance is not None and scenario.maintenance_plan is None:
        series["maintenance"] = scenario.maintenance.astype(np.int8)
    if scenario.hazards is not None:
        series["hazards"] = scenario.hazards.astype(np.int8)
    names = {
        "load": columns.load_names,
        "prod": columns.generator_names,
    }
    for kind, values in series.items():
        table = pd.DataFrame(values, columns=pd.Index(names.get(kind[:4], columns.line_names)))
        table.to_csv(folder / f"{kind}.csv.bz2", sep=";", index=False)
    interval = timedelta(minutes=scenario.minutes_per_step)
    # grid2op's clock moves before the first row is read
    start = scenario.start.astype("datetime64[s]").item() - interval
    (folder / "start_datetime.info").write_text(f"{start:%Y-%m-%d %H:%M}\n")
    clock = datetime(2000, 1, 1) + interval
    (folder / "time_interval.info").write_text(f"{clock:%H:%M}\n")
    plan = scenario.maintenance_plan
    if plan is not None:
        write_maintenance_plan(plan, folder, columns.line_names)
    return plan is not None
