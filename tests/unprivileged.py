"""Processes that permission bits hold for, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import skip_without

_STRANGER = 54321  # a user that no machine knows
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def bound_by_permissions() -> list[str]:
    """Return what to put before a command so that it cannot write what is read-only."""
    if os.geteuid() != 0:
        return []
    _need_setpriv()
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def stranger(folder: Path) -> list[str]:
    """Return what to put before a command to run it as another user, whom ``folder`` is given to.

    Empty without root: nobody else can be had then, and permission bits hold as it is.
    """
    if os.geteuid() != 0:
        return []
    os.chown(folder, _STRANGER, _STRANGER)
    return _as_stranger()


def shared_python(packages: Path) -> str:
    """Return a Python of this version that the stranger can start, or skip the test.

    Root's own is often below a home that others cannot enter; a system has others.

    Args:
        packages: a folder with packages of this Python, which the stranger must be able to read.
    """
    if os.geteuid() != 0:
        return sys.executable
    name = f"python{_VERSION}"
    found = [Path(folder) / name for folder in os.get_exec_path() + os.defpath.split(os.pathsep)]
    check = "import os, sys, venv; os.listdir(sys.argv[1])"
    start = [*_as_stranger(), "sh", "-c", 'exec "$@"', "sh"]  # setpriv itself is root for too long
    for python in dict.fromkeys([Path(sys.executable), *found, Path("/usr/local/bin") / name]):
        command = [*start, str(python), "-c", check, str(packages)]
        if subprocess.run(command, cwd="/", capture_output=True).returncode == 0:
            return str(python)
    skip_without(f"needs a Python {_VERSION} that other users can start, and {packages} readable")
    raise AssertionError


def _as_stranger() -> list[str]:
    _need_setpriv()
    return ["setpriv", f"--reuid={_STRANGER}", f"--regid={_STRANGER}", "--clear-groups"]


def _need_setpriv() -> None:
    skip_without("" if shutil.which("setpriv") else "needs setpriv of util-linux")
