"""Where load and generation come from: a scenario is one month, week or day of them.

- ``base``: what a scenario is, what a source of scenarios offers.
- ``recombined``: months made of the real weeks inside the grid2op wheel (the default).
- ``chronics``, ``grids``: playing a scenario in grid2op.
"""

from envs.names import choose
from envs.scenarios.base import SPLITS
from envs.scenarios.base import Scenario
from envs.scenarios.base import ScenarioSource
from envs.scenarios.chronics import ScenarioChronics
from envs.scenarios.grids import make_grid2op
from envs.scenarios.grids import set_scenario
from envs.scenarios.recombined import RecombinedSource

__all__ = [
    "SPLITS",
    "RecombinedSource",
    "Scenario",
    "ScenarioChronics",
    "ScenarioSource",
    "make_grid2op",
    "make_source",
    "set_scenario",
]


def make_source(
    name: str, *, grid: str = "l2rpn_case14_sandbox", folder: str | None = None
) -> ScenarioSource:
    """Return the source of scenarios called ``name`` for ``grid``.

    Args:
        name: "recombined".
        grid: the grid that the scenarios are played on.
        folder: not used by "recombined".

    Raises:
        ValueError: no such source (the nearest one is named), or it does not fit the grid.
    """
    choose("scenarios", name, ("recombined",))
    return RecombinedSource(grid)
