"""Starts the commands, after checking that no other package shadows this project's.

Those are common names, which another project in the same environment may own too. This one is not,
and it lies beside them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGES = ("agents", "envs", "conf")


class ShadowedPackageError(ImportError):
    """A package of this project is hidden by another of the same name."""


def check_own_packages(*names: str) -> None:
    """Make sure that importing ``names`` gets this project's packages.

    Args:
        names: of packages.

    Raises:
        ShadowedPackageError: one is another's; the message says whose and what to do.
    """
    home = Path(__file__).resolve().parents[1]
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ShadowedPackageError(f"{home / name} cannot be imported. Install again.")
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        found = Path(places[0] or "").resolve()
        if home / name not in (found, *found.parents):
            raise ShadowedPackageError(
                f"the name {name!r} is taken by {found}; powergrid-muzero's own is {home / name}. "
                f"Start from another folder, take {found.parent.parent} off PYTHONPATH, or "
                "uninstall or rename the other."
            )


def train() -> None:
    """Run ``powergrid-train``."""
    _start("train")


def evaluate() -> None:
    """Run ``powergrid-evaluate``."""
    _start("evaluate")


def actions() -> None:
    """Run ``powergrid-actions``."""
    _start("actions")


def _start(command: str) -> None:
    try:
        check_own_packages(*PACKAGES)
    except ShadowedPackageError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    getattr(importlib.import_module("agents.commands.entry"), command)()
