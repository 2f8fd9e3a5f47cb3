"""Power-grid control as a Gymnasium environment: importing this registers PowerGrid-v0.

- ``power_grid``: the environment, on grid2op; its docstring tells the whole contract.
- ``vector``: many of it at once, on lightsim2grid's C++ power flow (``lightsim``); the fast one.
- ``actions``, ``observations``, ``rewards``: what an agent does, sees and earns.
- ``scenarios``: where load and generation come from.
- ``wrappers``: the idle gate, putting lines back.
- ``state``: the records that simulators fill and all else reads.
- ``blueprints``: what is fixed of a grid, without an environment.
"""

import gymnasium as gym

from envs.actions import ActionCatalogue
from envs.blueprints import Blueprint
from envs.blueprints import grid_blueprint
from envs.make import ENV_ID
from envs.make import make_power_grid
from envs.observations import OBSERVATIONS
from envs.power_grid import PowerGridEnv
from envs.rewards import REWARDS
from envs.scenarios import make_source
from envs.state import GridLayout
from envs.state import GridState
from envs.state import Lookahead
from envs.vector import PowerGridVectorEnv
from envs.wrappers import IdleGate
from envs.wrappers import ReconnectLines

__all__ = [
    "ENV_ID",
    "OBSERVATIONS",
    "REWARDS",
    "ActionCatalogue",
    "Blueprint",
    "GridLayout",
    "GridState",
    "IdleGate",
    "Lookahead",
    "PowerGridEnv",
    "PowerGridVectorEnv",
    "ReconnectLines",
    "grid_blueprint",
    "make_power_grid",
    "make_source",
]

if ENV_ID not in gym.registry:  # a reload must not register twice
    gym.register(
        ENV_ID,
        entry_point="envs.make:make_power_grid",
        vector_entry_point="envs.vector:PowerGridVectorEnv",
    )
