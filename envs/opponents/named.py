"""Opponents by name, from mappings, and the one that a grid comes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import grid2op.Opponent as theirs
from grid2op.Opponent import BaseActionBudget, BaseOpponent, OpponentSpace

from envs.opponents.grid2op_opponents import OPTIONS
from envs.opponents.kinds import (
    KINDS,
    AreaOpponent,
    GeometricOpponent,
    Opponent,
    RandomOpponent,
    WeightedOpponent,
)
from envs.scenarios.grid2op_grids import make_grid2op
from powergrid_muzero.names import choose

OPPONENTS: Mapping[str, Opponent] = {
    # van der Sar et al.'s benchmark of case14: a line out for 4 hours of every 12
    "rl4pnc": RandomOpponent(
        lines=("3_4_6", "11_12_13", "3_6_15", "3_8_16", "6_8_19"),
        duration=48,
        period=144,
        budget=144.0,
        budget_per_step=0.33334,
    ),
    # as grid2op ships it with its grid rte_case14_opponent: 4 hours of every 24
    "rte_case14": RandomOpponent(
        lines=("1_3_3", "1_4_4", "3_6_15", "9_10_12", "11_12_13", "12_13_14"),
        duration=48,
        period=288,
        budget_per_step=0.5,
    ),
}
_NONE, _GRID = "none", "grid"  # nobody; the one in the grid's own configuration


def make_opponent(given: str | Mapping[str, Any] | Opponent | None, grid: str) -> Opponent | None:
    """Return the opponent asked for, None for none.

    Args:
        given: "none", a name of ``OPPONENTS``, "grid" for the one in the grid's own configuration,
            a mapping ("kind", "lines", "duration", "period", "budget", ...), or an opponent.
        grid: grid2op name or folder.

    Raises:
        ValueError: there is none of that name or kind, or one cannot be made of these values.
    """
    if given is None or isinstance(given, Opponent):
        return given
    if isinstance(given, Mapping):
        return _from_mapping(given)
    if not isinstance(given, str):
        raise ValueError(
            f"opponent must be a name, a mapping or an Opponent, but is {given!r}; "
            f"names: {', '.join([_NONE, *OPPONENTS, _GRID])}"
        )
    name = choose("opponent", given, [_NONE, *OPPONENTS, _GRID])
    if name == _NONE:
        return None
    return OPPONENTS[name] if name in OPPONENTS else _own(grid)


def _from_mapping(given: Mapping[str, Any]) -> Opponent:
    values = {str(key): value for key, value in given.items()}
    kind = KINDS[choose("kind of opponent", values.pop("kind", RandomOpponent.kind), KINDS)]
    options = [one.name for one in fields(kind)]
    for key in values:
        choose(f"option of a {kind.kind} opponent", key, options)
    missing = [key for key in ("lines", "duration", "period") if key not in values]
    if missing:
        raise ValueError(
            f"opponent: {' and '.join(missing)} must be given, beside {', '.join(options)}"
        )
    return kind(**values)


@lru_cache(maxsize=8)
def _own(grid: str) -> Opponent:
    """Return the opponent in the configuration of ``grid``."""
    env: Any = make_grid2op(grid)
    try:
        made = env.get_kwargs(with_backend=False)
    finally:
        env.close()
    kind = made["opponent_class"]
    if kind is BaseOpponent:
        raise ValueError(
            f"grid {grid!r} has no opponent of its own; take one of: {', '.join(OPPONENTS)}"
        )
    covered = (
        kind in _OF_THEIRS
        and made["opponent_budget_class"] is BaseActionBudget
        and made["opponent_space_type"] is OpponentSpace
    )
    if not covered:
        raise ValueError(
            f"grid {grid!r} has an opponent that is not covered ({kind.__name__} with "
            f"{made['opponent_budget_class'].__name__}); give it to the reference environment in "
            "grid2op_options, or take another opponent"
        )
    own = dict(made["kwargs_opponent"])
    options: dict[str, Any] = {
        "lines": own.pop("lines_attacked"),
        "duration": int(made["opponent_attack_duration"]),
        "period": int(made["opponent_attack_cooldown"]),
        "budget": float(made["opponent_init_budget"]),
        "budget_per_step": float(made["opponent_budget_per_ts"]),
    }
    options |= {ours: own[name] for name, ours in OPTIONS.items() if name in own}
    return _OF_THEIRS[kind](**options)


_OF_THEIRS: Mapping[type, type[Opponent]] = {
    theirs.RandomLineOpponent: RandomOpponent,
    theirs.WeightedRandomOpponent: WeightedOpponent,
    theirs.GeometricOpponent: GeometricOpponent,
    theirs.GeometricOpponentMultiArea: AreaOpponent,
}
