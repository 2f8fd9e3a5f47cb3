"""Output folders: created atomically, with one writer at a time."""

from __future__ import annotations

import itertools
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".writer.lock"
HOLDER = ".writer.json"  # who holds the lock, for messages

_PATIENCE = 0.3  # seconds; for a lock that is just being released


class UnwritableFolderError(ValueError):
    """A folder for output cannot be made, or not be written to."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(f"{folder} cannot be written to ({error.strerror}). Name another folder.")


@contextmanager
def output_folder(asked: Path | None, *, parent: Path) -> Iterator[Path]:
    """Make the folder of a command's output and be its only writer until the block ends.

    If the block leaves it empty, it is removed again.

    Args:
        asked: the folder; absent or empty. None makes a new one in ``parent``.
        parent: of ``DATE_TIME``, with a number added if that exists already.

    Yields:
        The folder.

    Raises:
        ValueError: ``asked`` is a file, is not empty, or another command writes to it.
        UnwritableFolderError: it cannot be made or written to.
    """
    place = parent if asked is None else asked
    made = [path for path in (place, *place.parents) if not path.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            folder = _new_folder(parent) if asked is None else _asked_folder(asked)
            if asked is None:
                made.insert(0, folder)
            stack.enter_context(only_writer(folder))
        except OSError as error:
            raise UnwritableFolderError(place, error) from error
        if set(os.listdir(folder)) - {LOCK, HOLDER}:
            raise ValueError(f"folder {folder} is not empty. Name another with folder=...")
        yield folder


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only command that writes to ``folder`` until the block ends. Others may read it.

    The operating system holds the lock, so it is gone with the process, however that ends.

    Args:
        folder: an existing folder.

    Raises:
        ValueError: another process writes to it; the message says which, where and since when.
        UnwritableFolderError: the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout as error:
        raise ValueError(
            f"{folder} is being written to by {_holder(folder)}. Wait until it is done, or stop it."
        ) from error
    except OSError as error:
        raise UnwritableFolderError(folder, error) from error
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }
    try:
        try:
            (folder / HOLDER).write_text(json.dumps(holder), encoding="utf-8")
        except OSError as error:  # the last byte of a disk may have gone into the lock
            raise UnwritableFolderError(folder, error) from error
        yield
    finally:
        for name in (HOLDER, LOCK):  # who waits for a lock file that was removed opens a new one
            with suppress(OSError):
                (folder / name).unlink()
        lock.release()


def check_writable(file: Path) -> None:
    """Refuse the file of a long command's output before the work is done.

    Raises:
        UnwritableFolderError: its folder is not there, or cannot be written to.
    """
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise UnwritableFolderError(file.parent, error) from error


def _remove_empty(folders: Sequence[Path]) -> None:
    with suppress(OSError):  # not empty, as it should be
        for folder in folders:
            folder.rmdir()


def _new_folder(parent: Path) -> Path:
    """Make and return ``parent/DATE_TIME``, or the first free of ``_2``, ``_3``, ..."""
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in itertools.count(1):
        path = parent / (stamp if number == 1 else f"{stamp}_{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("counting ended")


def _asked_folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ValueError(f"folder {path} is a file. Name another with folder=...")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # not written yet
        return "another process"
