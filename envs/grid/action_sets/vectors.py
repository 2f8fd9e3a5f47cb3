"""Reads grid2op's action vectors, as other projects store their chosen actions.

That is an ``.npy`` file of ``action.to_vect()`` for each action, one below the other.

Shape letters: A actions, N numbers of a vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.grid.action_sets.action_set import ActionSet
from envs.grid.action_sets.powers import CURTAIL, REDISPATCH, SET_STORAGE, PowerSettings
from envs.grid.action_sets.wiring import Wiring

if TYPE_CHECKING:
    from grid2op.Action import ActionSpace

_KINDS = {
    "_set_topo_vect": "set_bus",
    "_change_bus_vect": "change_bus",
    "_set_line_status": "set_line_status",
    "_switch_line_status": "change_line_status",
}
_POWERS = {"_redispatch": REDISPATCH, "_curtail": CURTAIL, "_storage_power": SET_STORAGE}


def read_vectors(path: Path, action_space: ActionSpace, wiring: Wiring, *, grid: str) -> ActionSet:
    """Return the action set of an ``.npy`` file.

    Args:
        path: of the file.
        action_space: of the grid that the vectors are of.
        wiring: of that grid.
        grid: its name.

    Raises:
        ValueError: it is not there, is cut short, or does not hold vectors of this grid's actions.
    """
    try:
        with open(path, "rb") as file:
            vectors = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path} with an action set") from None
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as an array of action vectors (is it cut short?): {error}"
        ) from error
    try:
        return decode_vectors(
            vectors, action_space, wiring, grid=grid, provenance={"vectors": path.name}
        )
    except ValueError as error:
        raise ValueError(f"action set {path}: {error}") from error


def decode_vectors(
    vectors: np.ndarray, action_space: ActionSpace, wiring: Wiring, **about: Any
) -> ActionSet:
    """Return the action set of ``action.to_vect()`` of each of A actions.

    Args:
        vectors: ``[A, N]``.
        action_space: of the grid that they are of.
        wiring: of that grid.
        about: ``grid`` and ``provenance``.

    Raises:
        ValueError: they are of another grid or another action class, or do what is not covered, or
            what no generator or storage unit of the grid can.
    """
    nothing: Any = action_space({})
    parts = {
        name: np.atleast_1d(nothing._get_array_from_attr_name(name))
        for name in nothing.attr_list_vect
    }
    size = sum(len(part) for part in parts.values())
    if vectors.ndim != 2 or vectors.dtype.kind not in "biuf":
        raise ValueError(f"it holds no table of numbers, a row per action, but {vectors.shape}")
    if vectors.shape[1] != size:
        raise ValueError(
            f"its vectors have {vectors.shape[1]} numbers, but those of the actions of this grid "
            f"have {size}: name the grid that they were stored for"
        )
    found = {
        name: np.zeros((len(vectors), _width(name, wiring)), dtype=np.int64) for name in _KINDS
    }
    powers = dict(zip(_POWERS, PowerSettings.none(len(vectors), wiring), strict=True))
    start = 0
    for name, rest in parts.items():
        values = vectors[:, start : start + len(rest)]
        start += len(rest)
        if name in _KINDS:
            found[name] = _whole(values, _KINDS[name])
        elif name in _POWERS:
            powers[name] = values
        elif not np.array_equal(values, np.broadcast_to(rest, values.shape), equal_nan=True):
            wrong = (values != rest) & ~(np.isnan(values) & np.isnan(rest))
            action = int(np.flatnonzero(wrong.any(axis=1))[0])
            raise ValueError(f"action {action} sets {name.strip('_')}, which is not covered")
    set_busbar, set_line = found["_set_topo_vect"].copy(), found["_set_line_status"].copy()
    for ends in (wiring.line_or_position, wiring.line_ex_position):
        opened = set_busbar[:, ends] == -1  # grid2op's other way to open a line
        set_line[opened] = np.minimum(set_line[opened], -1)
        set_busbar[:, ends] = np.where(opened, 0, set_busbar[:, ends])
    settings = PowerSettings(*powers.values()).checked(len(vectors), wiring)
    settings.check_grid(action_space)
    return ActionSet(
        wiring,
        set_busbar,
        found["_change_bus_vect"],
        set_line,
        found["_switch_line_status"],
        powers=settings,
        **about,
    )


def _width(name: str, wiring: Wiring) -> int:
    return wiring.num_lines if name.endswith("line_status") else wiring.num_elements


def _whole(values: np.ndarray, kind: str) -> np.ndarray:
    """Return numbers as integers.

    Raises:
        ValueError: they are none.
    """
    whole = np.isfinite(values) & (values == np.round(values))
    if not whole.all():
        action = int(np.flatnonzero(~whole.all(axis=1))[0])
        raise ValueError(f"action {action}: {kind} is no integer")
    return values.astype(np.int64)
