"""Atomic file writes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

UNFINISHED = ".part"  # end of the name of what is still being written


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an ``OSError`` that names no file, as that of a full disk, name ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sweep(folder: Path) -> None:
    """Remove what killed writes have left in ``folder``; nobody may be writing to it."""
    for path in folder.glob(f".*{UNFINISHED}"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name beside ``path``, then put it in its place at once.

    The former file stays as it was until the new one is whole and on the disk, and for ever if
    the block raises.

    Args:
        path: where the file shall be; its folder must exist.

    Yields:
        A binary file to write to.

    Raises:
        OSError: it could not be written; ``filename`` says which.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    temporary = Path(name)
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be opened (POSIX)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
