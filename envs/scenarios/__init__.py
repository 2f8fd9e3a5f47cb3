"""Where load and generation come from."""

from envs.scenarios.base import SPLITS
from envs.scenarios.base import Scenario
from envs.scenarios.base import ScenarioSource
from envs.scenarios.chronics import ScenarioChronics
from envs.scenarios.grids import make_grid2op
from envs.scenarios.grids import set_scenario

__all__ = [
    "SPLITS",
    "Scenario",
    "ScenarioChronics",
    "ScenarioSource",
    "make_grid2op",
    "set_scenario",
]
