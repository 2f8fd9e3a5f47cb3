"""The short scenarios that ship with a grid.

For the sandbox they are its own three (575 steps, Sunday and Monday; doing nothing survives all of
them, so they tell no two agents apart) and the seven days of ``educ_case14_redisp`` (288 steps; the
same grid and limits; doing nothing fails five of the seven, greedy look-ahead none).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from envs.scenarios.base import SPLITS, Scenario
from envs.scenarios.files import read_scenario, stamp
from envs.scenarios.grid2op_grids import grid_folder
from powergrid_muzero.names import choose

SANDBOX = "l2rpn_case14_sandbox"
SANDBOX_PARTS = (("sandbox", SANDBOX), ("educ", "educ_case14_redisp"))  # (prefix, grid)


def _folders(grid: str) -> dict[str, Path]:
    """Return name -> folder of every scenario that ships with ``grid``."""
    if grid == SANDBOX:
        return _sandbox_folders()
    chronics = grid_folder(grid) / "chronics"
    return _folders_in(chronics, stamp(chronics))


@lru_cache(maxsize=1)
def _sandbox_folders() -> dict[str, Path]:
    return {
        f"{prefix}-{folder.name}": folder
        for prefix, part in SANDBOX_PARTS
        for folder in scenario_folders(grid_folder(part) / "chronics")
    }


@lru_cache(maxsize=16)
def _folders_in(chronics: Path, stamped: tuple[int, ...]) -> dict[str, Path]:
    del stamped  # part of the cache's key: changes with the folders in it
    return {folder.name: folder for folder in scenario_folders(chronics)}


def scenario_folders(chronics: Path) -> list[Path]:
    """Return the folders in ``chronics``, sorted by name; none if there is no such folder."""
    if not chronics.is_dir():
        return []
    return sorted(p for p in chronics.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))


@dataclass(frozen=True)
class BundledSource:
    """The scenarios that ship with the grid; every split is the same list of all of them."""

    grid: str = SANDBOX

    def __post_init__(self) -> None:
        """Refuse a grid without scenarios."""
        if not _folders(self.grid):
            raise ValueError(
                f"grid {self.grid!r} ships without scenarios: use 'dataset' (grid2op's download, "
                "or your own folder)"
            )

    def names(self, split: str) -> tuple[str, ...]:
        """Return all names, whatever the split."""
        choose("split", split, (*SPLITS, "all"))
        return tuple(_folders(self.grid))

    def draw(self, split: str, rng: np.random.Generator) -> str:
        """Return one of the names at random."""
        names = self.names(split)
        return names[int(rng.integers(len(names)))]

    def load(self, name: str) -> Scenario:
        """Return the scenario called ``name``, such as ``educ-2019-01-12``."""
        folders = _folders(self.grid)
        return read_scenario(folders[choose("bundled scenario", name, folders)], name, self.grid)
