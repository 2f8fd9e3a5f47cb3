"""What grid2op says of a step, in words: why it refused the action, and how the game ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grid2op.Exceptions import IllegalAction, IllegalRedispatching

from envs.grid.blackout_text import NO_SOLUTION, after_cascade, what_it_says
from envs.grid.state import GridLayout


def was_refused(their_info: Mapping[str, Any]) -> bool:
    """Return whether grid2op did nothing in place of the action, or of its redispatching."""
    return bool(
        their_info["is_illegal"]
        or their_info["is_ambiguous"]
        or any(isinstance(one, IllegalRedispatching) for one in their_info["exception"])
    )


def why_refused(their_info: Mapping[str, Any]) -> str:
    """Return why grid2op refused an action, in its own words."""
    return "; ".join(
        what_it_says(one) if isinstance(one, IllegalRedispatching) else str(one)
        for one in their_info["exception"]
    )


def blackout_words(layout: GridLayout, their_info: Mapping[str, Any]) -> str:
    """Return why a game was lost, and the lines that tripped in its last step."""
    return f"blackout: {_cause(their_info)}{after_cascade(layout, their_info['disc_lines'])}"


def _cause(their_info: Mapping[str, Any]) -> str:
    """Return the first line of what grid2op says ended the game, refused actions aside."""
    for exception in their_info["exception"]:
        if not isinstance(exception, IllegalAction):
            return what_it_says(exception)
    return NO_SOLUTION
