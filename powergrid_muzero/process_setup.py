"""Prepares numba's and matplotlib's folders where the usual ones cannot be written.

In a container the installation and the home are often read-only: numba then refuses to cache what
it compiles, and matplotlib warns at every start. Both get a folder of the user's own in the
temporary directory. A notebook hands its children an ``MPLBACKEND`` that another environment may
not have: pictures are then drawn by "agg". Variables are set in ``os.environ``, so that worker
processes find the same.

What numba keeps of a function depends on that function's file alone, though functions of other
files may be compiled into it. So after a change the rest of a folder's compiled code is forgotten.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

_ALWAYS_THERE = ("", "agg", "cairo", "pdf", "pgf", "ps", "svg")  # backends of matplotlib


def prepare_process() -> None:
    """Set what is missing; call it before anything imports matplotlib or compiles with a cache.

    Raises:
        OSError: there is no temporary directory either.
    """
    if os.path.expanduser("~") == "~":  # a user that the machine does not know, as in containers
        os.environ["HOME"] = str(_own_folder())
    if not _numba_can_cache():
        os.environ["NUMBA_CACHE_DIR"] = str(_own_folder() / "numba")
        if "numba" in sys.modules:
            sys.modules["numba.core.config"].reload_config()
    if "matplotlib" not in sys.modules:
        ensure_writable("MPLCONFIGDIR", "XDG_CONFIG_HOME", "~/.config", name="matplotlib")
        ensure_writable("MPLCONFIGDIR", "XDG_CACHE_HOME", "~/.cache", name="matplotlib")
        _choose_backend()


def forget_stale_code(package: Path) -> None:
    """Delete what numba compiled in a folder of a package before a change of its compiled code.

    Functions are compiled into those of the same folder alone, which a test sees to.

    Args:
        package: folder of the package; what cannot be deleted in it is left.
    """
    for cache in package.rglob("__pycache__"):
        kept = list(cache.glob("*.nbi"))
        modules = {cache.parent / f"{index.name.partition('.')[0]}.py" for index in kept}
        changed = max((path.stat().st_mtime for path in modules if path.exists()), default=0.0)
        for index in kept:
            with contextlib.suppress(OSError):  # read-only, or another process was first
                if index.stat().st_mtime < changed:
                    index.unlink()


def ensure_writable(variable: str, base_variable: str, base: str, *, name: str) -> None:
    """Name a folder of the user's own in ``variable`` where a library's usual one is not writable.

    Args:
        variable: of the environment, which the library reads; set if needed.
        base_variable: of the environment, which names the folder that the usual one is in.
        base: that folder where neither variable is set, such as "~/.cache".
        name: of the usual folder in it, and of the one that takes its place.

    Raises:
        OSError: there is no temporary directory.
    """
    usual = os.environ.get(variable) or f"{os.environ.get(base_variable) or base}/{name}"
    if not _can_make(usual):
        os.environ[variable] = str(_own_folder() / name)


def _numba_can_cache() -> bool:
    """Whether numba can write to any of the folders that it tries, which it is not loaded for."""
    asked = os.environ.get("NUMBA_CACHE_DIR")
    beside_the_code = str(Path(__file__).parent / "__pycache__")
    of_the_user = f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/numba"
    return any(map(_can_make, filter(None, (asked, beside_the_code, of_the_user))))


def _can_make(folder: str) -> bool:
    """Whether ``folder`` can be written to, or made."""
    path = Path(os.path.expanduser(folder))
    nearest = next(one for one in (path, *path.absolute().parents) if one.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _choose_backend() -> None:
    if os.environ.get("MPLBACKEND", "").lower() in _ALWAYS_THERE:  # without loading matplotlib
        return
    wanted = os.environ.pop("MPLBACKEND")
    import matplotlib  # fails if the variable names what is not there

    try:
        matplotlib.rcParams["backend"] = wanted
    except ValueError:
        matplotlib.rcParams["backend"] = wanted = "agg"
    os.environ["MPLBACKEND"] = wanted


def _own_folder() -> Path:
    """Return a folder that nobody else can write to: what numba caches is run."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"powergrid-muzero-{user}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        private = os.name != "posix" or (
            found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
        )
        if not stat.S_ISDIR(found.st_mode) or not private:  # somebody else's
            return Path(tempfile.mkdtemp(prefix="powergrid-muzero-"))
    return folder
