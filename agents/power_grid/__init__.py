"""What knows both agents and the power grid.

n1           prevents and corrects by the look-ahead at losses of lines, one action at a time
planner      searches several actions ahead: beam (plans of actions), screening (which power flows
             are worth solving), prevention (topologies in which every loss can be answered)
teacher      names policies by looking ahead in the simulator at every legal action
lookaheads   what the flow network learns from those look-aheads: which are recorded, the losses
flow         a network that predicts line loadings after each action
grid_tables  the grid's wiring and what actions change, for the flow network
potentials   balances power on graphs, and differentiates that
"""

from agents.power_grid.n1 import N1Agent
from agents.power_grid.planner import PlannerAgent

__all__ = ["N1Agent", "PlannerAgent"]
