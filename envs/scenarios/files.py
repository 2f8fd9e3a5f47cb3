"""Reads a scenario from a folder in grid2op's format.

Such a folder holds a table per series (``load_p``, ``load_q``, ``prod_p``, ``prod_v``, the same
four with ``_forecasted``, ``maintenance``, ``hazards``; one row a step, one column an element,
separated by semicolons, plain or compressed), ``start_datetime.info`` and ``time_interval.info``:
see ``grid2op.Chronics.GridStateFromFileWithForecasts``.

What may be missing, and what is played then: ``prod_v`` (the set points of the grid file), a
forecast (persistence: it foresees the present values), ``maintenance`` and ``hazards`` (none),
``start_datetime.info`` (2018-12-31 23:55) and ``time_interval.info`` (five minutes), as in grid2op.
Of forecasts with several horizons the first is taken. Where there is ``maintenance_meta.json``,
maintenance is drawn in each episode and ``maintenance`` is not read, as
``GridStateFromFileWithForecastsWithMaintenance`` does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from envs.scenarios.base import Scenario
from envs.scenarios.grid2op_grids import grid_columns
from envs.scenarios.maintenance import META_FILE, read_maintenance_plan

COMPRESSIONS = {
    ".csv": None,
    ".csv.bz2": "bz2",
    ".zip": "zip",
    ".csv.gzip": "gzip",
    ".csv.xz": "xz",
}


def find_series(folder: Path, series: str) -> Path | None:
    """Return the file of ``series`` in ``folder``, None if there is none."""
    for ending in COMPRESSIONS:
        path = folder / f"{series}{ending}"
        if path.is_file():
            return path
    return None


def stamp(path: str | Path) -> tuple[int, ...]:
    """Return what changes when a file is written, or entries come to or leave a folder.

    It is empty where there is nothing.
    """
    try:
        return _stamp(os.stat(path))
    except OSError:
        return ()


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_nlink


def read_scenario(folder: Path, name: str, grid: str) -> Scenario:
    """Read the scenario in ``folder`` (0.1 s); the latest 64 are kept and shared.

    They are read again when a file in the folder has changed since.

    Raises:
        ValueError: a series is missing, ragged, not numbers, or of another grid; the message names
            the file and the column, and what was expected.
    """
    try:
        with os.scandir(folder) as entries:
            stamps = frozenset((entry.name, _stamp(entry.stat())) for entry in entries)
    except OSError:
        stamps = frozenset()
    return _read_scenario(folder, name, grid, stamps)


@lru_cache(maxsize=64)  # 2 MB each on a grid of 14 substations
def _read_scenario(
    folder: Path, name: str, grid: str, stamps: frozenset[tuple[str, tuple[int, ...]]]
) -> Scenario:
    del stamps  # part of the cache's key
    columns = grid_columns(grid)
    names = {
        "load": (columns.load_names, columns.names_in_files.get("loads", {})),
        "prod": (columns.generator_names, columns.names_in_files.get("prods", {})),
    }
    series: dict[str, np.ndarray] = {}
    for kind in ("load_p", "load_q", "prod_p"):
        path = find_series(folder, kind)
        if path is None:
            raise ValueError(
                f"scenario folder {folder}: there is no {kind}.csv (nor {kind}.csv.bz2); expected "
                "load_p, load_q and prod_p, as grid2op writes them"
            )
        series[kind] = _read_table(path, *names[kind[:4]], grid=grid)
        _check_rows(path, series[kind], expected=len(series["load_p"]))
    rows = len(series["load_p"])
    if rows < 2:
        raise ValueError(f"scenario folder {folder}: {rows} rows make no step; expected 2 or more")
    meta = folder / META_FILE
    plan = read_maintenance_plan(meta, columns.line_names) if meta.is_file() else None
    for kind in ("prod_v", "maintenance", "hazards"):
        path = find_series(folder, kind)
        if path is None or (kind == "maintenance" and plan is not None):
            continue
        elements = names.get(
            kind[:4], (columns.line_names, columns.names_in_files.get("lines", {}))
        )
        series[kind] = _read_table(path, *elements, grid=grid)
        _check_rows(path, series[kind], expected=rows)
    if "prod_v" not in series:
        voltages = np.asarray(columns.generator_voltages, dtype=np.float32)
        series["prod_v"] = np.tile(voltages, (rows, 1))
    for kind in ("load_p", "load_q", "prod_p", "prod_v"):
        path = find_series(folder, f"{kind}_forecasted")
        if path is None:
            series[f"{kind}_forecast"] = series[kind]
            continue
        table = _read_table(path, *names[kind[:4]], grid=grid)
        horizons = max(1, len(table) // rows)
        _check_rows(path, table, expected=rows * horizons)
        series[f"{kind}_forecast"] = np.ascontiguousarray(table[::horizons])
    outages = {
        kind: np.abs(series.pop(kind)) > 0 for kind in ("maintenance", "hazards") if kind in series
    }
    for values in (*series.values(), *outages.values()):
        values.flags.writeable = False
    minutes = _minutes_per_step(folder)
    return Scenario(
        name=name,
        # grid2op's clock moves before the first row is read
        start=_start(folder) + np.timedelta64(minutes, "m"),
        minutes_per_step=minutes,
        maintenance_plan=plan,
        **series,
        **{kind: values for kind, values in outages.items() if values.any()},
    )


def _read_table(
    path: Path, names: tuple[str, ...], names_in_files: Mapping[str, str], *, grid: str
) -> np.ndarray:
    """Return ``[T, len(names)]`` float32, columns in the order of ``names``."""
    ending = path.name[path.name.index(".") :]
    try:
        table = pd.read_csv(path, sep=";", compression=COMPRESSIONS[ending])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: not a table separated by semicolons ({error})") from error
    given = [names_in_files.get(column, column) for column in table.columns]
    for column in given:
        if column not in names:
            raise ValueError(
                f"{path}: column {column!r} is not of grid {grid!r}; expected the {len(names)} "
                f"columns {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
            )
    for name in names:
        if given.count(name) != 1:
            raise ValueError(
                f"{path}: column {name!r} is there {given.count(name)} times; expected each of "
                f"the {len(names)} columns of grid {grid!r} once"
            )
    table.columns = pd.Index(given)
    for name in names:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(f"{path}: column {name!r} holds text; expected numbers only")
    values = table[list(names)].to_numpy(np.float32)
    broken = np.argwhere(~np.isfinite(values))
    if len(broken):
        row, column = broken[0]
        raise ValueError(
            f"{path}: column {names[column]!r} is {values[row, column]} in row {row} (of rows "
            f"0..{len(values) - 1}); expected finite numbers only"
        )
    return values


def _check_rows(path: Path, values: np.ndarray, *, expected: int) -> None:
    if len(values) != expected:
        raise ValueError(
            f"{path}: {len(values)} rows; expected {expected}, as many as load_p has (forecasts: "
            "that many times the number of horizons)"
        )


def _read_info(path: Path, formats: tuple[str, ...]) -> datetime | None:
    if not path.is_file():
        return None
    text = path.read_text().strip()
    for form in formats:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    raise ValueError(f"{path}: {text!r}; expected a date or time such as {formats[0]}")


def _start(folder: Path) -> np.datetime64:
    start = _read_info(folder / "start_datetime.info", ("%Y-%m-%d %H:%M", "%Y-%m-%d"))
    return np.datetime64(start or datetime(2018, 12, 31, 23, 55), "m")


def _minutes_per_step(folder: Path) -> int:
    interval = _read_info(folder / "time_interval.info", ("%H:%M", "%M"))
    return 5 if interval is None else 60 * interval.hour + interval.minute
