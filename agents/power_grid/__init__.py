"""What knows the power grid: baselines, planners, the flow network and its teacher.

baselines    agents that need no training: do nothing, greedy look-ahead, expert rules
n1           prevents and corrects by the look-ahead at losses of lines, one action at a time
planner      searches several actions ahead: beam (plans of actions), screening (which power flows
             are worth solving), prevention (topologies in which every loss can be answered)
lookahead_teacher  names policies by looking ahead in the simulator at every legal action
lookahead_target  what the flow network learns from those look-aheads, and the losses on it
flow         a network that predicts line loadings after each action
grid_tables  the grid's wiring and what actions change, for the flow network
potentials   balances power on graphs, and differentiates that
simulator_model  the simulator as the model that a search plans in
grid_access  the grids under a vector environment
"""
