"""Power-grid control as a Gymnasium environment: importing this registers PowerGrid-v0.

- ``power_grid``: the environment, on grid2op; its docstring tells the whole contract.
- ``vector``: many of it at once, on lightsim2grid's C++ power flow (``lightsim``); the fast one.
- ``actions``, ``observations``, ``rewards``: what an agent does, sees and earns.
- ``scenarios``: where load and generation come from.
- ``opponents``: who takes lines out.
- ``wrappers``: the idle gate, putting lines back; ``asking``: when an agent is asked.
- ``state``: the records that simulators fill and all else reads.
- ``blueprints``: what is fixed of a grid, without an environment.
- ``process_setup``: folders for numba and matplotlib where the usual ones cannot be written.
"""

from envs.process_setup import prepare_process

prepare_process()  # before numba compiles anything or grid2op imports matplotlib

import gymnasium as gym  # noqa: E402

from envs.actions import ActionCatalogue  # noqa: E402
from envs.blueprints import Blueprint  # noqa: E402
from envs.blueprints import grid_blueprint  # noqa: E402
from envs.make import ENV_ID  # noqa: E402
from envs.make import make_power_grid  # noqa: E402
from envs.observations import OBSERVATIONS  # noqa: E402
from envs.power_grid import PowerGridEnv  # noqa: E402
from envs.rewards import REWARDS  # noqa: E402
from envs.scenarios import make_source  # noqa: E402
from envs.state import GridLayout  # noqa: E402
from envs.state import GridState  # noqa: E402
from envs.state import Lookahead  # noqa: E402
from envs.vector import PowerGridVectorEnv  # noqa: E402
from envs.wrappers import IdleGate  # noqa: E402
from envs.wrappers import ReconnectLines  # noqa: E402

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
