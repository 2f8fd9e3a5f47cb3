"""Opens grids in grid2op, and checks names and parameters."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import grid2op
import numpy as np
from grid2op.Environment import Environment
from grid2op.Exceptions import Grid2OpException
from grid2op.MakeEnv.Make import TEST_DEV_ENVS
from grid2op.Parameters import Parameters
from lightsim2grid import LightSimBackend

from envs.grid.blackout_text import what_it_says
from envs.scenarios.base import Scenario
from envs.scenarios.chronics import ScenarioChronics
from powergrid_muzero.checks import closed_if_refused, is_number
from powergrid_muzero.names import choose


class GridColumns(NamedTuple):
    """Names of a grid's elements in its own order: the columns of every series played on it."""

    load_names: tuple[str, ...]  # [D]
    generator_names: tuple[str, ...]  # [G]
    line_names: tuple[str, ...]  # [L]
    generator_voltages: tuple[float, ...]  # [G] kV, set points of the grid file
    names_in_files: Mapping[str, Mapping[str, str]]  # "loads", "prods", "lines": file -> grid


_COLUMNS: dict[str, GridColumns] = {}  # of the grids that this process has opened


def check_grid_name(grid: Any) -> str:
    """Return ``grid`` as a str: a name, or the path of a folder.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(grid, str | os.PathLike):
        raise ValueError(f"grid must be a name or a folder, but is {grid!r}")
    return str(grid)


def grid_folder(grid: str) -> Path:
    """Return the folder of ``grid``: a name that grid2op knows, or the path of such a folder.

    Grids in the grid2op wheel come before those that grid2op downloaded: the grid is the same, and
    the wheel's needs no network.

    Raises:
        ValueError: there is no such grid; the message names the nearest one.
    """
    grid = check_grid_name(grid)
    if grid in TEST_DEV_ENVS:
        return Path(TEST_DEV_ENVS[grid])
    given = Path(grid).expanduser()
    if _is_grid_folder(given):
        return given
    local = Path(grid2op.get_current_local_dir())
    downloaded = [p.name for p in sorted(local.glob("*")) if _is_grid_folder(p)]
    return local / choose("grid", grid, [*TEST_DEV_ENVS, *downloaded])


def absolute_grid(grid: str) -> str:
    """Return ``grid``, made absolute where it is the path of a folder and no name."""
    given = Path(grid).expanduser()
    is_path = grid not in TEST_DEV_ENVS and _is_grid_folder(given)
    return str(given.absolute()) if is_path else grid


def _is_grid_folder(path: Path) -> bool:
    return (path / "config.py").is_file() and (path / "grid.json").is_file()


def make_grid2op(
    grid: str,
    *,
    parameters: Parameters | Mapping[str, Any] | None = None,
    chronics_class: type | None = ScenarioChronics,
    **options: Any,
) -> Environment:
    """Open ``grid`` in grid2op with the lightsim2grid power flow.

    Call ``set_scenario(env, scenario)`` and then ``env.reset()``: parameters and scenario take
    effect there.

    Args:
        grid: name or folder, see ``grid_folder``.
        parameters: values that differ from the grid's own, such as ``{"MAX_SUB_CHANGED": 2}``, for
            the simulator and its forecasts; or a whole ``Parameters`` object.
        chronics_class: where rows come from; None for the grid's own files.
        options: what else ``grid2op.make`` takes, such as ``reward_class`` or the opponent's.

    Raises:
        ValueError: no such grid or parameter, or an option that grid2op refuses.
    """
    if chronics_class is not None:
        options["chronics_class"] = chronics_class
    options.setdefault("backend", LightSimBackend())
    folder = grid_folder(grid)
    with warnings.catch_warnings():
        # test=True says "the grid in the wheel", which is the very one we want
        warnings.filterwarnings("ignore", message="You are using a development environment")
        name = grid if grid in TEST_DEV_ENVS else str(folder)
        try:
            env = grid2op.make(name, test=grid in TEST_DEV_ENVS, **options)
        except Grid2OpException as error:
            said = what_it_says(error)
            raise ValueError(f"grid2op cannot open grid {grid!r}: {said}") from error
        except (AttributeError, TypeError) as error:  # it takes the types of options as given
            raise ValueError(
                f"grid2op cannot open grid {grid!r} with {', '.join(options)}: {error}"
            ) from error
    if chronics_class is ScenarioChronics:  # it leaves the grid file's own voltages in place
        _COLUMNS.setdefault(grid, _columns(env))
    if parameters is not None:
        with closed_if_refused(env):
            parameters = _merge(env.parameters, parameters)
            env.change_parameters(parameters)
            env.change_forecast_parameters(parameters)
    return env


def set_scenario(env: Environment, scenario: Scenario, first_row: int = 0) -> None:
    """Choose what the next ``env.reset()`` plays, from row ``first_row`` of ``scenario`` on.

    Raises:
        ValueError: the scenario is of another grid, or has no step left after ``first_row``; or the
            environment is not from ``make_grid2op``.
    """
    chronics = env.chronics_handler.real_data
    if not isinstance(chronics, ScenarioChronics):
        raise ValueError(
            f"this environment plays {type(chronics).__name__}, not scenarios: open it with "
            "envs.scenarios.make_grid2op"
        )
    chronics.set_scenario(scenario, first_row)
    # grid2op fixes this when the environment is made; without it ``max_step`` of a simulated
    # observation is not that of the scenario
    forecaster = env.observation_space.obs_env
    if forecaster is not None:
        forecaster._max_episode_duration = env.chronics_handler.max_episode_duration()


def _merge(own: Parameters, given: Parameters | Mapping[str, Any]) -> Parameters:
    if isinstance(given, Parameters):
        return given
    merged = Parameters()
    merged.init_from_dict({**own.to_dict(), **check_parameters(given)})
    return merged


def check_parameters(given: Any) -> dict[str, Any]:
    """Return grid2op ``Parameters`` that differ from the grid's, {} for None.

    Raises:
        ValueError: no dict, no such parameter, a value of another type than the parameter's, or one
            that grid2op refuses.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(
            f'parameters of the grid must be a dict such as {{"NB_TIMESTEP_COOLDOWN_SUB": 3}}, but '
            f"are {given!r}"
        )
    checked = {name: _check_parameter(name, value) for name, value in given.items()}
    usual = Parameters()
    try:
        usual.init_from_dict({**_PARAMETERS, **checked})
        usual.check_valid()
    except (RuntimeError, OverflowError) as error:
        raise ValueError(f"parameters of the grid {dict(given)}: {error}") from None
    return checked


def _check_parameter(name: str, value: Any) -> Any:
    usual = _PARAMETERS[choose("parameter of the grid", name, _PARAMETERS)]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(usual, bool):
        right, kind = isinstance(value, bool), "True or False"
    elif isinstance(value, bool):
        right, kind = False, "a number"
    elif isinstance(usual, int):
        right, kind = isinstance(value, int), "an integer"
    else:
        right, kind = is_number(value) and math.isfinite(value), "a finite number"
    if right and name == "SOFT_OVERFLOW_THRESHOLD" and value <= 0:  # grid2op would take it
        right, kind = False, "above 0"
    if not right:
        raise ValueError(f"parameter {name} of the grid must be {kind}, but is {value!r}")
    return value


_PARAMETERS: Mapping[str, Any] = Parameters().to_dict()  # as grid2op has them


def grid_columns(grid: str) -> GridColumns:
    """Return the names of the grid's elements, in its order.

    Takes about 1 s, once per process, unless ``make_grid2op`` has opened the grid before.
    """
    if grid not in _COLUMNS:
        make_grid2op(grid).close()
    return _COLUMNS[grid]


def _columns(env: Environment) -> GridColumns:
    return GridColumns(
        load_names=tuple(str(name) for name in env.name_load),
        generator_names=tuple(str(name) for name in env.name_gen),
        line_names=tuple(str(name) for name in env.name_line),
        generator_voltages=tuple(float(kv) for kv in env.backend.generators_info()[2]),
        names_in_files=dict(env._names_chronics_to_backend or {}),
    )
