"""Reads arrays by their memory addresses, many in one call.

A solution is some thirty arrays in C++, and a step reads eight series of each grid's scenario:
numpy looks at each array for longer than it copies the numbers.

Shape letters: B grids, D loads, G generators, n grids of a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba import carray  # pyright: ignore[reportPrivateImportUsage]
from numba.core import types
from numba.extending import intrinsic

from envs.grid.state import GridLayout
from envs.scenarios import Scenario

_PRESENT = ("prod_p", "load_p", "load_q", "prod_v")  # series of a scenario
_FORECAST = tuple(f"{name}_forecast" for name in _PRESENT)


class AddressedArrays:
    """Arrays that keep their places while their values change.

    Args:
        views: ``[*]`` float64 each, of memory that others own; they are kept, and so is that.
    """

    def __init__(self, views: Sequence[np.ndarray]):
        assert all(view.dtype == np.float64 and view.flags.c_contiguous for view in views)
        self._views = views
        self._addresses = np.array([_address(view) for view in views], dtype=np.int64)
        self._sizes = np.array([len(view) for view in views], dtype=np.int64)

    def copy_to(self, out: np.ndarray) -> None:
        """Write all after each other to ``out``, float64 of as many numbers."""
        _copy(self._addresses, self._sizes, out)


class ScenarioRows:
    """Rows of the scenarios that B grids play.

    Args:
        layout: of the grid.
        num_grids: B.
    """

    def __init__(self, layout: GridLayout, num_grids: int):
        self.parts = injection_parts(layout)  # of a row
        self.num_columns = self.parts[-1].stop
        self._sizes = np.array([part.stop - part.start for part in self.parts])
        self._of_present = np.zeros((num_grids, len(_PRESENT), 3), dtype=np.int64)
        self._of_forecast = self._of_present.copy()
        self._kept: list[list[np.ndarray]] = [[] for _ in range(num_grids)]  # as they are read

    def point(self, grid: int, scenario: Scenario) -> None:
        """Let ``grid`` read ``scenario``."""
        series = [getattr(scenario, name) for name in (*_PRESENT, *_FORECAST)]
        self._kept[grid] = series = [np.asarray(values, dtype=np.float32) for values in series]
        places = [(_address(values), *values.strides) for values in series]
        self._of_present[grid], self._of_forecast[grid] = np.split(np.array(places), 2)

    def take(self, other: ScenarioRows, grids: np.ndarray, places: np.ndarray) -> None:
        """Let ``places`` of this one read what ``grids`` of ``other`` do."""
        self._of_present[places] = other._of_present[grids]
        self._of_forecast[places] = other._of_forecast[grids]
        for grid, place in zip(grids.tolist(), places.tolist(), strict=True):
            self._kept[place] = other._kept[grid]

    def present(self, grids: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return what n grids carry at a row of each.

        Args:
            grids: ``[n]`` int64, that point somewhere.
            rows: ``[n]`` int32.

        Returns:
            ``[n, 2 G + 2 D]`` float32: generation and loads in MW, loads in MVAr, voltages of
            generators in kV.
        """
        return self._read(self._of_present, grids, rows)

    def forecast(self, grids: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return what is foreseen at a row of each of n grids, as ``present`` does."""
        return self._read(self._of_forecast, grids, rows)

    def _read(self, places: np.ndarray, grids: np.ndarray, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(grids), self.num_columns), dtype=np.float32)
        _read_rows(places, self._sizes, grids, rows, out)
        return out


def injection_parts(layout: GridLayout) -> list[slice]:
    """Return where the four series are in a row: generation, loads twice, voltages."""
    sizes = (layout.num_generators, layout.num_loads, layout.num_loads, layout.num_generators)
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(*place) for place in zip(ends[:-1], ends[1:], strict=True)]


def _address(values: np.ndarray) -> int:
    return values.__array_interface__["data"][0]


def _as_pointer(typing_context: Any, address: Any, kind: Any) -> Any:
    """Return an address as a pointer to numbers of a kind."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(kind.dtype)(address, kind), generate


_pointer: Any = intrinsic(_as_pointer)


@numba.njit(cache=True)
def _copy(addresses, sizes, out):
    """See ``AddressedArrays.copy_to``."""
    place = 0
    for part in range(len(sizes)):
        for value in carray(_pointer(addresses[part], np.float64), sizes[part]):
            out[place] = value
            place += 1


@numba.njit(cache=True)
def _read_rows(places, sizes, grids, rows, out):
    """See ``ScenarioRows.present``."""
    for n in range(len(grids)):
        column = 0
        for series in range(len(sizes)):
            address, to_row, to_column = places[grids[n], series]
            address += rows[n] * to_row
            for _ in range(sizes[series]):
                out[n, column] = carray(_pointer(address, np.float32), 1)[0]
                address += to_column
                column += 1
