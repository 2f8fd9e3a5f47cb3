"""Solves many topologies of one small grid by Newton's method, in a compiled loop.

It takes the same steps as lightsim2grid from the same flat voltages, so both agree to 1e-9 and
fail alike; what a call of C++ costs around them is saved. ``TopologySweep`` is for grids that it
does not cover.

Shape letters: D loads, E element ends, G generators, H shunts, L lines, N numbers of a solution,
n topologies, S substations.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from envs.fast.power_flow import Columns, PowerFlow
from envs.fast.template import GridTemplate
from envs.grid.state import GridLayout

_LARGEST = 60  # busbars of a grid that is solved here: there is a block for each two of them


class NewtonPowerFlow:
    """Solves a grid with any topologies, from flat voltages.

    Args:
        template: of the grid.
        columns: brief, what solutions are read as.
    """

    def __init__(self, template: GridTemplate, columns: Columns):
        layout = template.layout
        self._max_iterations, self._tolerance = template.max_iterations, template.tolerance
        self._ends = (
            layout.element_substation.astype(np.int64),
            layout.line_or_position.astype(np.int64),
            layout.line_ex_position.astype(np.int64),
            layout.generator_position.astype(np.int64),
            layout.load_position.astype(np.int64),
        )
        self._order = _order(layout)
        self._nominal = layout.nominal_voltage.astype(np.float64)  # [S] kV
        self._columns = columns
        self._starts = np.array([columns.a_or.start, columns.gen_v.start, columns.load_v.start])
        self._small = template.num_buses <= _LARGEST
        self._covered = False
        self._admittances: np.ndarray | None = None  # [L, 4]

    def meet(self, flow: PowerFlow) -> None:
        """Take over the injections and shunts of ``flow``."""
        model = flow.model
        self._covered = self._small and _is_covered(model)
        if not self._covered:
            return
        if self._admittances is None:  # they never change
            branches = [*model.get_lines(), *model.get_trafos()]
            self._admittances = np.array(
                [(one.yac_11, one.yac_12, one.yac_21, one.yac_22) for one in branches]
            )
        base = self._base = float(model.get_sn_mva())
        generators, loads = model.get_generators(), model.get_loads()
        self._generation = np.array([one.target_p_mw for one in generators]) / base
        self._volts = np.array([one.target_vm_pu for one in generators])
        self._slack = [one.is_slack for one in generators].index(True)
        self._loads = np.array([complex(one.target_p_mw, one.target_q_mvar) for one in loads])
        self._loads /= base
        shunts = model.get_shunts()
        self._shunt_substation = np.array([one.sub_id for one in shunts], dtype=np.int64)
        power = [complex(one.target_p_mw, -one.target_q_mvar) for one in shunts]
        self._shunts = np.array(power, dtype=np.complex128) / base
        self._beside_shunts = [
            np.flatnonzero(self._ends[0] == substation) for substation in self._shunt_substation
        ]

    def covers(self, topologies: np.ndarray) -> np.ndarray:
        """Return ``[n]`` bool: which of ``[n, E]`` can be solved here.

        Shunts stay on the first busbar, so something else has to be there, too.
        """
        covered = np.full(len(topologies), self._covered)
        if self._covered:
            for ends in self._beside_shunts:
                covered &= (topologies[:, ends] == 1).any(axis=1)
        return covered

    def solve(self, topologies: np.ndarray, which: np.ndarray, raw: np.ndarray) -> None:
        """Solve some of n topologies.

        Args:
            topologies: ``[n, E]`` int8.
            which: ``[n]`` bool, those to solve: connected, and covered.
            raw: ``[n, N]`` float64, of which raw solutions are written to, without angles; where
                there is no solution, nothing is.
        """
        _solve(
            topologies,
            which,
            *self._ends,
            self._order,
            self._nominal,
            self._admittances,
            (self._generation, self._volts, self._slack),
            self._loads,
            (self._shunt_substation, self._shunts),
            self._base,
            self._max_iterations,
            self._tolerance / self._base,  # as lightsim2grid does
            self._starts,
            raw,
        )


def _order(layout: GridLayout) -> np.ndarray:
    """Return ``[E]`` int, element ends by substations in an order that keeps equations sparse.

    Of those left, the one with the fewest neighbours comes next, and then joins its neighbours
    (minimum degree).
    """
    joined = np.zeros((layout.num_substations, layout.num_substations), dtype=np.bool_)
    joined[layout.line_or_substation, layout.line_ex_substation] = True
    joined |= joined.T
    left, order = list(range(layout.num_substations)), []
    while left:
        best = min(left, key=lambda substation: joined[substation, left].sum())
        left.remove(best)
        neighbours = joined[best].copy()
        joined[neighbours] |= neighbours
        order.append(best)
    ranks = np.argsort(order)
    return np.argsort(ranks[layout.element_substation], kind="stable")


def _is_covered(model: Any) -> bool:
    """Return whether a grid is made only of what is modelled here."""
    others = (
        *(model.get_static_generators(), model.get_storages()),
        *(model.get_dclines(), model.get_svcs()),
    )
    generators = model.get_generators()
    slacks = sum(one.is_slack for one in generators)
    held = all(
        one.voltage_regulator_on and one.regulated_bus_id == one.bus_id for one in generators
    )
    at_home = all(one.connected and one.bus_id == one.sub_id for one in model.get_shunts())
    single = model.get_algo_type().name.startswith("NRSing")
    return (
        not any(len(kind) for kind in others)
        and (slacks, held, at_home, single) == (1, True, True, True)
        and model.get_turnedoff_gen_pv()
    )


_jit = numba.njit(cache=True, error_model="numpy", fastmath={"contract"})


@_jit
def _solve(
    topologies,
    which,
    substation,
    line_or,
    line_ex,
    generator_end,
    load_end,
    order,
    nominal,
    admittances,
    generators,
    loads,
    shunts,
    base,
    max_iterations,
    tolerance,
    starts,
    raw,
):
    """See ``NewtonPowerFlow.solve``."""
    generation, volts, slack = generators
    shunt_substation, shunt_admittance = shunts
    num_ends, num_lines, num_substations = topologies.shape[1], len(line_or), len(nominal)
    most = 2 * num_substations
    bus_of = np.empty(most, dtype=np.int64)  # of a busbar, -1 where it is not in use
    at = np.empty(num_ends, dtype=np.int64)  # bus of an element end
    joined = np.empty((num_lines, 2), dtype=np.uint64)  # buses that closed lines join
    # (unsigned numbers index without a check of their sign, and no row of an array is taken as a
    # view, which costs as much as solving a block)
    mutual = np.empty((num_lines, 4))  # their admittances, from one end to the other and back
    own = np.empty((most, 2))  # admittances of buses
    wanted = np.empty((most, 2))  # active and reactive power to inject
    held = np.empty(most, dtype=np.bool_)  # buses whose voltage a generator holds
    size = np.empty(most)
    angle = np.empty(most)
    voltage = np.empty((most, 2))
    injected = np.empty((most, 2))
    flows = np.empty((num_lines, 4))  # power that a line's other end brings to each of its ends
    # the Jacobian: what angle and size of the second of two buses do to active and reactive power
    # of the first; where size or angle is given, the equation is that it stays
    blocks = np.empty((most, most, 4))
    missing = np.empty((most, 2))  # of power from what is wanted; then Newton's step
    joins = np.empty((most, most), dtype=np.bool_)  # which two buses have a block, fill-in included
    later = np.empty((most, most), dtype=np.uint64)  # of a bus those that come after it
    laters = np.empty(most, dtype=np.int64)  # their number
    for n in np.flatnonzero(which):
        bus_of[:] = -1
        at[:] = -1
        buses = 0
        for end in order:
            busbar = topologies[n, end]
            if busbar > 0:
                key = substation[end] + num_substations * (busbar - 1)
                if bus_of[key] < 0:
                    bus_of[key] = buses
                    buses += 1
                at[end] = bus_of[key]
        own[:buses] = 0
        wanted[:buses] = 0
        held[:buses] = False
        size[:buses] = 1
        angle[:buses] = 0
        closed = 0
        for line in range(num_lines):
            one, other = at[line_or[line]], at[line_ex[line]]
            if one >= 0 and other >= 0:
                own[one, 0] += admittances[line, 0].real
                own[one, 1] += admittances[line, 0].imag
                own[other, 0] += admittances[line, 3].real
                own[other, 1] += admittances[line, 3].imag
                joined[closed, 0], joined[closed, 1] = one, other
                mutual[closed, 0] = admittances[line, 1].real
                mutual[closed, 1] = admittances[line, 1].imag
                mutual[closed, 2] = admittances[line, 2].real
                mutual[closed, 3] = admittances[line, 2].imag
                closed += 1
        for shunt in range(len(shunt_substation)):
            bus = bus_of[shunt_substation[shunt]]
            own[bus, 0] += shunt_admittance[shunt].real
            own[bus, 1] += shunt_admittance[shunt].imag
        for number in range(len(generator_end)):
            bus = at[generator_end[number]]
            wanted[bus, 0] += generation[number]
            held[bus] = True
            size[bus] = volts[number]
        for number in range(len(load_end)):
            bus = at[load_end[number]]
            wanted[bus, 0] -= loads[number].real
            wanted[bus, 1] -= loads[number].imag
        reference = at[generator_end[slack]]
        joins[:buses, :buses] = False
        for line in range(closed):
            one, other = joined[line, 0], joined[line, 1]
            if one != reference and other != reference:
                joins[one, other] = joins[other, one] = True
        _arrange(joins, buses, later, laters)
        solved = False
        for iteration in range(max_iterations + 1):
            for bus in range(buses):
                voltage[bus, 0] = size[bus] * np.cos(angle[bus])
                voltage[bus, 1] = size[bus] * np.sin(angle[bus])
            _inject(own, joined, mutual, closed, size, voltage, buses, flows, injected)
            worst = 0.0
            for bus in range(buses):
                if bus != reference:
                    error = abs(injected[bus, 0] - wanted[bus, 0])
                    if not error <= worst:  # not a number is the worst
                        worst = error
                    if not held[bus]:
                        error = abs(injected[bus, 1] - wanted[bus, 1])
                        if not error <= worst:
                            worst = error
            solved = worst < tolerance
            if solved or iteration == max_iterations or not np.isfinite(worst):
                break
            for bus in range(buses):
                for number in range(laters[bus]):
                    other = later[bus, number]
                    for part in range(4):
                        blocks[bus, other, part] = blocks[other, bus, part] = 0
                square = size[bus] * size[bus]
                power, reactive = injected[bus, 0], injected[bus, 1]
                active_own, reactive_own = own[bus, 0] * square, -own[bus, 1] * square
                blocks[bus, bus, 1] = blocks[bus, bus, 2] = 0
                blocks[bus, bus, 3] = 1
                missing[bus, 0] = power - wanted[bus, 0]
                missing[bus, 1] = 0
                if bus == reference:
                    blocks[bus, bus, 0] = 1
                    missing[bus, 0] = 0
                    continue
                blocks[bus, bus, 0] = reactive_own - reactive
                if not held[bus]:
                    blocks[bus, bus, 1] = (power + active_own) / size[bus]
                    blocks[bus, bus, 2] = power - active_own
                    blocks[bus, bus, 3] = (reactive + reactive_own) / size[bus]
                    missing[bus, 1] = reactive - wanted[bus, 1]
            for line in range(closed):
                for side in range(2):
                    bus, other = joined[line, side], joined[line, 1 - side]
                    if bus == reference or other == reference:
                        continue
                    power, reactive = flows[line, 2 * side], flows[line, 2 * side + 1]
                    blocks[bus, other, 0] += reactive
                    if not held[other]:
                        blocks[bus, other, 1] += power / size[other]
                    if not held[bus]:
                        blocks[bus, other, 2] -= power
                        if not held[other]:
                            blocks[bus, other, 3] += reactive / size[other]
            if not _eliminate(blocks, missing, buses, later, laters):
                break
            for bus in range(buses):
                angle[bus] -= missing[bus, 0]
                size[bus] -= missing[bus, 1]
        if not solved:
            continue
        for line in range(num_lines):
            one, other = at[line_or[line]], at[line_ex[line]]
            if one >= 0 and other >= 0:
                current = admittances[line, 0] * complex(voltage[one, 0], voltage[one, 1])
                current += admittances[line, 1] * complex(voltage[other, 0], voltage[other, 1])
                unit = base / (np.sqrt(3.0) * nominal[substation[line_or[line]]])  # kA
                raw[n, starts[0] + line] = abs(current) * unit
        for number in range(len(generator_end)):
            end = generator_end[number]
            raw[n, starts[1] + number] = abs(size[at[end]]) * nominal[substation[end]]
        for number in range(len(load_end)):
            end = load_end[number]
            raw[n, starts[2] + number] = abs(size[at[end]]) * nominal[substation[end]]


@_jit
def _inject(own, joined, mutual, closed, size, voltage, buses, flows, injected):
    """Write the power that buses inject, and what of it is by the other ends of lines."""
    for bus in range(buses):
        square = size[bus] * size[bus]
        injected[bus, 0] = own[bus, 0] * square
        injected[bus, 1] = -own[bus, 1] * square
    for line in range(closed):
        for side in range(2):
            bus, other = joined[line, side], joined[line, 1 - side]
            conductance, susceptance = mutual[line, 2 * side], mutual[line, 2 * side + 1]
            real = conductance * voltage[other, 0] - susceptance * voltage[other, 1]
            imaginary = conductance * voltage[other, 1] + susceptance * voltage[other, 0]
            power = voltage[bus, 0] * real + voltage[bus, 1] * imaginary
            reactive = voltage[bus, 1] * real - voltage[bus, 0] * imaginary
            flows[line, 2 * side], flows[line, 2 * side + 1] = power, reactive
            injected[bus, 0] += power
            injected[bus, 1] += reactive


@_jit
def _arrange(joins, buses, later, laters):
    """Write which later buses each one has a block with; fill-in is added to ``joins``."""
    for bus in range(buses):
        count = 0
        for other in range(bus + 1, buses):
            if joins[bus, other]:
                later[bus, count] = other
                count += 1
        laters[bus] = count
        for first in range(count):
            for second in range(first + 1, count):
                joins[later[bus, first], later[bus, second]] = True


@_jit
def _eliminate(blocks, right, buses, later, laters):
    """Solve linear equations in blocks of two in place; the solution is in ``right``.

    Blocks are not exchanged: what a bus does to its own power outweighs what others do to it, and
    up to where no solution is found exchanging rows finds the same.

    Returns:
        Whether there is one.
    """
    for bus in range(buses):
        a, b = blocks[bus, bus, 0], blocks[bus, bus, 1]
        c, d = blocks[bus, bus, 2], blocks[bus, bus, 3]
        determinant = a * d - b * c
        if not abs(determinant) > 0:
            return False
        inverse = 1 / determinant
        a, b, c, d = d * inverse, -b * inverse, -c * inverse, a * inverse
        blocks[bus, bus, 0], blocks[bus, bus, 1] = a, b
        blocks[bus, bus, 2], blocks[bus, bus, 3] = c, d
        active, reactive = right[bus, 0], right[bus, 1]
        for first in range(laters[bus]):
            row = later[bus, first]
            e = blocks[row, bus, 0] * a + blocks[row, bus, 1] * c
            f = blocks[row, bus, 0] * b + blocks[row, bus, 1] * d
            g = blocks[row, bus, 2] * a + blocks[row, bus, 3] * c
            h = blocks[row, bus, 2] * b + blocks[row, bus, 3] * d
            right[row, 0] -= e * active + f * reactive
            right[row, 1] -= g * active + h * reactive
            for second in range(laters[bus]):
                column = later[bus, second]
                w, x = blocks[bus, column, 0], blocks[bus, column, 1]
                y, z = blocks[bus, column, 2], blocks[bus, column, 3]
                blocks[row, column, 0] -= e * w + f * y
                blocks[row, column, 1] -= e * x + f * z
                blocks[row, column, 2] -= g * w + h * y
                blocks[row, column, 3] -= g * x + h * z
    for bus in range(buses - 1, -1, -1):
        active, reactive = right[bus, 0], right[bus, 1]
        for number in range(laters[bus]):
            column = later[bus, number]
            first, second = right[column, 0], right[column, 1]
            active -= blocks[bus, column, 0] * first + blocks[bus, column, 1] * second
            reactive -= blocks[bus, column, 2] * first + blocks[bus, column, 3] * second
        right[bus, 0] = blocks[bus, bus, 0] * active + blocks[bus, bus, 1] * reactive
        right[bus, 1] = blocks[bus, bus, 2] * active + blocks[bus, bus, 3] * reactive
    return True
