"""What both simulators share: the state of a grid, its actions, observations and rewards.

- ``state``: the records that simulators fill and all else reads.
- ``actions``: their order and effect; ``legality``; ``action_text`` puts them in words.
- ``action_sets``: chosen actions, in files.
- ``connectivity``: what a topology cuts off; ``distinct_results``: distinct ones within reach.
- ``observations``: encoders ``features`` and ``full``; ``observation_graph``: ``graph``.
- ``scaling``: units of observations.
- ``rewards``: rewards by name.
- ``blackout_text``: why a game ended, in words.
- ``picture``: a grid at one step; ``drawing`` draws it; ``positions``: where substations lie.
"""
