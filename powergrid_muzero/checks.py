"""Checks values that users pass in: one clear ValueError, nothing cast in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

_MOST = 2**31 - 1  # of what is counted in steps and the like: it fits in every integer of numpy's
_TRIPS_AT_ONCE = 2.0  # rho: grid2op's HARD_OVERFLOW_THRESHOLD


class _Closes(Protocol):
    def close(self) -> None: ...


@contextmanager
def closed_if_refused(opened: _Closes) -> Iterator[None]:
    """Close what was opened if what follows, such as a check of arguments, raises."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an integer of Python or numpy, or an array of no axes of one."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and np.issubdtype(value.dtype, np.integer)
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether ``value`` is a real number of Python or numpy; True and False are none."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63  # else no float may hold it
    return isinstance(value, float | np.integer | np.floating)


def as_array(given: Any) -> np.ndarray:
    """Return ``given`` as an array; one of no axes for what is ragged, and so no array."""
    try:
        return np.asarray(given)
    except ValueError:
        return np.asarray(None)


def shown(value: Any, *, most: int = 100) -> str:
    """Return ``value`` for a message: on one line, and cut short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def check_action(action: Any, num_actions: int) -> int:
    """Return ``action`` as an int.

    Raises:
        ValueError: it is not an integer in [0, num_actions).
    """
    if not is_integer(action):
        shape = f" of shape {action.shape}" if isinstance(action, np.ndarray) else ""
        raise ValueError(
            f"an action is an integer from 0 to {num_actions - 1}, but {action!r} is "
            f"{type(action).__name__}{shape}"
        )
    number = int(action)
    if not 0 <= number < num_actions:
        raise ValueError(f"an action is an integer from 0 to {num_actions - 1}, but is {number}")
    return number


def check_attack_seed(value: Any) -> int:
    """Return the seed of an episode's attacks as an int.

    Raises:
        ValueError: it is not an integer in [0, 2^31 - 1).
    """
    if not is_integer(value) or not 0 <= value < 2**31 - 1:
        raise ValueError(
            f"the reset option 'attack_seed' must be an integer from 0 to {2**31 - 2}, but is "
            f"{value!r}"
        )
    return int(value)


def check_outages(outages: Any, num_lines: int) -> np.ndarray:
    """Return the lines whose loss is looked at, ``[C]`` int64.

    Raises:
        ValueError: they are not integers in [0, num_lines).
    """
    given = as_array(outages)
    if given.size == 0:
        given = given.astype(np.int64)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"outages must be a list of lines, by number, but is {shown(outages)}")
    wrong = given[(given < 0) | (given >= num_lines)]
    if len(wrong):
        raise ValueError(
            f"outages are lines from 0 to {num_lines - 1}, by number, but one is {wrong[0]}"
        )
    return given.astype(np.int64)


def check_count(name: str, value: Any, *, least: int = 1, most: int | None = _MOST) -> int:
    """Return ``value`` as an int.

    Raises:
        ValueError: it is not an integer, less than ``least`` or more than ``most``, if any.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, but is {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be an integer of at most {most}, but is {value}")
    return int(value)


def check_seed(value: Any) -> int:
    """Return a seed as an int, however large.

    Raises:
        ValueError: it is not an integer of at least 0.
    """
    return check_count("seed", value, least=0, most=None)


def check_options(options: Any) -> dict[str, Any]:
    """Return a copy of the reset options, {} for None.

    Raises:
        ValueError: they are not a dict.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(
            f'reset options must be a dict such as {{"first_step": 0}}, but are {shown(options)}'
        )
    return dict(options)


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool.

    Raises:
        ValueError: it is not True or False; "no" and 1 are not either.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, but is {value!r}")
    return bool(value)


def check_gate(threshold: Any) -> float | None:
    """Return the idle gate's threshold as a float, None for no gate.

    Raises:
        ValueError: it is not a number above 0 and below 2.
    """
    if threshold is None:
        return None
    if not is_number(threshold):
        raise ValueError(f"the idle gate's threshold must be a number, but is {threshold!r}")
    if not 0 < threshold < _TRIPS_AT_ONCE:
        raise ValueError(
            f"the idle gate's threshold must be above 0 and below {_TRIPS_AT_ONCE:g}, such as 0.95,"
            f" but is {threshold}: a line loaded that much trips at once, so nobody would be asked"
        )
    return float(threshold)


def check_actions(actions: Any, count: int, num_actions: int) -> np.ndarray:
    """Return ``[count]`` int64 actions, one per environment.

    Raises:
        ValueError: another number of them, not integers, or out of [0, num_actions).
    """
    given = as_array(actions)
    if given.shape != (count,):
        raise ValueError(
            f"actions have shape {given.shape}; expected ({count},), one per environment."
        )
    return _in_range(given, num_actions)


def check_action_list(actions: Any, num_actions: int) -> np.ndarray:
    """Return ``[K]`` int64 actions, however many.

    Raises:
        ValueError: they are no list of integers in [0, num_actions), or an action mask.
    """
    given = as_array(actions if isinstance(actions, Sequence | np.ndarray) else None)
    if given.ndim != 1:
        raise ValueError(f"actions to look at must be a list of integers, but are {shown(actions)}")
    if given.size == 0:
        return given.astype(np.int64)
    if given.shape == (num_actions,) and given.dtype in (np.int8, np.bool_) and given.max() <= 1:
        raise ValueError(
            "actions to look at are given by their numbers, not by an action mask: "
            "np.flatnonzero(mask) has the numbers"
        )
    return _in_range(given, num_actions)


def _in_range(given: np.ndarray, num_actions: int) -> np.ndarray:
    if not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"an action is an integer from 0 to {num_actions - 1}, but actions are {given.dtype}"
        )
    wrong = (given < 0) | (given >= num_actions)
    if wrong.any():
        raise ValueError(
            f"an action is an integer from 0 to {num_actions - 1}, but is {given[wrong][0]}"
        )
    return given.astype(np.int64)
