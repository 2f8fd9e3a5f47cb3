"""MuZero: plans in a model that it learns from its own play. It knows no power grid.

- ``agent``: assembles the parts: acts, trains, saves.
- ``networks``: representation, dynamics, reward, value and policy; ``auxiliary``: what a network
  learns besides.
- ``model``: a network behind the interface that searches plan in; ``planning``: which model that
  is while environments are played.
- ``search``: PUCT and Gumbel, batched over roots.
- ``self_play``: a group of environments that share one search; ``pools``: plays the groups, in this
  process or in several; ``teacher``: names the policies of the first decisions.
- ``decision``: the record of a decision; ``replay``: keeps them, drawn by ``sum_tree``;
  ``targets``: what is learned from them; ``reanalysis``: searches them again.
- ``learner``: gradient steps; ``losses``, ``schedules``.
- ``trainer``: the loop: play, learn, evaluate, keep; ``training_metrics``: what happened.
"""
