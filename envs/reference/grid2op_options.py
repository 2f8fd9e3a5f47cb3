"""Options of ``grid2op.make`` that are covered; the others are refused by name.

The catalogue's actions, their legality and ``GridState`` hold for two busbars a substation, for
elements that may not be detached, and for grid2op's ``DefaultRules``. An option that changes this
is refused by name, and so is one that an argument of the environment's own stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grid2op.Rules import DefaultRules, RulesByArea

from envs.opponents import Opponent, grid2op_opponent
from powergrid_muzero.names import choose

COVERED = (
    *("opponent_class", "opponent_action_class", "opponent_space_type", "opponent_init_budget"),
    *("opponent_budget_class", "opponent_budget_per_ts", "opponent_attack_duration"),
    *("opponent_attack_cooldown", "kwargs_opponent", "action_class", "observation_class"),
    *("kwargs_observation", "observation_backend_class", "observation_backend_kwargs"),
    *("voltagecontroler_class", "redispatch_solver", "other_rewards", "difficulty", "logger"),
    "class_in_file",
)
_ONLY: Mapping[str, tuple[Any, str]] = {  # option -> its only value, why
    "n_busbar": (2, "actions and observations know two busbars a substation"),
    "allow_detachment": (False, "a load or generator that is cut off ends the game"),
    "gamerules_class": (DefaultRules, "action masks follow grid2op's DefaultRules"),
    "has_attention_budget": (False, "there are no alarms among the actions"),
}
_NO_ALARMS = "the environment has no alarms among its actions"
_REFUSED: Mapping[str, str] = {  # option -> what to do instead
    "backend": "each environment makes its own LightSimBackend",
    "param": "use the argument 'parameters', a dict of those that differ",
    "reward_class": "use the argument 'reward', a reward class of grid2op's by its name",
    "chronics_class": "use the argument 'scenarios', which takes a source of your own too",
    "chronics_handler": "use the argument 'scenarios', which takes a source of your own too",
    "chronics_path": "use the arguments scenarios='dataset' and 'scenario_folder'",
    "data_feeding_kwargs": "use the arguments 'scenarios' and 'max_steps'",
    "names_chronics_to_grid": "write it into the config.py of a grid folder, the argument 'grid'",
    "grid_path": "use the argument 'grid', a name or a folder",
    "dataset": "use the argument 'grid', a name or a folder",
    "test": "use the argument 'grid', a name or a folder",
    "attention_budget_class": _NO_ALARMS,
    "kwargs_attention_budget": _NO_ALARMS,
}


def check_grid2op_options(options: Any) -> dict[str, Any]:
    """Return the options that change something, {} for None.

    Raises:
        ValueError: one does not exist or is not covered; the message names it and says why.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(f"grid2op_options must be a dict of options, but is {options!r}")
    kept = {}
    for name, value in options.items():
        if name in _REFUSED:
            raise ValueError(f"grid2op_options takes no {name!r}: {_REFUSED[name]}")
        if name not in _ONLY:
            kept[choose("option of grid2op_options", name, (*COVERED, *_ONLY))] = value
            continue
        only, why = _ONLY[name]
        if value is not only and value != only:
            shown = getattr(only, "__name__", only)
            raise ValueError(
                f"grid2op_options: {name} can only be {shown}, not {value!r}, in both "
                f"environments: {why}"
            )
    return kept


def with_opponent(options: Mapping[str, Any], opponent: Opponent | None) -> dict[str, Any]:
    """Return ``grid2op_options`` with the opponent's.

    Raises:
        ValueError: both say who attacks.
    """
    theirs = [name for name in options if "opponent" in name]
    if not theirs:
        return {**grid2op_opponent(opponent), **options}
    if opponent is not None:
        raise ValueError(
            f"grid2op_options say who attacks ({', '.join(theirs)}), and so does opponent; leave "
            "one of them out"
        )
    return dict(options)


def check_grid2op_env(env: Any, grid: str) -> None:
    """Refuse a grid2op environment whose own configuration breaks what is assumed.

    Raises:
        ValueError: it has other busbars, detachment or rules; the message says what.
    """
    cls, rules = type(env), env._game_rules.legal_action
    broken = {
        f"{cls.n_busbar_per_sub} busbars a substation, not 2": cls.n_busbar_per_sub != 2,
        "loads and generators that may be detached": cls.detachment_is_allowed,
        f"rules of its own ({type(rules).__name__}), not DefaultRules": (
            type(rules) is not DefaultRules and not isinstance(rules, RulesByArea)
        ),
    }
    found = [what for what, there in broken.items() if there]
    if found:
        raise ValueError(f"grid {grid!r} has {' and '.join(found)}: this is not covered")
