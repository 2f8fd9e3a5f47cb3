from .decision_gate import UNGATED, lines_at_risk
from .fast.forecast_planner import ForecastPlanner, PlannedStep
from .fast.infos import as_infos
from .fast.rollouts import ForecastRollouts, Foresight, Rollouts, Steps
from .fast.vector import PowerGridVectorEnv
from .grid.action_sets import (
    ActionSet,
    PowerSettings,
    Wiring,
    line_switches,
    merge_action_sets,
    substation_splits,
    write_action_set,
)
from .grid.actions import DO_NOTHING, REFERENCE_BUSBAR, ActionCatalogue
from .grid.observations import OBSERVATIONS, FeaturesEncoder
from .grid.picture import GridPicture, draw_grid, drawn_positions, generator_kinds
from .grid.rewards import REWARDS
from .grid.state import GridLayout, GridState, Lookahead
from .make import make_power_grid
from .opponents.named import OPPONENTS, make_opponent
from .reference.grid_description import (
    GridDescription,
    absolute_actions,
    describe_grid,
    find_action_set,
    grid_wiring,
)
from .reference.observed_grid import ObservedPowerGrid
from .reference.power_grid import ENV_ID, PARAMETERS, PowerGridEnv
from .reference.wrappers import IdleGate, ReconnectLines
from .scenarios import make_source
from .scenarios.base import SPLITS, Scenario, ScenarioSource
from .scenarios.export import export_scenarios
from .scenarios.grid2op_grids import absolute_grid, make_grid2op

__all__ = [
    "DO_NOTHING",
    "ENV_ID",
    "OBSERVATIONS",
    "OPPONENTS",
    "PARAMETERS",
    "REFERENCE_BUSBAR",
    "REWARDS",
    "SPLITS",
    "UNGATED",
    "ActionCatalogue",
    "ActionSet",
    "FeaturesEncoder",
    "ForecastPlanner",
    "ForecastRollouts",
    "Foresight",
    "GridDescription",
    "GridLayout",
    "GridPicture",
    "GridState",
    "IdleGate",
    "Lookahead",
    "ObservedPowerGrid",
    "PlannedStep",
    "PowerGridEnv",
    "PowerGridVectorEnv",
    "PowerSettings",
    "ReconnectLines",
    "Rollouts",
    "Scenario",
    "ScenarioSource",
    "Steps",
    "Wiring",
    "absolute_actions",
    "absolute_grid",
    "as_infos",
    "describe_grid",
    "draw_grid",
    "drawn_positions",
    "export_scenarios",
    "find_action_set",
    "generator_kinds",
    "grid_wiring",
    "line_switches",
    "lines_at_risk",
    "make_grid2op",
    "make_opponent",
    "make_power_grid",
    "make_source",
    "merge_action_sets",
    "substation_splits",
    "write_action_set",
]
