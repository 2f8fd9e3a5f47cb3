"""Distance of a topology from the reference: all elements on busbar 1, all lines closed.

The reference topology is the most meshed one, so it stands what nobody foresaw best. Moves that
pile up take a grid ever further from it, each good for the minute it was made in.
"""

from __future__ import annotations

import numpy as np

from envs import REFERENCE_BUSBAR, ActionCatalogue, GridState


def departures(
    catalogue: ActionCatalogue, state: GridState, row: int, actions: np.ndarray
) -> np.ndarray:
    """Return how far from the reference topology each action leads.

    Args:
        catalogue: of the grid.
        state: of B grids.
        row: which of them.
        actions: ``[K]`` int.

    Returns:
        ``[K]`` int, element ends that would be on busbar 2 or, with their line, open.
    """
    one = slice(row, row + 1)
    results = catalogue.results(state.topo_vect[one], state.last_busbar[one], actions.tolist())[0]
    return (results != REFERENCE_BUSBAR).sum(axis=1)


def rank(rho_max: np.ndarray, departed: np.ndarray, safe: float | None) -> np.ndarray:
    """Return the places of K outcomes, best first.

    Those with a loading below ``safe`` come before all others, the nearest to the reference first;
    then, and where ``safe`` is None always, the least loading counts. Of equal ones the first is
    first.

    Args:
        rho_max: ``[K]`` highest line loading, inf where the game would end.
        departed: ``[K]`` int, see ``departures``.
        safe: loading below which an outcome is safe; None for none.
    """
    if safe is None:
        return np.argsort(rho_max, kind="stable")
    holds = rho_max < safe
    return np.lexsort((rho_max, np.where(holds, departed, 0), ~holds))


def check_loading(name: str, value: float, kind: str = "loading") -> float:
    """Return ``value``, a loading of 0 or more, or another ``kind`` of number of 0 or more.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0.0:
        raise ValueError(f"{name} is {value!r}; expected a {kind} of 0 or more.")
    return float(value)
