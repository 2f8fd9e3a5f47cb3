"""Agents: baselines, MuZero and PPO, and the commands that train and evaluate them.

- ``interface``: load, evaluate and train from Python.
- ``agent``: what every agent is; ``environments``, ``resumable``: what it plays.
- ``muzero``: the flagship; it knows no power grid.
- ``power_grid``: what knows the grid: baselines, look-aheads as a teacher, the flow network.
- ``ppo``: masked PPO.
- ``evaluation``: plays agents over fixed lists of episodes; ``pictures`` shows what they did.
- ``model_quality``: how good a trained MuZero's model is.
- ``runs``: the folder of a run; ``configuration``: from Hydra to parts; ``commands``.
- ``grid2op_agent``: the same agents in grid2op's own tools.
- ``pretrained``: weights that ship.
- ``parts``: configured parts, and the key that is put before their errors.

What others may import is listed in ``__init__.pyi``, and loaded when it is first used.
"""

from pathlib import Path

import lazy_loader

from powergrid_muzero import check_own_packages
from powergrid_muzero.process_setup import forget_stale_code, prepare_process

check_own_packages("envs")  # before another project's is imported in its place
prepare_process()
forget_stale_code(Path(__file__).parent)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
