"""Runs of the commands in the tests' own process, which saves starting another."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from agents.commands import entry


def run_main(main: Callable[[], None], *arguments: str) -> int:
    """Return the exit code of ``main``; what it changes in the process is undone."""
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["powergrid", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            GlobalHydra.instance().clear()
            logging.getLogger().setLevel(level)
            logging.getLogger().handlers[:] = handlers
    return 0


def trained_in(folder: Path, *overrides: str) -> Path:
    """Return the folder of a run that is trained there to its end."""
    with contextlib.chdir(folder):
        assert run_main(entry.train, *overrides, "folder=run") == 0
    return folder / "run"
