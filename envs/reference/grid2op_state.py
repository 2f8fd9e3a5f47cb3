"""Converts grid2op's observations to ``GridState``."""

from __future__ import annotations

from typing import Any

import numpy as np
from grid2op.Environment import Environment
from grid2op.Observation import BaseObservation
from grid2op.Rules import RulesByArea

from envs.grid.state import GridLayout, GridState
from envs.reference.redispatching import redispatch_target


def grid_layout(env: Environment, *, name: str) -> GridLayout:
    """Return the layout of a grid2op environment whose backend is lightsim2grid's.

    Args:
        env: any environment that ``grid2op.make`` gave, of a grid with a LightSimBackend.
        name: what the grid is called.
    """
    cls: Any = type(env)
    backend: Any = env.backend
    element_substation = np.empty(cls.dim_topo, dtype=np.int32)
    for positions, substations in (
        (cls.line_or_pos_topo_vect, cls.line_or_to_subid),
        (cls.line_ex_pos_topo_vect, cls.line_ex_to_subid),
        (cls.gen_pos_topo_vect, cls.gen_to_subid),
        (cls.load_pos_topo_vect, cls.load_to_subid),
        (cls.storage_pos_topo_vect, cls.storage_to_subid),
    ):
        element_substation[positions] = substations

    priced = bool(cls.redispatching_unit_commitment_availble)

    def per_generator(attribute: str, default: float) -> np.ndarray:
        given = getattr(cls, attribute) if priced else np.full(cls.n_gen, default)
        return _frozen(given, np.float32)

    grid_file = backend._LightSimBackend__me_at_init  # the grid as its file describes it
    demand = {load.name: load.target_p_mw for load in grid_file.get_loads()}
    load_names = tuple(str(load) for load in cls.name_load)
    reference = [max(abs(demand.get(load, 0.0)), 1.0) for load in load_names]
    return GridLayout(
        name=name,
        line_names=tuple(str(line) for line in cls.name_line),
        generator_names=tuple(str(generator) for generator in cls.name_gen),
        load_names=load_names,
        substation_names=tuple(str(substation) for substation in cls.name_sub),
        line_or_substation=_frozen(cls.line_or_to_subid, np.int32),
        line_ex_substation=_frozen(cls.line_ex_to_subid, np.int32),
        generator_substation=_frozen(cls.gen_to_subid, np.int32),
        load_substation=_frozen(cls.load_to_subid, np.int32),
        line_or_position=_frozen(cls.line_or_pos_topo_vect, np.int32),
        line_ex_position=_frozen(cls.line_ex_pos_topo_vect, np.int32),
        generator_position=_frozen(cls.gen_pos_topo_vect, np.int32),
        load_position=_frozen(cls.load_pos_topo_vect, np.int32),
        element_substation=_frozen(element_substation, np.int32),
        thermal_limit=_frozen(env.get_thermal_limit(), np.float32),
        p_max=per_generator("gen_pmax", 1.0),
        p_min=per_generator("gen_pmin", 0.0),
        max_ramp_up=per_generator("gen_max_ramp_up", 0.0),
        max_ramp_down=per_generator("gen_max_ramp_down", 0.0),
        renewable=_frozen(cls.gen_renewable if priced else np.zeros(cls.n_gen), np.bool_),
        redispatchable=_frozen(cls.gen_redispatchable if priced else np.zeros(cls.n_gen), np.bool_),
        cost_per_mwh=per_generator("gen_cost_per_MW", 0.0),
        nominal_voltage=_frozen(grid_file.get_bus_vn_kv()[: cls.n_sub], np.float32),
        load_reference=_frozen(reference, np.float32),
        extras=tuple(
            kind
            for kind, count in (
                ("storage units", cls.n_storage),
                ("alarm zones", cls.dim_alarms),
                ("lines with alerts", cls.dim_alerts),
            )
            if count > 0
        ),
        areas=_areas(env),
    )


def _areas(env: Any) -> np.ndarray | None:
    """Return ``[S]`` int, the area of each substation, None without rules by area."""
    rules = env._game_rules.legal_action
    if not isinstance(rules, RulesByArea):
        return None
    areas = np.zeros(type(env).n_sub, dtype=np.int32)
    for number, substations in enumerate(rules.substations_id_by_area.values()):
        areas[np.asarray(substations, dtype=np.int64)] = number
    return _frozen(areas, np.int32)


def grid_state(
    observation: BaseObservation,
    *,
    last_busbar: np.ndarray,
    step: int,
    max_step: int,
    minutes: np.datetime64,
    attack_steps: np.ndarray | None = None,
) -> GridState:
    """Return the state of one grid, with a batch axis of 1.

    Arrays are views of the observation's own (grid2op makes a new observation at each step).

    Args:
        observation: what ``env.reset`` or ``env.step`` gave.
        last_busbar: ``[E]`` busbar of each element end where it is or was last connected.
        step: steps since the scenario's start.
        max_step: steps of the whole scenario.
        minutes: wall clock of the series.
        attack_steps: ``[L]`` int32, see ``GridState``; None where no line is attacked, or where
            nobody can tell.
    """
    obs: Any = observation
    load_p, load_q = obs.load_p, obs.load_q
    gen_p, gen_v = obs.gen_p, obs.gen_v
    forecast = obs._forecasted_inj
    if attack_steps is None:
        attack_steps = np.zeros(len(obs.rho), dtype=np.int32)
    injection = forecast[1][1].get("injection", {}) if len(forecast) > 1 else {}
    return GridState(
        rho=obs.rho[None],
        line_status=obs.line_status[None],
        topo_vect=obs.topo_vect.astype(np.int8)[None],
        overflow_steps=obs.timestep_overflow[None],
        line_cooldown=obs.time_before_cooldown_line[None],
        substation_cooldown=obs.time_before_cooldown_sub[None],
        p_or=obs.p_or[None],
        q_or=obs.q_or[None],
        v_or=obs.v_or[None],
        a_or=obs.a_or[None],
        theta_or=obs.theta_or[None],
        p_ex=obs.p_ex[None],
        q_ex=obs.q_ex[None],
        v_ex=obs.v_ex[None],
        a_ex=obs.a_ex[None],
        theta_ex=obs.theta_ex[None],
        gen_p=gen_p[None],
        gen_q=obs.gen_q[None],
        gen_v=gen_v[None],
        gen_theta=obs.gen_theta[None],
        load_p=load_p[None],
        load_q=load_q[None],
        load_v=obs.load_v[None],
        load_theta=obs.load_theta[None],
        forecast_load_p=injection.get("load_p", load_p)[None],
        forecast_load_q=injection.get("load_q", load_q)[None],
        forecast_gen_p=injection.get("prod_p", gen_p)[None],
        forecast_gen_v=injection.get("prod_v", gen_v)[None],
        maintenance_in=obs.time_next_maintenance[None],
        maintenance_duration=obs.duration_next_maintenance[None],
        clock=np.array([minutes], dtype="datetime64[m]"),
        step=np.array([step], dtype=np.int32),
        max_step=np.array([max_step], dtype=np.int32),
        attack_steps=attack_steps[None],
        last_busbar=last_busbar.astype(np.int8)[None],
        redispatch_target=redispatch_target(obs)[None],
    )


def observed_state(observation: BaseObservation) -> GridState:
    """Return the state of a grid by its observation alone, with a batch axis of 1.

    It is that of ``grid_state``, for those who do not hold the environment; but ``step`` counts
    from where the episode began, and ``max_step`` is the episode's.

    Args:
        observation: of a game that goes on.
    """
    obs: Any = observation
    return grid_state(
        observation,
        last_busbar=obs._prev_conn._topo_vect,  # where obs.simulate puts lines back
        step=int(obs.current_step),
        max_step=int(obs.max_step),
        minutes=np.datetime64(obs.get_time_stamp(), "m"),
    )


def _frozen(values: Any, dtype: Any) -> np.ndarray:
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array
