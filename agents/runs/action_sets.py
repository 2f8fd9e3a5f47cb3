"""Action sets that are given as files go along with what is saved of an agent.

They are copied beside the configuration, which names the copy: ``actions-SHA.json``, with the first
digits of the SHA-256 of the file. So a run or a submission can be moved, and the file that it was
trained with may change or vanish.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agents.runs.files import atomic_write

_PREFIX = "actions-"
_DIGITS = 12


def keep_action_sets(config: Any, folder: Path) -> Any:
    """Copy the files of action sets that a configuration names, and return it with the copies.

    Args:
        config: plain, with absolute paths.
        folder: where the copies go; the configuration is to be saved in it.

    Raises:
        ValueError: there is no such file.
    """

    def kept(actions: str) -> str:
        path = Path(actions)
        if not path.is_absolute():
            return actions
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ValueError(f"the action set {path} cannot be read: {error.strerror}") from error
        name = f"{_PREFIX}{_digits(content)}{path.suffix}"
        with atomic_write(folder / name) as file:
            file.write(content)
        return name

    return _with_actions(config, kept)


def find_action_sets(config: Any, folder: Path) -> Any:
    """Return a saved configuration with the copies of its action sets where they are now.

    Args:
        config: plain, as ``keep_action_sets`` returned it.
        folder: that it was saved in.

    Raises:
        ValueError: a copy is missing or damaged.
    """

    def found(actions: str) -> str:
        if not actions.startswith(_PREFIX):
            return actions
        path = (folder / actions).absolute()
        if not path.is_file():
            raise ValueError(f"{path} is missing. Copy it again from where the folder is whole.")
        if _digits(path.read_bytes()) != path.stem.removeprefix(_PREFIX):
            raise ValueError(f"{path} has changed. Copy it again from where the folder is whole.")
        return str(path)

    return _with_actions(config, found)


def kept_action_sets(folder: Path) -> list[Path]:
    """Return the files of action sets that were kept in a folder."""
    return sorted(folder.glob(f"{_PREFIX}*"))


def _digits(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _with_actions(value: Any, change: Callable[[str], str]) -> Any:
    """Return ``value`` with what stands as "actions" beside a "grid" changed, at every depth."""
    if isinstance(value, list):
        return [_with_actions(one, change) for one in value]
    if not isinstance(value, Mapping):
        return value
    changed = {key: _with_actions(one, change) for key, one in value.items()}
    actions = changed.get("actions")
    if isinstance(changed.get("grid"), str) and isinstance(actions, str):
        changed["actions"] = change(actions)
    return changed
