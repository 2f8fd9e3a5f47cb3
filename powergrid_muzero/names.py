"""Answers a wrong name with the nearest right one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def choose(kind: str, name: str, options: Iterable[str]) -> str:
    """Return ``name`` if it is one of ``options``.

    Args:
        kind: what is being named, for the message, such as "reward".
        name: what was given.
        options: the right names, in the order the message should list them.

    Raises:
        ValueError: ``name`` is not an option; the message names the nearest one and lists all (the
            first twenty of a long list).
    """
    names = tuple(options)
    if name in names:
        return name
    lowered = {option.lower(): option for option in reversed(names)}
    given = name.lower() if isinstance(name, str) else ""  # None is not a misspelt "connected"
    close = get_close_matches(given, lowered, n=1, cutoff=0.4)
    hint = f"; did you mean {lowered[close[0]]!r}?" if close else "."
    listed = ", ".join(names[:20])
    if len(names) > 20:
        listed += f", ... ({len(names)} in all)"
    raise ValueError(f"unknown {kind} {name!r}{hint} One of: {listed or '(none)'}")


def where_not_found(name: str) -> str:
    """Return what to do where a module lies in the present folder, which Python does not look in.

    Args:
        name: of a class that cannot be imported, such as "my_reward:Calm" or "mine.agent.Mine".

    Returns:
        a part of a sentence, or "" where the module is elsewhere, or is found.
    """
    module = re.split("[.:]", name)[0]
    here = next((one for one in (Path(f"{module}.py"), Path(module)) if one.exists()), None)
    if here is None or not module.isidentifier() or find_spec(module) is not None:
        return ""
    return f"; {here} lies in the present folder: start with PYTHONPATH=. or install it"


def keywords_of(function: Callable[..., object]) -> tuple[str, ...]:
    """Return the names of the keywords that ``function`` declares."""
    kinds = ("KEYWORD_ONLY", "POSITIONAL_OR_KEYWORD")
    parameters = signature(function).parameters.values()
    return tuple(one.name for one in parameters if one.kind.name in kinds and one.name != "self")


def named_keywords(
    function: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Answer a keyword that ``function`` does not have as ``choose`` does (a decorator)."""
    known = keywords_of(function)

    @wraps(function)
    def checked(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        for name in kwargs:
            if name not in known:
                choose("keyword argument", name, known)
        return function(*args, **kwargs)

    return checked
