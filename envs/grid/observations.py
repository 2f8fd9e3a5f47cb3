"""Observations: encoders of ``GridState``, by name.

Shape letters: B grids, L lines, G generators, D loads, S substations, E element ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from envs.grid.observation_graph import GraphEncoder
from envs.grid.scaling import FEATURE_LIMIT, GridScaling, clock_features
from envs.grid.state import GridLayout, GridState
from powergrid_muzero.names import choose


class ObservationEncoder(Protocol):
    """Turns the state of B grids into B observations; knows nothing of any simulator."""

    space: spaces.Space[Any]  # of one grid

    def __init__(self, layout: GridLayout): ...

    def encode(self, state: GridState) -> Any:
        """Return ``[B, ...]`` new arrays in the structure of ``space``."""
        ...


EncoderMaker = Callable[[GridLayout], ObservationEncoder]  # such as a class, or a partial of one


class FullEncoder:
    """grid2op's own numbers, raw: 538 on l2rpn_case14_sandbox.

    They are those of ``grid2op.gym_compat.BoxGymObsSpace`` with its default attributes, in its
    alphabetical order, for a grid without storage units, alarms or alerts, on which nobody
    redispatches or curtails. Blocks: a_ex [L], a_or [L], actual_dispatch [G], attention_budget,
    curtailment [G], curtailment_limit [G], curtailment_limit_effective [G], day, day_of_week,
    duration_next_maintenance [L], gen_margin_down [G], gen_margin_up [G], gen_p [G],
    gen_p_before_curtail [G], gen_q [G], gen_theta [G], gen_v [G], hour_of_day, is_alarm_illegal,
    line_status [L], load_p [D], load_q [D], load_theta [D], load_v [D], max_step, minute_of_hour,
    month, p_ex [L], p_or [L], q_ex [L], q_or [L], rho [L], target_dispatch [G], thermal_limit [L],
    theta_ex [L], theta_or [L], time_before_cooldown_line [L], time_before_cooldown_sub [S],
    time_next_maintenance [L], time_since_last_alarm, timestep_overflow [L], topo_vect [E], v_ex
    [L], v_or [L], was_alarm_used_after_game_over, year. Units as in ``GridState``.
    """

    def __init__(self, layout: GridLayout):
        if layout.extras:
            raise ValueError(
                f"observation 'full' is for grids without {' or '.join(layout.extras)}, which grid "
                f"{layout.name!r} has; take 'features' or 'graph'"
            )
        self.layout = layout
        size = 17 * layout.num_lines + 12 * layout.num_generators + 4 * layout.num_loads
        size += layout.num_substations + layout.num_elements + 11
        # A, MW, kV, degrees: nothing limits them near a collapse, but no solution gets this far
        self.space: spaces.Space[Any] = spaces.Box(-1e9, 1e9, (size,), np.float32)
        self._adjustable = np.where(layout.renewable, np.float32(0), np.float32(1))  # [G]
        self._natural = np.where(layout.renewable, np.float32(1), np.float32(0))  # [G]

    def encode(self, state: GridState) -> np.ndarray:
        """Return ``[B, N]`` float32."""
        layout = self.layout
        num_grids = len(state.rho)
        live = state.topo_vect.max(axis=1, keepdims=True) > 0  # [B, 1], False after a blackout
        margin_up = np.minimum(layout.p_max - state.gen_p, layout.max_ramp_up)
        margin_down = np.minimum(state.gen_p - layout.p_min, layout.max_ramp_down)
        adjustable = self._adjustable * live
        ones_G = np.ones((num_grids, layout.num_generators), dtype=np.float32)
        zeros_G = np.zeros_like(ones_G)
        zero = np.zeros((num_grids, 1), dtype=np.float32)
        day = state.clock.astype("datetime64[D]")
        month = state.clock.astype("datetime64[M]")
        minutes = (state.clock - day).astype(np.int64)
        days = day.astype(np.int64)
        months = month.astype(np.int64)

        def column(values: np.ndarray) -> np.ndarray:
            return values[:, None]

        blocks = (
            state.a_ex,
            state.a_or,
            zeros_G,  # actual_dispatch
            zero,  # attention_budget
            zeros_G,  # curtailment
            ones_G,  # curtailment_limit
            ones_G,  # curtailment_limit_effective
            column((day - month).astype(np.int64) + 1),
            column((days + 3) % 7),  # day of the week; 1970-01-01 was a Thursday, Monday is 0
            state.maintenance_duration,
            np.maximum(margin_down, 0) * adjustable,
            np.maximum(margin_up, 0) * adjustable,
            state.gen_p,
            state.gen_p * self._natural,  # gen_p_before_curtail
            state.gen_q,
            state.gen_theta,
            state.gen_v,
            column(minutes // 60),
            zero,  # is_alarm_illegal
            state.line_status,
            state.load_p,
            state.load_q,
            state.load_theta,
            state.load_v,
            column(state.max_step),
            column(minutes % 60),
            column(months % 12 + 1),
            state.p_ex,
            state.p_or,
            state.q_ex,
            state.q_or,
            state.rho,
            zeros_G,  # target_dispatch
            np.broadcast_to(layout.thermal_limit, state.rho.shape),
            state.theta_ex,
            state.theta_or,
            state.line_cooldown,
            state.substation_cooldown,
            state.maintenance_in,
            zero - 1,  # time_since_last_alarm
            state.overflow_steps,
            state.topo_vect,
            state.v_ex,
            state.v_or,
            zero,  # was_alarm_used_after_game_over
            column(months // 12 + 1970),
        )
        return np.concatenate(blocks, axis=1, dtype=np.float32, casting="unsafe")


class FeaturesEncoder:
    """Numbers of order 1, scaled by ratings: 417 on l2rpn_case14_sandbox; the default.

    Blocks in order, all float32 and cut to [-10, 10] (only a grid about to collapse gets there):

    - ``[L]`` rho, the loading of each line
    - ``[L]`` line status: 1 in service, 0 out
    - ``[L]`` steps in overflow / 2
    - ``[L]`` line cooldown / 10 steps
    - ``[S]`` substation cooldown / 10 steps
    - ``[L]`` nearness of the next planned outage: exp(-steps / 288), 0 for none
    - ``[E]`` busbar of each element end: 1 for busbar 1, -1 for busbar 2, 0 disconnected
    - ``[L]`` each p_or, p_ex, q_or, q_ex over the line's rating in MVA at nominal voltage
    - ``[L]`` angle over the line, theta_or - theta_ex, / 10 degrees
    - ``[L]`` v_or, ``[L]`` v_ex, ``[G]`` gen_v, ``[D]`` load_v: 10 x deviation from 1 per unit, 0
      if dead
    - ``[G]`` each gen_p, gen_q over p_max; ``[G]`` gen_theta / 20 degrees
    - ``[D]`` each load_p, load_q over the grid file's demand; ``[D]`` load_theta / 20 degrees
    - ``[G]`` each forecast gen_p over p_max, and its change from now, x 10
    - ``[D]`` each forecast load_p over the demand, and its change from now, x 10
    - ``[4]`` sine and cosine of the hour of the day, sine and cosine of the day of the week
    """

    def __init__(self, layout: GridLayout):
        self.layout = layout
        scaling = self.scaling = GridScaling(layout)
        L, G, D = layout.num_lines, layout.num_generators, layout.num_loads
        S, E = layout.num_substations, layout.num_elements
        of_or, of_ex, of_gen, of_load = np.split(10 * scaling.per_volt, np.cumsum([L, L, G]))
        scales = {
            "rho": np.ones(L),
            "line_status": np.ones(L),
            "overflow_steps": np.full(L, 1 / 2),
            "line_cooldown": np.full(L, 1 / 10),
            "substation_cooldown": np.full(S, 1 / 10),
            "outage": np.ones(L),
            "busbar": np.ones(E),
            **{name: scaling.per_rating for name in ("p_or", "p_ex", "q_or", "q_ex")},
            "angle": np.full(L, 1 / 10),
            "v_or": of_or,
            "v_ex": of_ex,
            "gen_v": of_gen,
            "load_v": of_load,
            "gen_p": scaling.per_p_max,
            "gen_q": scaling.per_p_max,
            "gen_theta": np.full(G, 1 / 20),
            "load_p": scaling.per_load,
            "load_q": scaling.per_load,
            "load_theta": np.full(D, 1 / 20),
            "forecast_gen_p": scaling.per_p_max,
            "gen_p_change": 10 * scaling.per_p_max,
            "forecast_load_p": scaling.per_load,
            "load_p_change": 10 * scaling.per_load,
            "clock": np.ones(4),
        }
        self._scale = np.concatenate(list(scales.values()), dtype=np.float32)
        ends = np.cumsum([len(scale) for scale in scales.values()]).tolist()
        starts = [0, *ends[:-1]]
        # where each block is, by name, for who reads observations
        self.blocks: Mapping[str, slice] = {
            name: slice(*place) for name, *place in zip(scales, starts, ends, strict=True)
        }
        size = len(self._scale)
        self._voltages = slice(self.blocks["v_or"].start, self.blocks["load_v"].stop)
        self.space: spaces.Space[Any] = spaces.Box(
            -FEATURE_LIMIT, FEATURE_LIMIT, (size,), np.float32
        )

    def encode(self, state: GridState) -> np.ndarray:
        """Return ``[B, N]`` float32."""
        scaling = self.scaling
        blocks = (
            state.rho,
            state.line_status,
            state.overflow_steps,
            state.line_cooldown,
            state.substation_cooldown,
            scaling.nearness_of_outage(state.maintenance_in),
            scaling.busbar_sign[state.topo_vect],
            state.p_or,
            state.p_ex,
            state.q_or,
            state.q_ex,
            state.theta_or - state.theta_ex,
            state.v_or,
            state.v_ex,
            state.gen_v,
            state.load_v,
            state.gen_p,
            state.gen_q,
            state.gen_theta,
            state.load_p,
            state.load_q,
            state.load_theta,
            state.forecast_gen_p,
            state.forecast_gen_p - state.gen_p,
            state.forecast_load_p,
            state.forecast_load_p - state.load_p,
            clock_features(state.clock),
        )
        features = np.concatenate(blocks, axis=1, dtype=np.float32)
        features *= self._scale
        voltages = features[:, self._voltages]  # 10 per unit; a view
        voltages -= np.float32(10) * (voltages > 0)
        np.minimum(features, FEATURE_LIMIT, out=features)
        return np.maximum(features, -FEATURE_LIMIT, out=features)


OBSERVATIONS: dict[str, type[ObservationEncoder]] = {
    "features": FeaturesEncoder,
    "full": FullEncoder,
    "graph": GraphEncoder,
}


def make_encoder(observation: str | EncoderMaker, layout: GridLayout) -> ObservationEncoder:
    """Return the encoder that ``observation`` names or makes.

    Args:
        observation: "features", "full" or "graph", or what makes an encoder for a grid.
        layout: of the grid.

    Raises:
        ValueError: there is none of that name, and the message names the nearest one; or what is
            made is no encoder.
    """
    if not callable(observation):
        return OBSERVATIONS[choose("observation", observation, OBSERVATIONS)](layout)
    made = observation(layout)
    if not isinstance(getattr(made, "space", None), spaces.Space) or not hasattr(made, "encode"):
        raise ValueError(
            f"observation {observation!r} makes a {type(made).__name__}; expected an "
            "ObservationEncoder, with a space and encode()"
        )
    return made
