"""``Scenario`` and ``ScenarioSource``."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from envs.scenarios.maintenance import MaintenancePlan
from powergrid_muzero.checks import check_count

SPLITS = ("train", "val", "test")
_LOADS = ("load_p", "load_q", "load_p_forecast", "load_q_forecast")
_GENERATION = ("prod_p", "prod_v", "prod_p_forecast", "prod_v_forecast")


def check_scenario_name(name: Any) -> str:
    """Return ``name``.

    Raises:
        ValueError: it is not a str.
    """
    if not isinstance(name, str):
        raise ValueError(f"a scenario's name is a str, but is {name!r}")
    return name


class _Held(NamedTuple):
    """An array of equal rows, as it is pickled."""

    row: np.ndarray  # [1, ...]
    count: int  # T


@dataclass(frozen=True)
class Scenario:
    """Loads and generation of one grid over time; row 0 is the state at reset.

    Fields that do not fit each other, or are not finite, raise ValueError.

    T rows make T - 1 steps. Forecast row t is what was foreseen at row t for row t + 1. Columns are
    in the grid's own order (``GridLayout.load_names``, ``GridLayout.generator_names``). Arrays are
    float32 and read-only: every environment of a process shares them.
    """

    name: str  # says exactly what the scenario is made of; the source rebuilds it from this alone
    load_p: np.ndarray  # [T, D] MW
    load_q: np.ndarray  # [T, D] MVAr
    prod_p: np.ndarray  # [T, G] MW
    prod_v: np.ndarray  # [T, G] kV
    load_p_forecast: np.ndarray  # [T, D] MW
    load_q_forecast: np.ndarray  # [T, D] MVAr
    prod_p_forecast: np.ndarray  # [T, G] MW
    prod_v_forecast: np.ndarray  # [T, G] kV
    start: np.datetime64  # wall clock of row 0, minutes
    minutes_per_step: int = 5
    maintenance: np.ndarray | None = None  # [T, L] bool, planned outages; None for none
    hazards: np.ndarray | None = None  # [T, L] bool, unplanned outages; None for none
    # of outages that each episode draws anew; None where ``maintenance`` says all
    maintenance_plan: MaintenancePlan | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be played."""
        check_scenario_name(self.name)
        rows = len(self.load_p)
        if rows < 2:
            raise ValueError(
                f"scenario {self.name!r}: {rows} rows make no step; expected 2 or more"
            )
        for kinds in (_LOADS, _GENERATION):
            columns = np.shape(getattr(self, kinds[0]))[1:]
            for kind in kinds:
                self._check_series(kind, (rows, *columns))
        for kind in ("maintenance", "hazards"):
            outages = getattr(self, kind)
            if outages is not None and (outages.ndim != 2 or len(outages) != rows):
                raise ValueError(
                    f"scenario {self.name!r}: {kind} has shape {outages.shape}; expected "
                    f"({rows}, lines)"
                )
        check_count("minutes_per_step", self.minutes_per_step)
        if not isinstance(self.start, np.datetime64):
            raise ValueError(
                f"scenario {self.name!r}: start must be a numpy.datetime64, but is {self.start!r}"
            )

    def _check_series(self, kind: str, shape: tuple[int, ...]) -> None:
        values = getattr(self, kind)
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim != 2:
            raise ValueError(
                f"scenario {self.name!r}: {kind} must be a float32 array of rows and columns, but "
                f"is {type(values).__name__} of shape {np.shape(values)}"
            )
        if values.shape != shape:
            raise ValueError(
                f"scenario {self.name!r}: {kind} has shape {values.shape}; expected {shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"scenario {self.name!r}: {kind} has values that are not finite")

    def __deepcopy__(self, memo: dict[int, Any]) -> Scenario:
        """Return itself: nothing in it can change, and grid2op deep-copies environments."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: a single row of what is the same in all."""
        state = dict(vars(self))
        for name, values in state.items():
            if isinstance(values, np.ndarray) and values.ndim and values.strides[0] == 0:
                state[name] = _Held(values[:1].copy(), len(values))
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what was pickled; arrays are read-only again."""
        for name, values in state.items():
            if isinstance(values, _Held):
                values = np.broadcast_to(values.row, (values.count, *values.row.shape[1:]))
            elif isinstance(values, np.ndarray):
                values.flags.writeable = False
            vars(self)[name] = values

    @property
    def num_steps(self) -> int:
        """Steps that can be played: one less than the rows."""
        return len(self.load_p) - 1

    def drawn(self, grid_seed: int) -> Scenario:
        """Return the scenario as an episode plays it, with its maintenance drawn.

        Args:
            grid_seed: of grid2op's environment; what is drawn follows from it.
        """
        if self.maintenance_plan is None:
            return self
        out = self.maintenance_plan.draw(
            grid_seed,
            start=self.start - np.timedelta64(self.minutes_per_step, "m"),
            minutes_per_step=self.minutes_per_step,
            rows=len(self.load_p),
        )
        if out is None:
            return self
        out.flags.writeable = False
        episode = copy(self)  # not ``replace``: all else was checked already
        object.__setattr__(episode, "maintenance", out)
        return episode


@runtime_checkable
class ScenarioSource(Protocol):
    """Where scenarios come from. Implementations are cheap to make, picklable, and cache loads."""

    def names(self, split: str) -> tuple[str, ...]:
        """Return the fixed list that evaluation plays for ``split`` ("train", "val", "test")."""
        ...

    def draw(self, split: str, rng: np.random.Generator) -> str:
        """Return the name of a scenario of ``split``, drawn at random (training)."""
        ...

    def load(self, name: str) -> Scenario:
        """Return scenario ``name``; ValueError names the nearest one if there is none."""
        ...
