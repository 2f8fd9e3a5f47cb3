"""Checkpoints: written atomically, checked when read.

A run keeps ``latest.pt`` (the whole training state), ``latest.previous.pt`` (the one before) and
``best.pt`` (the weights that validated best); with ``initial.pt``, the weights it began with, if it
was given some. They are read with ``weights_only``, so a file from
elsewhere cannot run code.
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from agents.agent import Agent
from agents.runs.files import UNFINISHED, atomic_write

LATEST = "latest.pt"
PREVIOUS = "latest.previous.pt"
BEST = "best.pt"
INITIAL = "initial.pt"

_FORMAT = "powergrid-muzero checkpoint"
_VERSION = 1
_PLAIN = (type(None), bool, int, float, str, bytes, torch.Tensor)

_log = logging.getLogger(__name__)


class DamagedCheckpointError(ValueError):
    """The file is no checkpoint, or a part of one."""


class CheckpointFolder:
    """The checkpoints of one run; a ``CheckpointStore`` of ``agents.agent``."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made when first written to."""
        self.folder = folder
        self._peeked: dict[str, Any] | None = None

    @property
    def begun(self) -> bool:
        """Whether a training state was ever written."""
        return any((self.folder / name).exists() for name in (LATEST, PREVIOUS))

    def save_latest(self, state: Mapping[str, Any]) -> None:
        """Write the whole training state as ``latest.pt``; the former becomes the previous one.

        Raises:
            OSError: the file could not be written (disk full); the former ones stay as they were.
            ValueError: ``state`` holds something other than tensors and plain Python.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        latest = self.folder / LATEST
        write_checkpoint(latest, state, keep_former_as=self.folder / PREVIOUS)

    def save_best(self, state: Mapping[str, Any]) -> None:
        """Write the agent's weights as ``best.pt``; errors as in ``save_latest``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(self.folder / BEST, state)

    def save_initial(self, state: Mapping[str, Any]) -> None:
        """Write the weights that the training begins with as ``initial.pt``; errors as above."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(self.folder / INITIAL, state)

    def load_latest(self) -> dict[str, Any] | None:
        """Return the newest undamaged training state; None if none was ever written.

        A damaged one is named in a warning and the one before is taken.

        Raises:
            ValueError: there are checkpoints, and all are damaged.
        """
        if self._peeked is not None:
            state, self._peeked = self._peeked, None
            return state
        paths = [path for path in (self.folder / LATEST, self.folder / PREVIOUS) if path.exists()]
        problems = []
        for path in paths:
            try:
                return read_checkpoint(path)
            except DamagedCheckpointError as error:
                problems.append(str(error))
                _log.warning("%s Taking the checkpoint before it.", error)
        if problems:
            raise ValueError(f"no checkpoint can be read: {' '.join(problems)}")
        return None

    def peek_latest(self) -> dict[str, Any] | None:
        """Return what the next ``load_latest`` will return, reading the file only once."""
        self._peeked = self.load_latest()
        return self._peeked

    def load_weights(self, which: str = "best") -> dict[str, Any]:
        """Return an agent's ``state_dict``.

        Args:
            which: "best" by validation, or "latest".

        Raises:
            ValueError: there is none, or it is damaged.
        """
        if which == "best":
            path = self.folder / BEST
            if path.exists():
                return read_checkpoint(path)
            raise ValueError(f"{path} does not exist: the run was never evaluated. Use latest.")
        state = self.load_latest()
        if state is None:
            raise ValueError(f"{self.folder} holds no checkpoint.")
        if "agent" not in state:
            raise ValueError(f"{self.folder / LATEST} holds no entry 'agent' with the weights.")
        return state["agent"]


def write_checkpoint(
    path: Path, state: Mapping[str, Any], *, keep_former_as: Path | None = None
) -> None:
    """Write ``state`` to ``path``, whole or not at all.

    Args:
        path: the file; its folder must exist.
        state: tensors and plain Python only, nested in dicts, lists and tuples.
        keep_former_as: where the file that stood at ``path`` is kept.

    Raises:
        OSError: the file could not be written; what was there stays.
        ValueError: ``state`` holds something else; the message names where.
    """
    _check_plain(state, "state")
    document = {"format": _FORMAT, "version": _VERSION, "state": dict(state)}
    try:
        with atomic_write(path) as file:
            torch.save(document, file)
            file.flush()
            os.fsync(file.fileno())
            if keep_former_as is not None and path.exists():
                _link(path, keep_former_as)
    except (OSError, RuntimeError) as error:
        # torch wraps what the file raised in a RuntimeError of its own writer
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
        raise OSError(
            f"could not write checkpoint {path}: {reason}. The former one is untouched."
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state written to ``path``.

    Raises:
        DamagedCheckpointError: it is not a checkpoint, or cut short, or its bytes changed.
        ValueError: it does not exist, or is of a later format.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist.")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"PK\x03\x04":
        raise DamagedCheckpointError(f"{path} is not a checkpoint.")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself does not compare the checksums
        if damaged is not None:
            raise DamagedCheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong.")
        document = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, EOFError) as error:
        raise DamagedCheckpointError(f"{path} is damaged: it is cut short ({error}).") from error
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise DamagedCheckpointError(
            f"{path} is not a checkpoint of this project ({_first_line(error)})."
        ) from error
    except (MemoryError, DamagedCheckpointError):
        raise
    except Exception as error:  # zipfile, zlib, struct and others have errors of their own
        raise DamagedCheckpointError(f"{path} is damaged ({_first_line(error)}).") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise DamagedCheckpointError(f"{path} is not a checkpoint of this project.")
    if document["version"] > _VERSION:
        raise ValueError(
            f"{path} is of checkpoint format {document['version']}; this version reads up to "
            f"{_VERSION}. Install a newer powergrid-muzero."
        )
    return document["state"]


def restore_agent(agent: Agent, state: Mapping[str, Any], *, origin: str) -> None:
    """Give ``agent`` the weights in ``state``, which must be of the same network.

    Args:
        agent: whose ``load_state_dict`` is called.
        state: from ``state_dict`` of an agent of the same configuration.
        origin: where the state comes from, for messages.

    Raises:
        ValueError: another network; the message names the first thing that differs.
    """
    difference = _first_difference(agent.state_dict(), state, "")
    if difference:
        raise ValueError(
            f"{origin} is of another network: {difference}. Build the agent with the "
            "configuration that the checkpoint was trained with."
        )
    agent.load_state_dict(state)


def checked_weights(
    state: Mapping[str, Any],
    entry: str,
    ours: Mapping[str, torch.Tensor],
    *,
    agent: str,
    choices: str,
) -> Mapping[str, torch.Tensor]:
    """Return the weights at ``entry`` of an agent's state, which must be of the same network.

    Args:
        state: what ``load_state_dict`` was given.
        entry: where the weights are in it.
        ours: the weights of the agent's own network.
        agent: whose weights they should be, for messages.
        choices: what a network's shapes depend on, for messages.

    Raises:
        ValueError: no weights, or those of another network; the message names the first difference.
    """
    theirs = state.get(entry)
    if not isinstance(theirs, Mapping):
        raise ValueError(f"not weights of {agent}: expected {entry!r}, found {sorted(state)[:5]}")
    difference = _first_difference(ours, theirs, "")
    if difference:
        raise ValueError(
            f"the weights are of another network: {difference}; "
            f"choose the {choices} that they were trained with"
        )
    return theirs


def check_entries(state: Mapping[str, Any], entries: Sequence[str]) -> None:
    """Refuse a training state without one of ``entries``.

    Raises:
        ValueError: weights alone, or the state of another kind of agent.
    """
    missing = [entry for entry in entries if entry not in state]
    if missing:
        raise ValueError(
            f"the run's latest checkpoint is not the state of such a training: it lacks "
            f"{', '.join(missing)}, and holds {', '.join(sorted(state))}. Weights alone cannot be "
            "resumed; begin a new run with weights=FILE."
        )


def _first_difference(ours: Any, theirs: Any, name: str) -> str:
    """Name the first tensor that is absent or of another shape; "" if there is none."""
    if isinstance(ours, torch.Tensor):
        if not isinstance(theirs, torch.Tensor):
            return f"{name} is no tensor there"
        if ours.shape != theirs.shape:
            return f"{name} is {list(theirs.shape)} there and {list(ours.shape)} here"
        return ""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in ours:
            path = f"{name}.{key}" if name else str(key)
            if key not in theirs:
                return f"{path} is absent there"
            if difference := _first_difference(ours[key], theirs[key], path):
                return difference
        for key in theirs:
            if key not in ours:
                return f"{f'{name}.{key}' if name else key} is absent here"
    return ""


def _check_plain(value: Any, where: str) -> None:
    """Refuse what ``torch.load(weights_only=True)`` would refuse, before it is too late."""
    if type(value) in _PLAIN or isinstance(value, torch.Tensor):
        return
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_plain(entry, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, entry in enumerate(value):
            _check_plain(entry, f"{where}[{index}]")
    else:
        raise ValueError(
            f"{where} is a {type(value).__module__}.{type(value).__qualname__}; a checkpoint takes "
            "tensors and plain Python only."
        )


def _link(source: Path, target: Path) -> None:
    """Make ``target`` another name of ``source``'s file, in one step."""
    with tempfile.TemporaryDirectory(
        dir=target.parent, prefix=".link.", suffix=UNFINISHED
    ) as folder:
        temporary = Path(folder) / target.name
        try:
            os.link(source, temporary)
        except OSError:  # a file system without hard links
            temporary.write_bytes(source.read_bytes())
        os.replace(temporary, target)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
