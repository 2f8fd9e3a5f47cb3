"""Power-grid control as a Gymnasium environment: importing this registers PowerGrid-v0.

- ``grid``: the state of a grid, actions, observations and rewards; every simulator shares them.
- ``reference``: ``PowerGridEnv``, one grid on grid2op; its docstring tells the whole contract.
- ``fast``: ``PowerGridVectorEnv``, many grids at once on lightsim2grid's C++ power flow.
- ``scenarios``: where load and generation come from.
- ``opponents``: attacks on lines.
- ``decision_gate``: at which steps an agent is asked.
- ``make``: the entry point of ``gymnasium.make``.

What others may import is listed in ``__init__.pyi``, and loaded when it is first used.
"""

from pathlib import Path

import gymnasium as gym
import lazy_loader

from powergrid_muzero.process_setup import forget_stale_code, prepare_process

prepare_process()  # before numba compiles anything or grid2op imports matplotlib
forget_stale_code(Path(__file__).parent)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

if "PowerGrid-v0" not in gym.registry:  # a reload must not register twice
    gym.register(
        "PowerGrid-v0",
        entry_point="envs.make:make_power_grid",
        vector_entry_point="envs.fast.vector:PowerGridVectorEnv",
    )
