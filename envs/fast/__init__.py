"""Many grids at once on lightsim2grid's C++ power flow, by grid2op's rules.

- ``template``: what all copies of a grid share, read from grid2op; grids not covered are refused.
- ``power_flow``: a grid in C++: set it, solve it, read it.
- ``cascade``: what overloaded lines do after a power flow.
- ``effects``: what one action does to one grid.
- ``arrays``: what B grids are at one time: shown, saved, copied.
- ``simulator``: B grids that play scenarios: actions, protections, cascades, cooldowns.
- ``lookahead``: actions played on the forecast.
- ``sweep``: many topologies of one grid, solved in one call.
- ``losses``: the loss of lines, foreseen from where grids stand.
- ``calm``: stretches of steps in which nothing happens, solved in one call.
- ``player``: rewards, ends, reconnection and the idle gate around it.
- ``planning``: copies of grids that play on, on what is foreseen.
"""

from envs.fast.simulator import Simulator
from envs.fast.template import GridTemplate, grid_template

__all__ = ["GridTemplate", "Simulator", "grid_template"]
