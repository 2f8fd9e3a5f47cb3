"""What knows the power grid: baselines, planners, the flow network and its teacher.

- ``baselines``: agents that need no training: do nothing, greedy look-ahead, expert rules.
- ``n1``: prevents and corrects by the look-ahead at losses of lines, one action at a time.
- ``grid_planner``: searches several actions ahead, by ``beam`` (plans of actions), ``screening``
  (which power flows are worth solving) and ``prevention`` (topologies that keep all losses
  answerable); ``planner`` is it as an agent, in the simulator.
- ``lookahead_teacher``: names policies by looking ahead in the simulator at every legal action;
  ``lookahead_target``: what the flow network learns from those look-aheads.
- ``plan_teacher``: finds in the simulator what whole plans lead to; ``plan_target``: what the flow
  network learns of that.
- ``flow``: a network that predicts line loadings after each action, with ``grid_tables`` (the
  grid's wiring, what actions change), ``potentials`` (balances power on graphs) and
  ``compiled_flow`` (the same without gradients, faster).
- ``foreseen``: grids on what the flow network foresees, as the model that ``planner_search`` plans
  in: ``grid_planner`` as a search of MuZero's.
- ``simulator_model``: the simulator as the model that a search plans in.
- ``action_mining``: which few actions relieve stressed grids nearly as well as all.
- ``grid_access``: the grids under a vector environment.
"""
