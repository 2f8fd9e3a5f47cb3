"""The two commands, run in the tests' own process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    error: str


@pytest.fixture
def command(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run ``main`` with arguments, in an empty folder; what it changes in the process is undone."""

    def run(main: Callable[[], None], *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["powergrid", *arguments])
        level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            GlobalHydra.instance().clear()
            logging.getLogger().setLevel(level)
            logging.getLogger().handlers[:] = handlers
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
