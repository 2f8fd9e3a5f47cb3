"""Many grids at once on lightsim2grid's C++ power flow, by grid2op's rules.

- ``vector``: PowerGridVectorEnv, which checks what its users pass; ``grids``: its B grids, with
  ``starts`` and ``infos``.
- ``grid_player``: rewards, ends, reconnection, and who is asked when.
- ``simulator``: B grids that play scenarios: actions, protections, cooldowns; ``arrays``: what they
  are at one time; ``effects``: what one action does; ``rules``: what a solved step means;
  ``scheduled_outages``: maintenance and hazards; ``cascade``: what overloaded lines do.
- ``power_flow``: a grid in C++: set it, solve it, read it; ``sweep``: many topologies of one grid,
  solved in one call; ``newton``: the same in a compiled loop, for small grids; ``memory``: arrays
  of others, read by their addresses.
- ``lookahead``: actions played on the forecast; ``contingencies``: the loss of lines;
  ``topologies``: which of many are the same.
- ``calm_player``: plays steps in which nothing happens; ``calm_stretches``: solves many at once.
- ``forecast_planner``: copies of grids that play on; ``rollouts``: many futures of one grid.
- ``template``: what all copies of a grid share, read from grid2op; grids not covered are refused.
"""

from envs.fast.simulator import Simulator
from envs.fast.template import GridTemplate, grid_template

__all__ = ["GridTemplate", "Simulator", "grid_template"]
