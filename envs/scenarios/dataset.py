"""Scenarios of grid2op's downloaded data sets, or of any folder in their format."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import grid2op
import numpy as np

from envs.scenarios.base import SPLITS, Scenario
from envs.scenarios.bundled import scenario_folders
from envs.scenarios.files import find_series, read_scenario, stamp
from powergrid_muzero.names import choose

HELD_OUT = 0.1  # share of the scenarios in val, and in test


def _chronics(folder: Path) -> Path:
    """Return where the scenarios of an environment folder are; or it is that place already."""
    inner = folder / "chronics"
    return inner if inner.is_dir() else folder


def _split_folders(folder: Path) -> dict[str, dict[str, Path]]:
    """Return split, or "all", -> name -> folder of the scenario, as they are there now."""
    places = [str(folder), *(f"{folder}_{split}" for split in SPLITS)]
    stamps = [stamp(path) for place in places for path in (place, f"{place}/chronics")]
    return _list_folders(folder, tuple(stamps))


@lru_cache(maxsize=16)
def _list_folders(folder: Path, stamps: tuple[tuple[int, ...], ...]) -> dict[str, dict[str, Path]]:
    del stamps  # part of the cache's key: change with the folders in them
    splits = _list_splits(folder)
    every = {name: path for names in splits.values() for name, path in names.items()}
    return {**splits, "all": {name: every[name] for name in sorted(every)}}


def _list_splits(folder: Path) -> dict[str, dict[str, Path]]:
    by_split = {}
    for split in SPLITS:
        beside = folder.with_name(f"{folder.name}_{split}")
        if beside.is_dir():  # as grid2op's env.train_val_split writes them
            by_split[split] = {p.name: p for p in scenario_folders(_chronics(beside))}
    if by_split:
        return by_split
    found = {p.name: p for p in scenario_folders(_chronics(folder))}
    if len(found) < len(SPLITS):
        return {split: found for split in SPLITS}
    ranked = sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())
    held_out = math.ceil(HELD_OUT * len(ranked))
    members = {
        "test": ranked[:held_out],
        "val": ranked[held_out : 2 * held_out],
        "train": ranked[2 * held_out :],
    }
    return {split: {name: found[name] for name in sorted(members[split])} for split in SPLITS}


@dataclass(frozen=True)
class DatasetSource:
    """Scenarios of a folder in grid2op's format, by default the data set that grid2op downloaded.

    Splits: the folders ``NAME_train``, ``NAME_val``, ``NAME_test`` beside folder ``NAME``, which is
    how grid2op's ``env.train_val_split`` writes them. Where there are none of these, scenarios are
    sorted by the SHA-256 of their names: the first tenth is test, the second val, the rest train
    (each tenth rounded up; of fewer than three scenarios every split has all). "all" is everything.

    Args:
        grid: the grid that the scenarios are played on.
        folder: an environment folder (with ``chronics`` in it) or a folder of scenarios; None for
            grid2op's download of ``grid``.

    Raises:
        ValueError: there is no such folder, or no scenario in it.
    """

    grid: str = "l2rpn_case14_sandbox"
    folder: str | None = None

    def __post_init__(self) -> None:
        """Check that there are scenarios."""
        if not isinstance(self.folder, str | os.PathLike | None):
            raise ValueError(f"scenario_folder must be a path, but is {self.folder!r}")
        root = self._root
        splits = [root.with_name(f"{root.name}_{split}") for split in SPLITS]
        if not any(path.is_dir() for path in (root, *splits)):
            if self.folder is not None:
                raise ValueError(f"scenario folder {self.folder!r} does not exist")
            raise ValueError(
                f"grid2op has not downloaded the data set {self.grid!r} (looked in {root}): "
                f"download it with  python -c \"import grid2op; grid2op.make('{self.grid}')\" , "
                "or give a folder in grid2op's format, or use scenarios 'recombined', which need "
                "no download"
            )
        if find_series(root, "load_p") is not None:
            raise ValueError(f"folder {root} is one scenario: give the folder that it is in")
        self._splits()

    @property
    def _root(self) -> Path:
        if self.folder is not None:
            return Path(self.folder).expanduser().absolute()
        return Path(grid2op.get_current_local_dir()) / self.grid

    def _splits(self) -> dict[str, dict[str, Path]]:
        splits = _split_folders(self._root)
        if not any(splits.values()):
            raise ValueError(
                f"folder {self._root} has no scenarios: expected one folder for each, in it or in "
                "its folder 'chronics', with load_p.csv.bz2 and so on"
            )
        return splits

    def names(self, split: str) -> tuple[str, ...]:
        """Return all scenarios of ``split``, sorted by name."""
        splits = self._splits()
        if not splits.get(choose("split", split, (*SPLITS, "all"))):
            present = [name for name in splits if name in SPLITS]
            raise ValueError(
                f"split {split!r} has no scenarios: there is no folder {self._root.name}_{split} "
                f"in {self._root.parent}, only those of {', '.join(present)}; write it with "
                "grid2op's env.train_val_split(add_for_test='test', ...)"
            )
        return tuple(splits[split])

    def draw(self, split: str, rng: np.random.Generator) -> str:
        """Return a random scenario of ``split``."""
        names = self.names(split)
        return names[int(rng.integers(len(names)))]

    def load(self, name: str) -> Scenario:
        """Return the scenario in the folder called ``name``; ValueError if it can't be played."""
        folders = self._splits()["all"]
        choose("scenario", name, folders)
        return read_scenario(folders[name], name, self.grid)
