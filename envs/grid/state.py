"""``GridLayout`` and ``GridState``: the records that every simulator fills.

Encoders and rewards read only these, so a second simulator cannot drift away from the first.

Shape letters: B grids, L lines, G generators, D loads (demands), S substations, E element ends
(grid2op's ``topo_vect``), K actions looked ahead at, C lines looked at as lost.
Units: MW, MVAr, kV, A, degrees.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class GridLayout(NamedTuple):
    """What does not change: names, wiring, ratings. One per grid, shared by all B copies."""

    name: str  # grid2op name of the grid, such as "l2rpn_case14_sandbox"
    line_names: tuple[str, ...]  # [L]
    generator_names: tuple[str, ...]  # [G]
    load_names: tuple[str, ...]  # [D]
    substation_names: tuple[str, ...]  # [S]
    line_or_substation: np.ndarray  # [L] int, substation at the origin end
    line_ex_substation: np.ndarray  # [L] int, substation at the extremity end
    generator_substation: np.ndarray  # [G] int
    load_substation: np.ndarray  # [D] int
    line_or_position: np.ndarray  # [L] int, index of the origin end in topo_vect
    line_ex_position: np.ndarray  # [L] int, index of the extremity end in topo_vect
    generator_position: np.ndarray  # [G] int, index in topo_vect
    load_position: np.ndarray  # [D] int, index in topo_vect
    element_substation: np.ndarray  # [E] int, substation of each entry of topo_vect
    thermal_limit: np.ndarray  # [L] float32, A, rho is current / thermal_limit
    p_max: np.ndarray  # [G] float32, MW
    p_min: np.ndarray  # [G] float32, MW
    max_ramp_up: np.ndarray  # [G] float32, MW per step
    max_ramp_down: np.ndarray  # [G] float32, MW per step
    renewable: np.ndarray  # [G] bool, wind and solar
    redispatchable: np.ndarray  # [G] bool
    cost_per_mwh: np.ndarray  # [G] float32, currency per MWh
    nominal_voltage: np.ndarray  # [S] float32, kV, the base of per-unit voltages
    load_reference: np.ndarray  # [D] float32, MW, the grid file's own demand: the scale of a load
    extras: tuple[str, ...]  # what the grid has and GridState leaves out, such as "storage units"
    areas: np.ndarray | None = None  # [S] int, where limits of actions hold in each area by itself

    @property
    def num_lines(self) -> int:
        """L."""
        return len(self.line_names)

    @property
    def num_generators(self) -> int:
        """G."""
        return len(self.generator_names)

    @property
    def num_loads(self) -> int:
        """D."""
        return len(self.load_names)

    @property
    def num_substations(self) -> int:
        """S."""
        return len(self.substation_names)

    @property
    def num_elements(self) -> int:
        """E."""
        return len(self.element_substation)


class GridState(NamedTuple):
    """How B grids stand after a step, simulator-independent; arrays are float32 unless said."""

    rho: np.ndarray  # [B, L], current over thermal limit, 0 for an open line
    line_status: np.ndarray  # [B, L] bool, True = connected
    topo_vect: np.ndarray  # [B, E] int8, busbar of each element end: 1, 2, or -1 disconnected
    overflow_steps: np.ndarray  # [B, L] int32, steps in a row above the thermal limit
    line_cooldown: np.ndarray  # [B, L] int32, steps until the line may be acted on
    substation_cooldown: np.ndarray  # [B, S] int32, steps until the substation may be acted on
    p_or: np.ndarray  # [B, L] MW at the origin end
    q_or: np.ndarray  # [B, L] MVAr
    v_or: np.ndarray  # [B, L] kV
    a_or: np.ndarray  # [B, L] A
    theta_or: np.ndarray  # [B, L] degrees
    p_ex: np.ndarray  # [B, L] MW at the extremity end
    q_ex: np.ndarray  # [B, L] MVAr
    v_ex: np.ndarray  # [B, L] kV
    a_ex: np.ndarray  # [B, L] A
    theta_ex: np.ndarray  # [B, L] degrees
    gen_p: np.ndarray  # [B, G] MW
    gen_q: np.ndarray  # [B, G] MVAr
    gen_v: np.ndarray  # [B, G] kV
    gen_theta: np.ndarray  # [B, G] degrees
    load_p: np.ndarray  # [B, D] MW
    load_q: np.ndarray  # [B, D] MVAr
    load_v: np.ndarray  # [B, D] kV
    load_theta: np.ndarray  # [B, D] degrees
    forecast_load_p: np.ndarray  # [B, D] MW, five-minute forecast (the present values where none)
    forecast_load_q: np.ndarray  # [B, D] MVAr
    forecast_gen_p: np.ndarray  # [B, G] MW
    forecast_gen_v: np.ndarray  # [B, G] kV
    maintenance_in: np.ndarray  # [B, L] int32, steps to the next planned outage, -1 = none
    maintenance_duration: np.ndarray  # [B, L] int32, steps that it lasts
    clock: np.ndarray  # [B] datetime64[m], the wall clock of the series
    step: np.ndarray  # [B] int32, steps played since the scenario's start
    max_step: np.ndarray  # [B] int32, steps of the whole scenario
    attack_steps: (
        np.ndarray
    )  # [B, L] int32, steps that an opponent holds the line out still, at least
    last_busbar: np.ndarray  # [B, E] int8, topo_vect, but where last connected for what is out now
    redispatch_target: np.ndarray  # [B, G] MW that the next redispatching of a generator adds to


class LegalityState(NamedTuple):
    """The part of ``GridState`` that decides about legality."""

    line_status: np.ndarray  # [B, L] bool
    line_cooldown: np.ndarray  # [B, L] int32
    substation_cooldown: np.ndarray  # [B, S] int32


class Lookahead(NamedTuple):
    """What the five-minute forecast says of K actions, without changing the state.

    With C lines that may be lost, all have one more axis of size 1 + C: first without a loss, then
    with each of the lines being lost in the same step, after the action and before the power flow.
    """

    rho: np.ndarray  # [K, L] or [K, 1 + C, L] float32, loadings, inf where the game would end
    rho_max: np.ndarray  # [K] or [K, 1 + C] float32, the highest of them
    game_over: np.ndarray  # [K] or [K, 1 + C] bool
