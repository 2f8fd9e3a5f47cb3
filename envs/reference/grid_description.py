"""Layout and actions of a grid, without an environment, and how actions are named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from grid2op.Reward import ConstantReward

from envs.grid.action_sets import (
    ALL_ACTIONS,
    SHIPPED,
    ActionSet,
    Wiring,
    read_action_set,
    read_vectors,
    shipped_file,
)
from envs.grid.actions import ActionCatalogue
from envs.grid.state import GridLayout
from envs.reference.grid2op_copies import new_grid2op
from envs.reference.grid2op_state import grid_layout
from powergrid_muzero.names import choose

Actions = str | os.PathLike[str] | ActionSet

_NAMES = (ALL_ACTIONS, *SHIPPED)
_SUFFIXES = (".json", ".npz", ".npy")


class GridDescription(NamedTuple):
    """A grid at rest."""

    layout: GridLayout
    catalogue: ActionCatalogue


def describe_grid(grid: str, actions: Actions = ALL_ACTIONS) -> GridDescription:
    """Return layout and action catalogue of ``grid``, made once per process (1 s).

    Args:
        grid: grid2op name or folder.
        actions: see ``find_action_set``.

    Raises:
        ValueError: no such grid or actions; the message names the nearest one.
    """
    return _describe_grid(grid, find_action_set(actions, grid))


@lru_cache(maxsize=8)
def _describe_grid(grid: str, actions: ActionSet | None) -> GridDescription:
    with _opened(grid) as (env, layout):
        return GridDescription(layout, ActionCatalogue(env.action_space, layout, actions=actions))


@lru_cache(maxsize=8)
def grid_wiring(grid: str) -> Wiring:
    """Return which element of ``grid`` is where.

    Args:
        grid: grid2op name or folder.

    Raises:
        ValueError: no such grid; the message names the nearest one.
    """
    with _opened(grid) as (_, layout):
        return Wiring.of(layout)


def find_action_set(actions: Actions, grid: str) -> ActionSet | None:
    """Return the actions that an environment chooses from, None for all.

    Args:
        actions: "all", the name of a set that ships, the path of a file (JSON, NPZ, or grid2op's
            vectors in NPY), or a set.
        grid: grid2op name or folder; vectors are of its actions.

    Raises:
        ValueError: no such name or file, or a file that holds no actions of the grid.
    """
    if isinstance(actions, ActionSet):
        return actions
    if not isinstance(actions, str | os.PathLike):
        raise ValueError(
            f"actions must be {ALL_ACTIONS!r}, a name, a file's path or an ActionSet, but is "
            f"{actions!r}"
        )
    name = os.fspath(actions)
    if name == ALL_ACTIONS:
        return None
    if name in SHIPPED:
        return read_action_set(shipped_file(name))
    path = Path(name).expanduser()
    if path.suffix not in _SUFFIXES:
        if path.is_file():
            raise ValueError(f"actions={name}: a file of actions ends in {', '.join(_SUFFIXES)}")
        choose(f"action set, or file that ends in {', '.join(_SUFFIXES)},", name, _NAMES)
    if path.suffix != ".npy":
        return read_action_set(path)
    with _opened(grid) as (env, layout):
        return read_vectors(path, env.action_space, Wiring.of(layout), grid=grid)


def absolute_actions(actions: str) -> str:
    """Return ``actions``, made absolute where it is the path of a file and no name."""
    return actions if actions in _NAMES else str(Path(actions).expanduser().absolute())


@contextmanager
def _opened(grid: str) -> Iterator[tuple[Any, GridLayout]]:
    env = new_grid2op(grid, parameters={}, reward_class=ConstantReward)
    try:
        yield env, grid_layout(env, name=grid)
    finally:
        env.close()
