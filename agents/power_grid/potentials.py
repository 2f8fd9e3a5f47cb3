"""Solves for potentials on many small graphs at once, differentiable.

Each graph has nodes, lines between them that conduct, and elements at its nodes. Its potentials p
balance every node: what comes in through lines (conductance times the difference of potentials), by
elements, and at line ends equals what leaks away to the ground:

    sum over lines (n, m): g (p_m - p_n)  +  source_n  =  leak_n p_n

In matrix form (L + D) p = s, with the graph's Laplacian L and leaks D > 0. A gradient needs one
more solution of the same system, the adjoint; no matrix is ever differentiated.

The graphs are small and differ in their wiring, so each is eliminated by itself over the nodes in
use, in compiled loops: an order of magnitude less work than a batched dense solution.

Shape letters: C channels (systems of one wiring), M graphs, N nodes, L lines, K elements.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

# sums may be reordered, so that they are vectorised; everything else is as written
_jit = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})


class Wiring:
    """Which nodes the lines and elements of M graphs are at.

    Args:
        origin: ``[M, L]`` int64, node at each line's origin; -1, with ``extremity``, if it is open.
        extremity: ``[M, L]`` int64, node at its other end.
        at: ``[M, K]`` int64, node of each element.
        num_nodes: N.
    """

    def __init__(
        self, origin: torch.Tensor, extremity: torch.Tensor, at: torch.Tensor, num_nodes: int
    ) -> None:
        self.closed = origin >= 0  # [M, L]
        self.device = origin.device
        places, size = number_nodes(_host(origin), _host(extremity), _host(at), num_nodes)
        # among the nodes in use: origins [M, L], extremities and elements [M, K]; how many [M]
        self.places: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] = places
        self.size: int = size  # the most in use

    def __len__(self) -> int:
        return len(self.closed)


class Potentials:
    """The balance of M graphs, ready to be struck for any sources.

    Args:
        wiring: of the graphs.
        conductance: ``[C, L]`` above 0, of each line where it is closed.
        leak: ``[C, K + 1]`` above 0: of each element, at its node; the last one's at every node, so
            that no part of a graph floats.
    """

    def __init__(self, wiring: Wiring, conductance: torch.Tensor, leak: torch.Tensor) -> None:
        self._wiring = wiring
        self._conductance = conductance
        self._leak = leak
        shape = (len(conductance), len(wiring), wiring.size, wiring.size)
        self._factor = np.empty(shape, np.float32)
        factorize(*wiring.places, _host(conductance), _host(leak), self._factor)

    def __call__(self, injected: torch.Tensor, fed: torch.Tensor | None = None) -> torch.Tensor:
        """Return the potentials at the ends of lines.

        Args:
            injected: ``[C, M, K]``, by each element at its node.
            fed: ``[L, 2 C, M]``, at each end of each line where it is closed; None for nothing.

        Returns:
            ``[L, 2 C, M]``: of a line in graph m, at its origin for each channel, then at its
            extremity; 0 where the line is open.
        """
        return _SolveBalance.apply(
            self._wiring, self._factor, self._conductance, self._leak, injected, fed
        )


class _SolveBalance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        wiring: Wiring,
        factor: np.ndarray,
        conductance: torch.Tensor,
        leak: torch.Tensor,
        injected: torch.Tensor,
        fed: torch.Tensor | None,
    ) -> torch.Tensor:
        num_channels, num_graphs, num_elements = injected.shape
        num_lines = conductance.shape[1]
        feeds = np.zeros((num_lines, 0, num_graphs), np.float32) if fed is None else _host(fed)
        solution = np.empty(factor.shape[:3], np.float32)
        ends = np.empty((num_lines, 2 * num_channels, num_graphs), np.float32)
        substitute(*wiring.places, factor, _host(injected), feeds, solution, ends)
        ctx.known = wiring, factor, solution, num_elements, fed is not None
        return torch.from_numpy(ends).to(injected.device)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        wiring: Wiring
        wiring, factor, solution, num_elements, is_fed = ctx.known
        num_channels, num_graphs = factor.shape[:2]
        pull = _host(gradients[0])
        num_lines = len(pull)
        adjoint = np.empty_like(solution)
        ends = np.empty_like(pull)
        nothing = np.zeros((num_channels, num_graphs, 0), np.float32)
        substitute(*wiring.places, factor, nothing, pull, adjoint, ends)
        conductance = np.zeros((num_channels, num_lines), np.float32)
        leak = np.zeros((num_channels, num_elements + 1), np.float32)
        injected = np.empty((num_channels, num_graphs, num_elements), np.float32)
        _sensitivities(*wiring.places, solution, adjoint, conductance, leak, injected)
        device = gradients[0].device
        parts = (conductance, leak, injected, ends if is_fed else None)
        return (
            None,
            None,
            *(None if part is None else torch.from_numpy(part).to(device) for part in parts),
        )


def _host(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


@_jit
def number_nodes(origin, extremity, at, num_nodes):
    """Number the nodes in use of each graph; return the places of everything, and the most used."""
    num_graphs, num_lines = origin.shape
    num_elements = at.shape[1]
    first = np.empty(origin.shape, np.int16)
    second = np.empty(origin.shape, np.int16)
    element = np.empty(at.shape, np.int16)
    place = np.empty(num_nodes, np.int16)
    sizes = np.empty(num_graphs, np.int16)
    for graph in range(num_graphs):
        place[:] = -1
        for line in range(num_lines):
            if origin[graph, line] >= 0:
                place[origin[graph, line]] = 0
                place[extremity[graph, line]] = 0
        for one in range(num_elements):
            place[at[graph, one]] = 0
        size = 0
        for node in range(num_nodes):
            if place[node] == 0:
                place[node] = size
                size += 1
        sizes[graph] = size
        for line in range(num_lines):
            is_open = origin[graph, line] < 0
            first[graph, line] = -1 if is_open else place[origin[graph, line]]
            second[graph, line] = -1 if is_open else place[extremity[graph, line]]
        for one in range(num_elements):
            element[graph, one] = place[at[graph, one]]
    return (first, second, element, sizes), int(sizes.max()) if num_graphs else 0


@_jit
def factorize(first, second, element, sizes, conductance, leak, factor):
    """Eliminate each system: rows of U of U^T D^-1 U, and the inverse pivots on the diagonal.

    Without pivoting: the systems are positive definite.
    """
    num_channels, num_graphs = factor.shape[:2]
    num_lines, num_elements = first.shape[1], element.shape[1]
    for channel in range(num_channels):
        for graph in range(num_graphs):
            size = sizes[graph]
            matrix = factor[channel, graph]
            for row in range(size):
                for column in range(row, size):
                    matrix[row, column] = 0.0
                matrix[row, row] = leak[channel, num_elements]
            for line in range(num_lines):
                start, end = first[graph, line], second[graph, line]
                if start < 0:
                    continue
                weight = conductance[channel, line]
                matrix[start, start] += weight
                matrix[end, end] += weight
                matrix[min(start, end), max(start, end)] -= weight
            for one in range(num_elements):
                row = element[graph, one]
                matrix[row, row] += leak[channel, one]
            for pivot in range(size):
                inverse = np.float32(1.0) / matrix[pivot, pivot]
                for row in range(pivot + 1, size):
                    share = matrix[pivot, row]
                    if share == 0.0:
                        continue
                    share *= inverse
                    for column in range(row, size):
                        matrix[row, column] -= share * matrix[pivot, column]
                matrix[pivot, pivot] = inverse


@_jit
def substitute(first, second, element, sizes, factor, injected, fed, solution, ends):
    """Solve each system for its sources; write potentials of nodes and of line ends."""
    num_channels, num_graphs = factor.shape[:2]
    num_lines, num_elements = first.shape[1], injected.shape[2]
    is_fed = fed.shape[1] > 0
    for channel in range(num_channels):
        for graph in range(num_graphs):
            size = sizes[graph]
            matrix = factor[channel, graph]
            vector = solution[channel, graph]
            vector[:] = 0.0
            for one in range(num_elements):
                vector[element[graph, one]] += injected[channel, graph, one]
            if is_fed:
                for line in range(num_lines):
                    if first[graph, line] >= 0:
                        vector[first[graph, line]] += fed[line, channel, graph]
                        vector[second[graph, line]] += fed[line, num_channels + channel, graph]
            for pivot in range(size):
                share = vector[pivot] * matrix[pivot, pivot]
                for row in range(pivot + 1, size):
                    vector[row] -= share * matrix[pivot, row]
            for row in range(size - 1, -1, -1):
                value = vector[row]
                for column in range(row + 1, size):
                    value -= matrix[row, column] * vector[column]
                vector[row] = value * matrix[row, row]
            for line in range(num_lines):
                is_open = first[graph, line] < 0
                ends[line, channel, graph] = 0.0 if is_open else vector[first[graph, line]]
                ends[line, num_channels + channel, graph] = (
                    0.0 if is_open else vector[second[graph, line]]
                )


@_jit
def _sensitivities(first, second, element, sizes, solution, adjoint, conductance, leak, injected):
    """Add up the gradients of conductances and leaks over the graphs; write those of injections."""
    num_channels, num_graphs = solution.shape[:2]
    num_lines, num_elements = first.shape[1], element.shape[1]
    for channel in range(num_channels):
        for graph in range(num_graphs):
            here, pull = solution[channel, graph], adjoint[channel, graph]
            for line in range(num_lines):
                start, end = first[graph, line], second[graph, line]
                if start >= 0:
                    conductance[channel, line] -= (here[start] - here[end]) * (
                        pull[start] - pull[end]
                    )
            for one in range(num_elements):
                place = element[graph, one]
                leak[channel, one] -= here[place] * pull[place]
                injected[channel, graph, one] = pull[place]
            for place in range(sizes[graph]):
                leak[channel, num_elements] -= here[place] * pull[place]
