"""Arrays of B grids in shared memory.

Shape letters: A actions, B grids.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

ATTACKS = ("attack_steps", "attacks", "attacks_survived")  # infos of grids with an opponent


class ArraySpec(NamedTuple):
    """One array of the shared memory."""

    shape: tuple[int, ...]  # of one grid
    dtype: np.dtype


def columns_of(
    observation: spaces.Space[Any], num_actions: int, attackable: int = 0
) -> dict[str, ArraySpec]:
    """Return what the shared memory holds, by name.

    Args:
        observation: of one grid.
        num_actions: A.
        attackable: lines of a grid with an opponent, L; 0 without.
    """
    boxes = observation.spaces if isinstance(observation, spaces.Dict) else {"": observation}
    columns = {}
    for name, box in boxes.items():
        assert isinstance(box, spaces.Box) and box.dtype is not None
        columns[f"observation {name}"] = ArraySpec(box.shape, box.dtype)
    numbers = {
        "reward": np.float64,
        "termination": np.bool_,
        "truncation": np.bool_,
        "started": np.bool_,
        "over": np.bool_,
        "step": np.int64,
        "rho_max": np.float64,
        "illegal": np.bool_,
        "duration": np.int64,
    }
    columns |= {name: ArraySpec((), np.dtype(kind)) for name, kind in numbers.items()}
    if attackable:
        columns["attack_steps"] = ArraySpec((attackable,), np.dtype(np.int32))
        columns["attacks"] = columns["attacks_survived"] = ArraySpec((), np.dtype(np.int64))
    return columns | {"action_mask": ArraySpec((num_actions,), np.dtype(np.int8))}


class SharedArrays:
    """Arrays of B grids in memory that processes share; each writes its own rows.

    Args:
        columns: what it holds.
        num_grids: B.
        memory: of ``size`` bytes; None for memory of its own.
    """

    def __init__(self, columns: Mapping[str, ArraySpec], num_grids: int, memory: Any = None):
        self.memory = memory
        sizes = {  # bytes, in whole cache lines
            name: -(-num_grids * int(np.prod(shape)) * dtype.itemsize // 64) * 64
            for name, (shape, dtype) in columns.items()
        }
        if self.memory is None:  # unnamed, so that nothing is left when processes are killed
            self.memory = multiprocessing.get_context("spawn").RawArray("B", sum(sizes.values()))
        raw = np.frombuffer(self.memory, dtype=np.uint8)
        self.arrays: dict[str, np.ndarray] = {}
        first = 0
        for name, (shape, dtype) in columns.items():
            size = num_grids * int(np.prod(shape)) * dtype.itemsize
            array = raw[first : first + size].view(dtype).reshape(num_grids, *shape)
            self.arrays[name] = array
            first += sizes[name]

    def observations(self) -> Any:
        """Return a copy of the observations, in the form of the space."""
        prefix = "observation "
        found = {
            name.removeprefix(prefix): array.copy()
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }
        return found.get("", found)
