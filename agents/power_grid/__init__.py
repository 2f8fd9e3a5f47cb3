"""What knows the power grid: baselines, planners, the flow network and its teacher.

- ``baselines``: agents that need no training: do nothing, greedy look-ahead, expert rules.
- ``n1``: prevents and corrects by the look-ahead at losses of lines, one action at a time.
- ``planner``: searches several actions ahead, by ``beam`` (plans of actions), ``screening`` (which
  power flows are worth solving) and ``prevention`` (topologies that keep all losses answerable).
- ``lookahead_teacher``: names policies by looking ahead in the simulator at every legal action;
  ``lookahead_target``: what the flow network learns from those look-aheads.
- ``flow``: a network that predicts line loadings after each action, with ``grid_tables`` (the
  grid's wiring, what actions change) and ``potentials`` (balances power on graphs).
- ``simulator_model``: the simulator as the model that a search plans in.
- ``grid_access``: the grids under a vector environment.
"""
