"""Scenarios: load and generation over a month, a week or a day.

- ``base``: what a scenario is, and what a source of scenarios offers.
- ``recombined``: made of the real weeks or days inside the grid2op wheel (the default), which are
  in ``sandbox_months`` (14 substations) and ``real_days`` (36), and composed by ``compositions``.
- ``varied``: those with loads, wind and sun scaled at random, to train on.
- ``recombined_more``, ``varied_more``: the same two, with other and longer lists.
- ``bundled``: the short ones that ship with a grid.
- ``dataset``: grid2op's downloaded data sets, or a folder in their format.
- ``chronics``, ``grid2op_grids``: playing a scenario in grid2op.
- ``maintenance``: outages drawn at random in each episode.
- ``files``, ``export``: reading and writing grid2op's format.
"""

from functools import partial

from envs.scenarios.base import SPLITS, Scenario, ScenarioSource
from envs.scenarios.bundled import BundledSource
from envs.scenarios.chronics import ScenarioChronics
from envs.scenarios.dataset import DatasetSource
from envs.scenarios.export import export_scenarios
from envs.scenarios.grid2op_grids import (
    absolute_grid,
    check_grid_name,
    check_parameters,
    make_grid2op,
    set_scenario,
)
from envs.scenarios.recombined import RecombinedSource
from envs.scenarios.varied import VariedSource
from powergrid_muzero.names import choose

__all__ = [
    "SPLITS",
    "BundledSource",
    "DatasetSource",
    "RecombinedSource",
    "Scenario",
    "ScenarioChronics",
    "ScenarioSource",
    "VariedSource",
    "absolute_grid",
    "check_grid_name",
    "check_parameters",
    "export_scenarios",
    "find_source",
    "make_grid2op",
    "make_source",
    "set_scenario",
]

_SOURCES = {
    "recombined": RecombinedSource,
    "recombined_more": partial(RecombinedSource, more=True),
    "varied": VariedSource,
    "varied_more": partial(VariedSource, more=True),
    "bundled": BundledSource,
}


def find_source(
    scenarios: str | ScenarioSource, *, grid: str, folder: str | None
) -> ScenarioSource:
    """Return ``scenarios`` itself, or the source of that name, see ``make_source``.

    Raises:
        ValueError: it is neither, or a source beside a folder.
    """
    if isinstance(scenarios, str):
        return make_source(scenarios, grid=grid, folder=folder)
    if isinstance(scenarios, type) or not isinstance(scenarios, ScenarioSource):
        raise ValueError(
            f"scenarios must be one of {', '.join((*_SOURCES, 'dataset'))}, or a ScenarioSource "
            f"with names(), draw() and load(), but is {scenarios!r}"
        )
    if folder is not None:
        raise ValueError(
            f"scenario_folder is for scenarios='dataset' (got {folder!r} beside a source)"
        )
    return scenarios


def make_source(
    name: str, *, grid: str = "l2rpn_case14_sandbox", folder: str | None = None
) -> ScenarioSource:
    """Return the source of scenarios called ``name`` for ``grid``.

    Args:
        name: "recombined", "varied", "bundled" or "dataset"; with "_more" the first two have
            other, longer lists to be evaluated on.
        grid: the grid that the scenarios are played on.
        folder: for "dataset", a folder in grid2op's format; None for what grid2op downloaded.

    Raises:
        ValueError: no such source (the nearest one is named), or it does not fit the grid.
    """
    choose("scenarios", name, (*_SOURCES, "dataset"))
    if name == "dataset":
        return DatasetSource(grid, folder)
    if folder is not None:
        raise ValueError(f"scenarios {name!r} take no folder (got {folder!r}): use 'dataset'")
    return _SOURCES[name](grid)
