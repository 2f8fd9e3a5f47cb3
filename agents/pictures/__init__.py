"""Pictures of what agents did: plots, animations, drawn searches and the HTML report.

- ``plots``: PNG plots of an evaluation.
- ``gif``: an episode as an animation.
- ``search_trees``: plays an episode and draws the search behind each decision.
- ``report``: one HTML file in which episodes are replayed step by step.
"""
