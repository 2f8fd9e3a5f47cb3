"""Processes that permission bits hold for, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import skip_without

_STRANGER = 54321  # a user that no machine knows


def bound_by_permissions() -> list[str]:
    """Return what to put before a command so that it cannot write what is read-only."""
    if os.geteuid() != 0:
        return []
    _need_setpriv()
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def as_stranger(folder: Path) -> list[str]:
    """Return what to put before a command to run it as another user, who owns ``folder`` alone."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a command as another user")
    _need_setpriv()
    user = str(_STRANGER)
    prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    again = [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-V'])"]
    tried = subprocess.run([*prefix, *again], cwd="/", capture_output=True)
    if tried.returncode or tried.stderr:
        pytest.skip(f"{sys.executable} cannot be started by other users")
    os.chown(folder, _STRANGER, _STRANGER)
    for parent in folder.parents:
        if parent.owner() == folder.parents[-1].owner() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)  # pytest's own folders are private
    return prefix


def _need_setpriv() -> None:
    skip_without("" if shutil.which("setpriv") else "needs setpriv of util-linux")
