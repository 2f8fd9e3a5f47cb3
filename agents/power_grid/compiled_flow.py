"""Loadings of many topologies by the flow network's power-flow layer, compiled, without gradients.

What ``flow`` computes layer by layer is computed here in one call, in a third of the time.

Shape letters: B observations, M topologies, C channels, E element ends, F features of a line, K
elements that inject, L lines, R hidden numbers of a readout, W of what is known of an observation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
import torch

from agents.power_grid.potentials import factorize, number_nodes, substitute

if TYPE_CHECKING:
    from agents.power_grid.flow import Loadings
    from agents.power_grid.grid_tables import GridTables

_CHANNELS = 2  # of active and of reactive power

_jit = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})


class _Places(NamedTuple):
    """Where things are on a grid."""

    substation: np.ndarray  # [E] int64, of each element end
    origin: np.ndarray  # [L] int64, element end
    extremity: np.ndarray  # [L] int64
    injecting: np.ndarray  # [K] int64


class _Weights(NamedTuple):
    """Of a power-flow layer and of what reads loadings from it, see ``flow.Loadings``."""

    conductance: Any  # [C, L] float32, as all of them
    leak: Any  # [C, K + 1]
    correction: Any  # [L, 2 C, 4]
    linear: Any  # [L, 2, F]
    inner: Any  # [L, F, R]
    outer: Any  # [L, 2, R]
    carried: Any  # [L]


class CompiledFlow:
    """The loadings that a network foresees, with the weights that it has now.

    Args:
        tables: of the grid.
        loadings: of the network.
    """

    def __init__(self, tables: GridTables, loadings: Loadings):
        balance = loadings.balance
        self._places = _Places(
            *map(_array, (tables.substation, tables.origin, tables.extremity, tables.injecting))
        )
        weights = _Weights(
            conductance=balance.conductance,
            leak=balance.leak,
            correction=balance.correction[..., 0].permute(1, 2, 0),
            linear=loadings.linear,
            inner=loadings.inner.transpose(1, 2),
            outer=loadings.outer,
            carried=loadings.carried[:, 0],
        )
        self._weights = _Weights(*(_array(tensor).copy() for tensor in weights))
        self._num_nodes = tables.num_nodes

    def __call__(
        self, known: torch.Tensor, rows: torch.Tensor, busbars: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``flow.Loadings`` does: ``[L, M]`` loadings, ``[L, 2 C, M]`` potentials.

        Args:
            known: ``[B, W]``, by ``flow.Loadings.observe``.
            rows: ``[M]`` int64, of those.
            busbars: ``[M, E]`` int8 that are foreseen.
        """
        arrays = _array(known), _array(rows), _array(busbars)
        loading, ends = _foresee(self._places, self._weights, self._num_nodes, *arrays)
        return torch.from_numpy(loading), torch.from_numpy(ends)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


@_jit
def _foresee(places, weights, num_nodes, known, rows, busbars):
    """Return loadings ``[L, M]`` and potentials at the ends of lines ``[L, 2 C, M]``.

    Args:
        places: of the grid.
        weights: of the layers.
        num_nodes: of the grid, in use or not.
        known: ``[B, W]``, of each observation its sources ``[C, K]``, what is known of each line
            ``[L, 3 C + 1]`` and by what its present loading is missed ``[L]``.
        rows: ``[M]`` int64, of those.
        busbars: ``[M, E]`` int8: 1, 2, or -1 for open.
    """
    count, num_lines, num_elements = len(rows), len(places.origin), len(places.injecting)
    origin = np.empty((count, num_lines), np.int64)
    extremity = np.empty((count, num_lines), np.int64)
    at = np.empty((count, num_elements), np.int64)
    injected = np.empty((_CHANNELS, count, num_elements), np.float32)
    for number in range(count):
        for line in range(num_lines):
            start, end = places.origin[line], places.extremity[line]
            is_open = busbars[number, start] < 0
            node = 2 * places.substation[start] + (busbars[number, start] == 2)
            origin[number, line] = -1 if is_open else node
            node = 2 * places.substation[end] + (busbars[number, end] == 2)
            extremity[number, line] = -1 if is_open else node
        for one in range(num_elements):
            end = places.injecting[one]
            at[number, one] = 2 * places.substation[end] + (busbars[number, end] == 2)
            for channel in range(_CHANNELS):
                injected[channel, number, one] = known[rows[number], channel * num_elements + one]
    graphs, size = number_nodes(origin, extremity, at, num_nodes)
    factor = np.empty((_CHANNELS, count, size, size), np.float32)
    factorize(*graphs, weights.conductance, weights.leak, factor)
    solution = np.empty((_CHANNELS, count, size), np.float32)
    ends = np.empty((num_lines, 2 * _CHANNELS, count), np.float32)
    nothing = np.empty((num_lines, 0, count), np.float32)
    substitute(*graphs, factor, injected, nothing, solution, ends)
    fed = np.empty((num_lines, 2 * _CHANNELS, count), np.float32)
    for line in range(num_lines):
        for number in range(count):
            active, reactive = _flows(weights.conductance, ends, line, number)
            for end in range(2 * _CHANNELS):
                factors = weights.correction[line, end]
                lost = active * active * factors[0] + reactive * reactive * factors[1]
                fed[line, end, number] = lost + active * reactive * factors[2] + factors[3]
    substitute(*graphs, factor, injected, fed, solution, ends)
    return _read(weights, known, rows, origin, ends), ends


@_jit
def _flows(conductance, ends, line, number):
    """Return active and reactive power, so to speak, through a line of a topology."""
    first = conductance[0, line] * (ends[line, 0, number] - ends[line, _CHANNELS, number])
    second = conductance[1, line] * (ends[line, 1, number] - ends[line, _CHANNELS + 1, number])
    return first, second


@_jit
def _read(weights, known, rows, origin, ends):
    """Return loadings ``[L, M]``, see ``flow.Loadings``; arguments as in ``_foresee``."""
    count, num_lines = origin.shape
    num_features, size = weights.inner.shape[1:]
    num_known = 3 * _CHANNELS + 1  # of a line
    of_missed = known.shape[1] - num_lines
    of_lines = of_missed - num_lines * num_known
    loading = np.zeros((num_lines, count), np.float32)
    feature = np.empty(num_features, np.float32)
    hidden = np.empty(size, np.float32)
    feature[num_features - 1] = 1.0
    for line in range(num_lines):
        for number in range(count):
            if origin[number, line] < 0:
                continue
            row = rows[number]
            told = known[row, of_lines + line * num_known : of_lines + (line + 1) * num_known]
            flows = _flows(weights.conductance, ends, line, number)
            for channel in range(_CHANNELS):
                feature[channel] = flows[channel] + told[channel]
                feature[_CHANNELS + channel] = flows[channel]
            for other in range(2 * _CHANNELS):
                feature[2 * _CHANNELS + other] = ends[line, other, number]
            for other in range(2 * _CHANNELS + 1):
                feature[4 * _CHANNELS + other] = told[_CHANNELS + other]
            hidden[:] = 0.0
            for one in range(num_features):
                given = feature[one]
                for unit in range(size):
                    hidden[unit] += given * weights.inner[line, one, unit]
            square = np.float32(1e-4)
            for part in range(2):
                current = np.float32(0.0)
                for one in range(num_features):
                    current += weights.linear[line, part, one] * feature[one]
                for unit in range(size):
                    current += weights.outer[line, part, unit] * max(hidden[unit], np.float32(0.0))
                square += current * current
            found = np.sqrt(square) + weights.carried[line] * known[row, of_missed + line]
            loading[line, number] = max(found, np.float32(0.0))
    return loading
