"""Checks the actions that an agent returns; invalid ones are never replaced in silence.

Shape letters: A actions, B environments, L lines, S substations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from envs import ActionCatalogue


class InvalidActionsError(ValueError):
    """What the agent returned are no actions, or not one for each environment."""


def check_batch(given: Any, num_envs: int) -> np.ndarray:
    """Return ``[B]`` int64 actions; they may be out of range.

    Args:
        given: what an agent's ``act`` returned.
        num_envs: B.

    Raises:
        InvalidActionsError: another shape, or no integers.
    """
    actions = np.asarray(given)
    if actions.shape != (num_envs,):
        raise InvalidActionsError(
            f"it returned actions of shape {actions.shape}; expected ({num_envs},), one for each "
            "environment"
        )
    if not np.issubdtype(actions.dtype, np.integer):
        nan = actions.dtype.kind == "f" and bool(np.isnan(actions).any())
        raise InvalidActionsError(
            f"it returned {'NaN among ' if nan else ''}{actions.dtype} actions; expected integers"
        )
    return actions.astype(np.int64)


def out_of_range(action: int, num_actions: int) -> str:
    """Return what is wrong with a number that is no action's.

    Args:
        action: as returned.
        num_actions: A.
    """
    return f"it returned action {action}; expected 0 to {num_actions - 1}"


def lines_acted_on(catalogue: ActionCatalogue) -> np.ndarray:
    """Return ``[A, L]`` bool: the action is to open, close or switch the line."""
    return (catalogue.set_line != 0) | catalogue.switch_line


def substations_acted_on(catalogue: ActionCatalogue) -> np.ndarray:
    """Return ``[A, S]`` bool: the action is to move element ends of the substation.

    A line that is closed at busbars of its own is about the line, as in grid2op's rules.
    """
    layout = catalogue.layout
    moved = np.array((catalogue.set_busbar != 0) | catalogue.switch_busbar)  # [A, E]
    moved[lines_acted_on(catalogue).any(axis=1)] = False
    touched = np.zeros((len(moved), layout.num_substations), dtype=np.bool_)
    for substation in range(layout.num_substations):
        touched[:, substation] = moved[:, layout.element_substation == substation].any(axis=1)
    return touched
