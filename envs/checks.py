"""What users pass in, checked: one clear ValueError, nothing silently cast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an integer of Python or numpy, or an array of no axes of one."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and np.issubdtype(value.dtype, np.integer)
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


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


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return ``value`` as an int.

    Raises:
        ValueError: it is not an integer, or less than ``least``.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, but is {value!r}")
    return int(value)


def check_options(options: Any) -> dict[str, Any]:
    """Return a copy of the reset options, {} for None.

    Raises:
        ValueError: they are not a dict.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(
            f'reset options must be a dict such as {{"first_step": 0}}, but are {options!r}'
        )
    return dict(options)
