"""Attacks on lines: grid2op's opponents, by name or as components, in both environments.

- ``kinds``: the opponents there are, and what each is made of.
- ``named``: opponents by name, from plain mappings, and a grid's own.
- ``grid2op_opponents``: how grid2op is told to play one.
- ``attacks``: the same attacks, step by step, without grid2op's objects.
"""

from envs.opponents.attacks import Attack, Attacker, opponent_seed
from envs.opponents.grid2op_opponents import grid2op_opponent, losing
from envs.opponents.kinds import (
    AreaOpponent,
    GeometricOpponent,
    Opponent,
    RandomOpponent,
    WeightedOpponent,
)
from envs.opponents.named import OPPONENTS, make_opponent

__all__ = [
    "OPPONENTS",
    "AreaOpponent",
    "Attack",
    "Attacker",
    "GeometricOpponent",
    "Opponent",
    "RandomOpponent",
    "WeightedOpponent",
    "grid2op_opponent",
    "losing",
    "make_opponent",
    "opponent_seed",
]
