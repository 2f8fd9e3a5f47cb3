"""Weights that ship, by name: each a small run folder, its configuration beside its checkpoint.

``powergrid-evaluate agent=muzero agent.weights=case14`` plays them; how they were trained and what
they reach stands in docs/results/README.md.
"""

from __future__ import annotations

from pathlib import Path

from agents.checkpoints import BEST
from agents.paths import given_path
from envs.names import choose

_FOLDER = Path(__file__).parent
_WEIGHTS = Path("checkpoints") / BEST


def names() -> tuple[str, ...]:
    """Return the names of the weights that ship, sorted."""
    return tuple(sorted(path.parents[1].name for path in _FOLDER.glob(f"*/{_WEIGHTS}")))


def locate(weights: str) -> Path:
    """Return the file that ``weights`` is or names.

    Args:
        weights: a checkpoint's file, or a name of ``names()``.

    Raises:
        ValueError: neither a file nor a name.
    """
    path = given_path(weights, "weights")
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise ValueError(
            f"weights={weights} does not exist; name a checkpoint's file, or weights that ship: "
            f"{', '.join(names())}."
        )
    return _FOLDER / choose("weights", weights, names()) / _WEIGHTS


def ships(path: Path) -> bool:
    """Whether the file ``path`` is one of those that ship."""
    return path.resolve().is_relative_to(_FOLDER.resolve())


def is_installed(path: Path) -> bool:
    """Whether ``path`` is in an installed package, ours or another's: no place for results."""
    return ships(path) or not {"site-packages", "dist-packages"}.isdisjoint(path.resolve().parts)
