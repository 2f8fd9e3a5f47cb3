"""The two commands, run in the tests' own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.agents.command_runs import run_main


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    error: str


@pytest.fixture
def command(working_folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``main`` with arguments, in an empty folder; what it changes in the process is undone."""

    def run(main: Callable[[], None], *arguments: str) -> Outcome:
        code = run_main(main, *arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
