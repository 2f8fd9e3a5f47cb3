"""Mines action sets: few actions that relieve stressed grids nearly as well as all.

- ``cases``: plays episodes, and looks ahead at actions in the stressed states that it meets.
- ``choice``: chooses actions for coverage of those cases.
- ``mining``: both, piece by piece, in a folder, so that it can be interrupted, in many processes.
"""

from agents.power_grid.action_mining.choice import Choice
from agents.power_grid.action_mining.mining import MinedActions, MiningSettings, mine

__all__ = ["Choice", "MinedActions", "MiningSettings", "mine"]
