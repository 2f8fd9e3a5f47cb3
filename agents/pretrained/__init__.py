"""Weights that ship, by name: each a small run folder, its configuration beside its checkpoint.

``powergrid-evaluate weights=case14`` plays them; how they were trained and what
they reach stands in docs/results/README.md.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
_WEIGHTS = Path("checkpoints", "best.pt")


def names() -> tuple[str, ...]:
    """Return the names of the weights that ship, sorted."""
    return tuple(sorted(path.parents[1].name for path in _FOLDER.glob(f"*/{_WEIGHTS}")))


def folder_of(name: str) -> Path:
    """Return the run folder of the weights called ``name``, one of ``names()``."""
    return _FOLDER / name


def ships(path: Path) -> bool:
    """Whether ``path`` is one of those that ship, or in it."""
    return path.resolve().is_relative_to(_FOLDER.resolve())


def is_installed(path: Path) -> bool:
    """Whether ``path`` is in an installed package, ours or another's: no place for results."""
    return ships(path) or not {"site-packages", "dist-packages"}.isdisjoint(path.resolve().parts)
