"""``PowerSettings``: what actions do with active power: redispatching, curtailment, storage units.

Shape letters: A actions, G generators, N storage units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from envs.grid.action_sets.wiring import Wiring

if TYPE_CHECKING:
    from grid2op.Action import ActionSpace

REDISPATCH, CURTAIL, SET_STORAGE = POWER_KINDS = ("redispatch", "curtail", "set_storage")
NOT_CURTAILED = -1.0  # grid2op's word for "as it is"
_NOTHING = {REDISPATCH: 0.0, CURTAIL: NOT_CURTAILED, SET_STORAGE: 0.0}
_MEANT = {
    REDISPATCH: "a number of MW",
    CURTAIL: "a ratio of its p_max from 0 to 1",
    SET_STORAGE: "a number of MW",
}


class PowerSettings(NamedTuple):
    """What each of A actions does with generators and storage units, with grid2op's meaning."""

    redispatch: np.ndarray  # [A, G] float32, MW added to what is asked of a generator; 0 for none
    curtail: np.ndarray  # [A, G] float32, limit of a generator over its p_max; -1 for as it is
    storage: np.ndarray  # [A, N] float32, MW that a unit takes in one step, < 0 gives; 0 for none

    @classmethod
    def none(cls, count: int, wiring: Wiring) -> PowerSettings:
        """Return those of ``count`` actions that do nothing."""
        sizes = wiring.num_generators, wiring.num_generators, wiring.num_storage_units
        return cls(
            *(
                np.full((count, size), _NOTHING[kind], dtype=np.float32)
                for kind, size in zip(POWER_KINDS, sizes, strict=True)
            )
        )

    @property
    def does_something(self) -> np.ndarray:
        """``[A]`` bool, which actions change any power."""
        return np.asarray(self.changes().any(axis=1))

    def changes(self) -> np.ndarray:
        """Return ``[A, 2 G + N]`` bool, what they set of the three tables side by side."""
        tables = zip(POWER_KINDS, self, strict=True)
        return np.concatenate([table != _NOTHING[kind] for kind, table in tables], axis=1)

    def of(self, numbers: np.ndarray) -> PowerSettings:
        """Return those of the actions called ``numbers``, ``[*]`` int, in that order."""
        return PowerSettings(*(table[numbers] for table in self))

    def alike(self) -> np.ndarray:
        """Return ``[A]`` int, the same number for those that do the same, 0 for nothing."""
        numbers = np.unique(self.joined(), axis=0, return_inverse=True)[1].ravel()
        return np.where(self.does_something, numbers + 1, 0)

    def grid2op_settings(self, action: int) -> dict[str, Any]:
        """Return what grid2op's action space makes ``action`` of, beside its topology."""
        settings: dict[str, Any] = {}
        for kind, table in zip(POWER_KINDS, self, strict=True):
            places = np.flatnonzero(table[action] != _NOTHING[kind]).tolist()
            if places:
                settings[kind] = [(place, float(table[action, place])) for place in places]
        return settings

    def joined(self) -> np.ndarray:
        """Return the three tables side by side, ``[A, 2 G + N]`` float32."""
        return np.concatenate(self, axis=1)

    def checked(self, count: int, wiring: Wiring) -> PowerSettings:
        """Return them as float32 that nobody writes to.

        Args:
            count: A.
            wiring: of the grid.

        Raises:
            ValueError: a table of another shape, or a number that is none, or no ratio.
        """
        tables = []
        for kind, table, empty in zip(POWER_KINDS, self, self.none(count, wiring), strict=True):
            if table.shape != empty.shape:
                raise ValueError(
                    f"its table {kind} has shape {table.shape}; expected {empty.shape}"
                )
            with np.errstate(over="ignore"):  # what is too large is infinite, and refused
                numbers = np.array(table, dtype=np.float32) + np.float32(0)  # no -0
            wrong = ~np.isfinite(numbers)
            if kind == CURTAIL:
                wrong |= ((numbers < 0) | (numbers > 1)) & (numbers != NOT_CURTAILED)
            if wrong.any():
                action, place = np.argwhere(wrong)[0].tolist()
                raise ValueError(
                    f"action {action}: {kind} of {power_element(kind, place)} is "
                    f"{plain_number(table[action, place])}; expected {_MEANT[kind]}"
                )
            numbers.setflags(write=False)
            tables.append(numbers)
        return PowerSettings(*tables)

    def check_grid(self, action_space: ActionSpace) -> None:
        """Refuse what grid2op would not play on a grid in any state.

        Args:
            action_space: of the grid.

        Raises:
            ValueError: the actions of the grid have no such kind, a generator cannot be
                redispatched or curtailed, or a number is more than it or a storage unit can do.
        """
        cls: Any = type(action_space)
        offered: Any = action_space.supports_type
        known = bool(cls.redispatching_unit_commitment_availble)
        for kind, table in zip(POWER_KINDS, self, strict=True):
            asked = np.argwhere(table != _NOTHING[kind])
            if not len(asked):
                continue
            if kind != SET_STORAGE and not known:
                raise ValueError(
                    f"it has actions that {kind}, and the grid does not say what its generators "
                    "can do (grid2op's prods_charac.csv)"
                )
            if not offered(kind):
                raise ValueError(
                    f"it has actions that {kind}, which the actions of the grid cannot do"
                )
            for action, place in asked.tolist():
                wrong = _objection(cls, kind, place, table[action, place])
                if wrong:
                    raise ValueError(f"action {action} {wrong}")


def join_powers(
    settings: Sequence[PowerSettings | None], counts: Sequence[int], wiring: Wiring
) -> PowerSettings | None:
    """Return the settings of several lists of actions as those of one, None if there are none.

    Args:
        settings: of each list.
        counts: actions of each list.
        wiring: of the grid.
    """
    if all(one is None for one in settings):
        return None
    whole = [
        PowerSettings.none(count, wiring) if one is None else one
        for one, count in zip(settings, counts, strict=True)
    ]
    return PowerSettings(*(np.concatenate(tables) for tables in zip(*whole, strict=True)))


def power_element(kind: str, place: int) -> str:
    """Return what a setting is of: "gen_2", "storage_0"."""
    return f"{'storage' if kind == SET_STORAGE else 'gen'}_{place}"


def plain_number(value: Any) -> float:
    """Return a float32 as the number that a person would write: 0.1, not 0.10000000149."""
    return float(str(np.float32(value)))


def _objection(cls: Any, kind: str, place: int, value: np.float32) -> str:
    """Return what is wrong with one setting on a grid, "" if nothing is.

    Args:
        cls: grid2op's class of the grid's actions.
        kind: of ``POWER_KINDS``.
        place: number of the generator or storage unit.
        value: what it is set to.
    """
    element, number = power_element(kind, place), plain_number(value)
    if kind == CURTAIL:
        if cls.gen_renewable[place]:
            return ""
        return f"curtails {element}, which is not renewable; {_some(cls.gen_renewable)}"
    if kind == REDISPATCH:
        if not cls.gen_redispatchable[place]:
            able = _some(cls.gen_redispatchable)
            return f"redispatches {element}, which cannot be redispatched; {able}"
        least, most = -cls.gen_max_ramp_down[place], cls.gen_max_ramp_up[place]
        what, limit = f"redispatches {element} by {number:+g} MW", "its ramps allow"
    else:
        least, most = -cls.storage_max_p_prod[place], cls.storage_max_p_absorb[place]
        what, limit = f"sets {element} to {number:+g} MW", "it can give and take"
    if least <= value <= most:
        return ""
    return f"{what}; {limit} {plain_number(least):+g} to {plain_number(most):+g} MW a step"


def _some(able: np.ndarray) -> str:
    names = ", ".join(f"gen_{place}" for place in np.flatnonzero(able).tolist())
    return f"those that can be are {names}" if names else "none of the grid's can be"
