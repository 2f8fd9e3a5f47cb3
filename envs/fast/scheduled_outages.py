"""Planned outages (maintenance) and hazards of a scenario, as grid2op plays them.

In every row of an outage grid2op opens its lines, after the action, and keeps them from being
closed for as long as it lasts. Planned outages are told beforehand; a look-ahead opens those of the
next step before the action.

Shape letters: L lines, T rows, l lines that are ever out.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from grid2op.Chronics import GridValue

from envs.scenarios import Scenario


@dataclass(frozen=True)
class Outages:
    """What outages do in each row of a scenario."""

    lines: np.ndarray  # [l] int, that are ever out
    out: np.ndarray  # [T, l] bool, those that are opened
    held: np.ndarray  # [T, l] int32, steps from the row on in which they cannot be closed
    maintenance_in: np.ndarray  # [T, l] int32, steps to the next planned outage, -1 = none
    maintenance_duration: np.ndarray  # [T, l] int32, steps that it lasts
    foreseen: np.ndarray  # [T, l] bool, those that a look-ahead at the row opens
    changes: np.ndarray  # [*] int, ascending: rows in which more is out or held than one step later

    def quiet(self, row: int) -> int:
        """Return how many rows follow on ``row`` before the next one that changes anything."""
        place = np.searchsorted(self.changes, row, side="right")
        return int(self.changes[place]) - row - 1 if place < len(self.changes) else len(self.out)

    def foretold(self, row: int) -> int:
        """Return how many rows, ``row`` the first, follow before a look-ahead opens lines."""
        ahead = self.foreseen[row:].any(axis=1)
        return int(ahead.argmax()) if ahead.any() else len(self.out)


_known: dict[tuple[int, int], Outages] = {}  # of arrays that are alive


def outages_of(scenario: Scenario) -> Outages | None:
    """Return the outages of ``scenario``, None if there are none; scenarios share what they can."""
    given = [one for one in (scenario.maintenance, scenario.hazards) if one is not None]
    if not given:
        return None
    key = id(scenario.maintenance), id(scenario.hazards)
    found = _known.get(key)
    if found is None:
        found = _known[key] = _read(scenario)
        for one in given:
            weakref.finalize(one, _known.pop, key, None)
    return found


def _read(scenario: Scenario) -> Outages:
    given = [one for one in (scenario.maintenance, scenario.hazards) if one is not None]
    lines = np.flatnonzero(sum(one.any(axis=0) for one in given))
    nothing = np.zeros((len(given[0]), len(lines)), dtype=np.bool_)
    planned, hazards = (
        nothing if one is None else one[:, lines].astype(np.bool_)
        for one in (scenario.maintenance, scenario.hazards)
    )

    def by_line(function: Callable[[np.ndarray], np.ndarray], outages: np.ndarray) -> np.ndarray:
        found = [function(line) for line in outages.T]
        return np.array(found, dtype=np.int32).reshape(len(found), len(outages)).T.copy()

    starts = by_line(GridValue.get_maintenance_time_1d, planned)
    duration = by_line(GridValue.get_maintenance_duration_1d, planned)
    held = np.maximum(np.where(starts == 0, duration, 0), 0)
    held = np.maximum(held, by_line(GridValue.get_hazard_duration_1d, hazards))
    # grid2op forgets what begins next while another line's outage goes on beyond the next step
    going_on = ((starts == 0) & (duration > 1)).any(axis=1, keepdims=True)
    out = planned | hazards
    changes = np.ones(len(out), dtype=np.bool_)
    changes[1:] = (out[1:] & ~out[:-1]).any(axis=1) | (held[1:] > np.maximum(held[:-1] - 1, 0)).any(
        axis=1
    )
    return Outages(
        lines=lines,
        out=out,
        held=held,
        maintenance_in=starts,
        maintenance_duration=duration,
        foreseen=(starts == 1) & ~going_on,
        changes=np.flatnonzero(changes),
    )
