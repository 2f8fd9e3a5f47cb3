"""Describes in words why a game was lost."""

from __future__ import annotations

import numpy as np

from envs.grid.action_text import line_text
from envs.grid.state import GridLayout

NO_SOLUTION = "the power flow has no solution"
NO_DISPATCH = "the generators cannot balance the grid within their ramps and limits"
_IN_WORDS = (  # how what lightsim2grid or grid2op says begins, and what that means for the grid
    ("Divergence of DC powerflow", "the grid fell apart: no solution"),
    ("Divergence of AC powerflow", NO_SOLUTION),
    ("This is an attempt to explain why the dispatch", NO_DISPATCH),
    ("Game over due to infeasible redispatching", NO_DISPATCH),
)


def first_line(cause: str) -> str:
    """Return why there is no power flow, in words, from what the simulator says.

    What is not known keeps its first line, without quotes and the full stop.
    """
    lines = cause.strip(" \"'\n").splitlines()
    if not lines:
        return NO_SOLUTION
    said = lines[0].rstrip(" .")
    return next((words for begin, words in _IN_WORDS if said.startswith(begin)), said)


def what_it_says(exception: BaseException) -> str:
    """Return the first line of an exception of grid2op's, which may hold another one."""
    said: object = exception.args[0] if exception.args else ""
    return first_line(str(said.args[0] if isinstance(said, Exception) and said.args else said))


def after_cascade(layout: GridLayout, rounds: np.ndarray) -> str:
    """Return " after line 3-6 (line 15) tripped, then line 1-3 (line 4)", "" if nothing tripped.

    Args:
        layout: of the grid.
        rounds: ``[L]`` int, in which round of the cascade each line tripped, from 0; -1 for never.
    """
    tripped = [np.flatnonzero(rounds == number) for number in np.unique(rounds[rounds >= 0])]
    if not tripped:
        return ""
    first, *others = (
        " and ".join(line_text(layout, line) for line in lines.tolist()) for lines in tripped
    )
    return f" after {first} tripped" + "".join(f", then {lines}" for lines in others)
