"""Checks the arguments of vector environments and splits them over environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from powergrid_muzero.checks import as_array, check_count, check_seed, is_integer
from powergrid_muzero.names import choose
from powergrid_muzero.vector_episodes import as_plain


def check_num_envs(num_envs: Any) -> int:
    """Return B as an int.

    Raises:
        ValueError: it is not an integer, or less than 1.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer):
        raise ValueError(f"num_envs must be an integer of at least 1, but is {num_envs!r}")
    if num_envs < 1:
        raise ValueError(f"num_envs is {num_envs}; at least 1 environment is needed.")
    return int(num_envs)


def check_autoreset(mode: Any) -> AutoresetMode:
    """Return Gymnasium's autoreset mode: given as such, by its value, or as "same_step" and so on.

    Raises:
        ValueError: there is no such mode.
    """
    if isinstance(mode, AutoresetMode):
        return mode
    by_value = {one.value: one for one in AutoresetMode}  # "SameStep"
    if isinstance(mode, str) and mode in by_value:
        return by_value[mode]
    by_name = {one.name.lower(): one for one in AutoresetMode}
    return by_name[choose("autoreset", mode, by_name)]


def check_time_limit(max_episode_steps: Any) -> int | None:
    """Return the decisions of an episode, at most; None for no limit, as Gymnasium's -1 means too.

    Raises:
        ValueError: it is not an integer, or less than 1.
    """
    if max_episode_steps is None or (is_integer(max_episode_steps) and max_episode_steps == -1):
        return None
    return check_count("max_episode_steps", max_episode_steps)


def check_grid(grid: Any, num_envs: int) -> int:
    """Return the number of a grid as an int.

    Raises:
        ValueError: it is not an integer in [0, B).
    """
    if not is_integer(grid) or not 0 <= grid < num_envs:
        raise ValueError(f"grid must be a number from 0 to {num_envs - 1}, but is {grid!r}")
    return int(grid)


def seed_of_each(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Return a seed, or None, for each of B grids: s + i of one integer s.

    Raises:
        ValueError: a list of another length, or a seed that is not an integer of at least 0.
    """
    if seed is None:
        return [None] * num_envs
    if is_integer(seed) or not isinstance(seed, list | tuple | np.ndarray):
        first = check_seed(seed)
        return [first + index for index in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"{len(seed)} seeds were given; expected {num_envs}, one per environment.")
    return [None if one is None else check_seed(one) for one in seed]


def reset_mask(mask: Any, num_envs: int) -> np.ndarray:
    """Return ``[B]`` bool, which grids to reset; all if ``mask`` is None.

    Raises:
        ValueError: it is not bool, or of another length.
    """
    if mask is None:
        return np.ones(num_envs, dtype=np.bool_)
    mask = as_array(mask)
    if mask.shape != (num_envs,) or mask.dtype != np.bool_:
        raise ValueError(
            f"reset_mask is {mask.dtype} of shape {mask.shape}; expected bool of ({num_envs},)."
        )
    return mask


def split_options(options: Mapping[str, Any], num_envs: int) -> list[dict[str, Any] | None]:
    """Return each grid's own reset options: lists are shared out, other values are for all.

    They are plain Python, as checkpoints keep them: of numpy's values, what these stand for.

    Raises:
        ValueError: a list, tuple or array of another length than B.
    """
    result: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, value in as_plain(options).items():
        values: Sequence[Any] = [value] * num_envs
        if isinstance(value, list):
            if len(value) != num_envs:
                raise ValueError(
                    f"option {key!r} has {len(value)} entries; expected {num_envs}, one per "
                    "environment, or a single value for all."
                )
            values = value
        for one, entry in zip(result, values, strict=True):
            if entry is not None:
                one[key] = entry
    return [one or None for one in result]
