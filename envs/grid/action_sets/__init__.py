"""Action sets: chosen actions of a grid, as data that files hold and others can read.

- ``wiring``: which element is where at which substation, and its hash.
- ``action_set``: the actions, checked and without duplicates; ``powers``: what they do with
  generators and storage units.
- ``files``: JSON and NPZ; ``vectors``: grid2op's action vectors, as other projects store them.
- ``splits``: every way to split one substation, to choose from.
- ``*.json``: the sets that ship, by name.
"""

from envs.grid.action_sets.action_set import ActionSet, merge_action_sets
from envs.grid.action_sets.files import (
    ALL_ACTIONS,
    SHIPPED,
    read_action_set,
    shipped_file,
    write_action_set,
)
from envs.grid.action_sets.powers import PowerSettings
from envs.grid.action_sets.splits import line_switches, substation_splits
from envs.grid.action_sets.vectors import decode_vectors, read_vectors
from envs.grid.action_sets.wiring import Wiring

__all__ = [
    "ALL_ACTIONS",
    "SHIPPED",
    "ActionSet",
    "PowerSettings",
    "Wiring",
    "decode_vectors",
    "line_switches",
    "merge_action_sets",
    "read_action_set",
    "read_vectors",
    "shipped_file",
    "substation_splits",
    "write_action_set",
]
