"""Profiles a benchmark, function by function, and tells its memory."""

from __future__ import annotations

import cProfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any


def functions_by_time(work: Callable[[], Any], *, repeats: int, most: int = 9) -> str:
    """Run ``work`` under a profiler; return the functions that take most of the time, a line each.

    Args:
        work: what is measured.
        repeats: how often it runs.
        most: functions to name.
    """
    profiler = cProfile.Profile()
    with profiler:
        for _ in range(repeats):
            work()
    entries = sorted(profiler.getstats(), key=lambda entry: -entry.inlinetime)
    total = sum(entry.inlinetime for entry in entries)
    return "\n".join(
        f"  {entry.inlinetime / total:6.1%}  {entry.callcount:7d} calls  {_name(entry.code)}"
        for entry in entries[:most]
    )


def resident_mb() -> float:
    """Return the resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _name(code: CodeType | str) -> str:
    """Return a function's name and place; one of C has a name alone."""
    if isinstance(code, str):
        return code
    return f"{code.co_name} ({Path(code.co_filename).name}:{code.co_firstlineno})"
