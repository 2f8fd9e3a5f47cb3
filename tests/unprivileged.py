"""Processes that permission bits hold for, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import skip_without

_STRANGER = 54321  # a user that no machine knows


def bound_by_permissions() -> list[str]:
    """Return what to put before a command so that it cannot write what is read-only."""
    if os.geteuid() != 0:
        return []
    _need_setpriv()
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def stranger(folder: Path) -> list[str]:
    """Return what to put before a command to run it as another user, whom ``folder`` is given to.

    Empty where that cannot be: without root, or where others may not start this interpreter.
    """
    if os.geteuid() != 0:
        return []
    _need_setpriv()
    prefix = ["setpriv", f"--reuid={_STRANGER}", f"--regid={_STRANGER}", "--clear-groups"]
    again = "import subprocess, sys; subprocess.run([sys.executable, '-V'], check=True)"
    tried = subprocess.run([*prefix, sys.executable, "-c", again], cwd="/", capture_output=True)
    if tried.returncode:
        return []
    os.chown(folder, _STRANGER, _STRANGER)
    return prefix


def _need_setpriv() -> None:
    skip_without("" if shutil.which("setpriv") else "needs setpriv of util-linux")
