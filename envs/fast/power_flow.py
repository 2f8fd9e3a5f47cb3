"""One grid in lightsim2grid: set injections and topology, solve, read flows.

It does what lightsim2grid's ``LightSimBackend`` does for grid2op, in the same order and from the
same starting point (a DC solution from flat voltages), without the objects around it.

Shape letters: D loads, E element ends, G generators, H shunts, L lines, N numbers that a solution
is read as.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np

from envs.fast.memory import AddressedArrays, injection_parts
from envs.fast.template import GridTemplate
from powergrid_muzero.copies import Copyable

# what C++ raises arrives as one of these
_ERRORS = (RuntimeError, ValueError, IndexError)
_NEAR = 1e-6  # MW, MVAr; ten times what C++ takes for the same


class Columns:
    """Where each quantity stands in the ``[N]`` numbers of a solution: slices, in the raw units.

    Args:
        template: of the grid.
        brief: only what decides about overloads and the end of the game; all else is empty.
    """

    def __init__(self, template: GridTemplate, *, brief: bool = False):
        layout = template.layout
        num_lines, num_generators = layout.num_lines, layout.num_generators
        num_loads, num_shunts = layout.num_loads, template.num_shunts
        self.brief = brief
        self.count = 0
        if brief:
            empty = slice(0, 0)
            self.v_or = self.a_ex = self.v_ex = empty
            (self.a_or,) = self._next(1, num_lines)
            self.theta_or, self.theta_ex = self._next(2, num_lines)
            (self.gen_v,) = self._next(1, num_generators)
            (self.load_v,) = self._next(1, num_loads)
            self.angles = slice(self.theta_or.start, self.theta_ex.stop)
            self.volts = slice(self.gen_v.start, self.load_v.stop)
            return
        self.p_or, self.q_or, self.v_or, self.a_or = self._next(4, num_lines)
        self.p_ex, self.q_ex, self.v_ex, self.a_ex = self._next(4, num_lines)
        self.theta_or, self.theta_ex = self._next(2, num_lines)
        self.gen_p, self.gen_q, self.gen_theta = self._next(3, num_generators)
        self.load_p, self.load_q, self.load_theta = self._next(3, num_loads)
        (self.gen_v,) = self._next(1, num_generators)
        (self.load_v,) = self._next(1, num_loads)
        self.shunt_p, self.shunt_q, self.shunt_v = self._next(3, num_shunts)
        self.angles = slice(self.theta_or.start, self.theta_ex.stop)  # of lines
        self.volts = slice(self.gen_v.start, self.load_v.stop)  # of generators and loads

    def _next(self, count: int, size: int) -> list[slice]:
        first = self.count
        self.count += count * size
        return [slice(first + i * size, first + (i + 1) * size) for i in range(count)]


class PowerFlow(Copyable):
    """A grid of lightsim2grid's, in one topology.

    Its first solution is that of the grid file's own loads and generation. The solver keeps the
    order of elimination that it finds there, so later solutions do not depend, to the last bit, on
    what was solved before them; the tests hold it to that. So a copy is built anew, in the same
    topology and with the same set points: C++ objects do not travel.

    Args:
        template: of the grid.
        topology: ``[E]`` int8, 1, 2, or -1 for open.
        foreseeing: on the grid that forecasts are played on.
        brief: solutions are read as brief ``Columns``.
    """

    def __init__(
        self,
        template: GridTemplate,
        topology: np.ndarray,
        *,
        foreseeing: bool = False,
        brief: bool = False,
    ):
        layout = template.layout
        self._template = template
        self._model = (template.forecast_model if foreseeing else template.model).copy()
        self._all_generators = np.ones(layout.num_generators, dtype=np.bool_)
        self._all_loads = np.ones(layout.num_loads, dtype=np.bool_)
        self._parts_of_injections = injection_parts(layout)
        # [2 G + 2 D] those in force; "not a number" for the grid file's own
        size = 2 * (layout.num_generators + layout.num_loads)
        self._injections = np.full(size, np.nan, dtype=np.float32)
        self._flat = np.ones(template.num_buses, dtype=np.complex128)
        self._parts: AddressedArrays | None = None  # of the present solution, in C++ memory
        self._foreseeing = foreseeing
        self._brief = brief
        self._topology = np.zeros(layout.num_elements, dtype=np.int8)  # as it is in C++
        self._shunts = np.full((2, template.num_shunts), np.nan)  # [2, H] p and q as set last
        self.set_topology(topology)
        self.solve()

    def __getstate__(self) -> dict[str, Any]:
        """Return what it is built from, and the set points that a solution may leave in force."""
        return {
            "template": self._template,
            "topology": self._topology,
            "foreseeing": self._foreseeing,
            "brief": self._brief,
            "injections": self._injections,
            "shunts": self._shunts,
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Build it."""
        self.__init__(
            state["template"],
            state["topology"],
            foreseeing=state["foreseeing"],
            brief=state["brief"],
        )
        if not np.isnan(state["injections"]).any():
            self.set_injections(state["injections"])
        self.set_shunts(*state["shunts"])

    @property
    def model(self) -> Any:
        """lightsim2grid's grid; for reading."""
        return self._model

    def set_injections(self, injections: np.ndarray) -> None:
        """Set what the grid carries.

        C++ leaves a number as it is where the new one is the same but for 1e-7. So that what was
        solved before leaves no trace, to the last bit, all are set to 0 first where one is that
        near to its last value or to 0; voltages, which seldom change, and shunts always.

        Args:
            injections: ``[2 G + 2 D]`` float32, as ``ScenarioRows`` reads them: generation and
                loads in MW, loads in MVAr, the generators' voltages in kV.
        """
        model, generators, loads = self._model, self._all_generators, self._all_loads
        near, volts_change = _replace(self._injections, injections, len(generators))
        gen_p, load_p, load_q, volts = (injections[part] for part in self._parts_of_injections)
        if near:
            model.update_gens_p(generators, np.zeros_like(gen_p))
            model.update_loads_p(loads, np.zeros_like(load_p))
            model.update_loads_q(loads, np.zeros_like(load_q))
        model.update_gens_p(generators, gen_p)
        model.update_loads_p(loads, load_p)
        model.update_loads_q(loads, load_q)
        if volts_change:
            model.update_gens_v(generators, np.ones_like(volts))
            model.update_gens_v(generators, volts / self._template.kv_per_unit)

    def set_shunts(self, p: np.ndarray, q: np.ndarray) -> None:
        """Set what shunts take at nominal voltage: ``[H]``, ``[H]``; MW, MVAr.

        What is not finite leaves a shunt as it is.
        """
        for shunt in range(self._template.num_shunts):
            if np.isfinite(p[shunt]):
                self._model.change_p_shunt(shunt, 0.0)
                self._model.change_p_shunt(shunt, float(p[shunt]))
                self._shunts[0, shunt] = p[shunt]
            if np.isfinite(q[shunt]):
                self._model.change_q_shunt(shunt, 0.0)
                self._model.change_q_shunt(shunt, float(q[shunt]))
                self._shunts[1, shunt] = q[shunt]

    def set_topology(self, topology: np.ndarray) -> None:
        """Put all element ends on their busbars: ``[E]`` int8, 1, 2, or -1 for open."""
        self._model.update_topo(topology != self._topology, topology.astype(np.int32))
        self._topology[:] = topology

    def solve(self) -> str:
        """Solve the grid as it stands; return "" or why there is no solution."""
        model, template = self._model, self._template
        try:
            start = model.dc_pf(self._flat, template.max_iterations, template.tolerance)
            if start.shape[0] == 0:
                return self._fail(
                    "Divergence of DC powerflow (non connected grid) at the initialization of AC "
                    f"powerflow. Detailed error: {model.get_dc_solver().get_error()}"
                )
            voltages = model.ac_pf(start, template.max_iterations, template.tolerance)
            if voltages.shape[0] == 0:
                return self._fail(
                    f"Divergence of AC powerflow. Detailed error: {model.get_solver().get_error()}"
                )
        except _ERRORS as error:
            return self._fail(f"Converted the error of type {type(error)}, message was: {error}")
        return ""

    def solve_from_flat(self) -> bool:
        """Solve the grid without its DC solution to start from; return whether that went well.

        It takes a quarter less time. Where it fails, ``solve`` may still find a solution.
        """
        model, template = self._model, self._template
        try:
            voltages = model.ac_pf(self._flat, template.max_iterations, template.tolerance)
        except _ERRORS:
            voltages = self._flat[:0]
        if voltages.shape[0] == 0:
            self._fail("")
            return False
        return True

    def read_each(self, topologies: np.ndarray, out: np.ndarray) -> None:
        """Put all element ends on the busbars of n topologies, solve each from flat, and read it.

        Args:
            topologies: ``[n, E]`` int8, as in ``set_topology``.
            out: ``[n, N]`` float64, as in ``read``; rows without a solution are left as they are.
        """
        before = np.concatenate([self._topology[None], topologies])
        changes, wanted = before[1:] != before[:-1], topologies.astype(np.int32)
        for change, topology, row in zip(changes, wanted, out, strict=True):
            self._model.update_topo(change, topology)
            if self.solve_from_flat():
                self.read(row)
        self._topology[:] = before[-1]

    def _fail(self, cause: str) -> str:
        self._parts = None
        self._model.tell_solver_need_reset()
        return cause

    def read(self, out: np.ndarray) -> None:
        """Write the solution to ``out``: ``[N]`` float64, currents in kA, as in ``Columns``."""
        if self._parts is None:  # C++ writes each solution to the same place
            self._parts = AddressedArrays(self._views())
        self._parts.copy_to(out)

    def _views(self) -> list[np.ndarray]:
        """Return the parts of a solution in C++ memory, in the order of ``Columns``."""
        model = self._model
        if self._brief:
            *_, a_or, theta_or = zip(
                model.get_line_res1_full(), model.get_trafo_res1_full(), strict=True
            )
            theta_ex = model.get_line_res2_full()[4], model.get_trafo_res2_full()[4]
            volts = model.get_gen_res_full()[2], model.get_loads_res_full()[2]
            return [*a_or, *theta_or, *theta_ex, *volts]
        views: list[np.ndarray] = []
        angles: list[np.ndarray] = []
        for lines, transformers in (
            (model.get_line_res1_full(), model.get_trafo_res1_full()),
            (model.get_line_res2_full(), model.get_trafo_res2_full()),
        ):
            *parts, both = zip(lines, transformers, strict=True)  # p, q, v, a, theta
            views += [view for part in parts for view in part]
            angles += both
        gen_p, gen_q, gen_v, gen_theta = model.get_gen_res_full()
        load_p, load_q, load_v, load_theta = model.get_loads_res_full()
        views += [*angles, gen_p, gen_q, gen_theta, load_p, load_q, load_theta, gen_v, load_v]
        return [*views, *model.get_shunts_res_full()[:3]] if self._template.num_shunts else views


@numba.njit(cache=True)
def _replace(injections, given, num_volts):
    """Write what is given over what was there.

    Return whether a power is near to the one before or to 0, but not the same; and whether the
    voltages, the last ``num_volts``, are others.
    """
    near, volts_change = False, False
    for place in range(len(given)):
        before, after = np.float64(injections[place]), np.float64(given[place])
        if place >= len(given) - num_volts:
            volts_change |= after != before
        else:  # not a number is never far
            near |= after != before and not abs(after - before) > _NEAR
            near |= after != 0 and not abs(after) > _NEAR
        injections[place] = given[place]
    return near, volts_change


class PowerFlowPool:
    """A power flow for each topology, shared by all grids that are in it.

    Most grids of a batch are in few topologies most of the time. What they share stays in the
    processor's cache, which makes it several times as fast as a power flow for each grid.

    Args:
        template: of the grid.
        size: topologies to keep, those of latest use.
    """

    def __init__(self, template: GridTemplate, size: int = 256):
        self._template = template
        self._size = size
        self._flows: OrderedDict[bytes, PowerFlow] = OrderedDict()

    def of(self, topology: np.ndarray) -> PowerFlow:
        """Return the power flow of ``topology``, ``[E]`` int8."""
        key = topology.tobytes()
        flow = self._flows.get(key)
        if flow is not None:
            self._flows.move_to_end(key)
            return flow
        flow = self._flows[key] = PowerFlow(self._template, topology)
        if len(self._flows) > self._size:
            self._flows.popitem(last=False)
        return flow

    def forget(self, topology: np.ndarray) -> None:
        """Drop the power flow of ``topology``: it failed, and what it keeps is of no use."""
        self._flows.pop(topology.tobytes(), None)
