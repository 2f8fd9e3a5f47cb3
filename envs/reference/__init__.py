"""The reference environment: one grid, on grid2op's own objects.

- ``power_grid``: ``PowerGridEnv``; ``starts``: where its episodes begin; ``attack_log``: what an
  opponent did in one; ``lookahead`` plays actions on the forecast; ``step_words``: why grid2op
  refused an action, and how a game ended.
- ``wrappers``: the idle gate, putting lines back.
- ``grid2op_state``: a grid2op observation as a ``GridState``; ``redispatching``: what it takes
  where actions change powers.
- ``grid2op_options``: which options of ``grid2op.make`` are covered.
- ``observed_grid``: the reference environment in a grid2op environment that others step.
- ``grid2op_copies``: copies grid2op environments instead of reading the grid again.
- ``grid_description``: layout and actions of a grid, without an environment; actions by name.
"""
