"""The ``graph`` observation: substations are nodes, lines are edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.grid.scaling import FEATURE_LIMIT, GridScaling, clock_features
from envs.grid.state import GridLayout, GridState


class GraphEncoder:
    """Node and edge arrays over a fixed adjacency, for graph networks.

    The adjacency never changes: ``edge_links`` is ``[L, 2]`` int64, the substations at the origin
    and at the extremity of each line (as in ``gymnasium.spaces.GraphInstance``; transposed, it is
    the ``edge_index`` of PyTorch Geometric). What does change, who is on which busbar and which
    lines are out, is in the features. All are float32, of order 1, cut to [-10, 10].

    ``nodes`` ``[S, 17]``; for busbar 1 (0 to 5) and then busbar 2 (6 to 11):

    - load p and q, generation p and q on it, over the mean of what a substation demands
    - voltage: 10 x deviation from 1 per unit (of what is connected there), 0 if dead
    - share of the substation's element ends on it

    and for the substation: 12 cooldown / 10 steps; 13 forecast load p and 14 its change from now x
    10; 15 forecast generation p and 16 its change from now x 10, over the same mean demand.

    ``edges`` ``[L, 15]``: rho; status (1 in, 0 out); busbar at the origin and at the extremity (1,
    -1 for busbar 2, 0 for none); p_or, q_or, p_ex, q_ex over the rating; voltage at both ends and
    angle over the line / 10 degrees; steps in overflow / 2; cooldown / 10; nearness of the next
    planned outage; resting place: 1 where both ends return to busbar 1 if the line is closed, else
    0.

    ``clock`` ``[4]``: sine and cosine of the hour of the day, then of the day of the week.
    """

    def __init__(self, layout: GridLayout):
        self.layout = layout
        self.scaling = GridScaling(layout)
        self.edge_links = np.stack([layout.line_or_substation, layout.line_ex_substation], axis=1)
        self.edge_links = self.edge_links.astype(np.int64)
        self.edge_links.setflags(write=False)
        substations = np.arange(layout.num_substations)
        demand = layout.load_reference.sum() / layout.num_substations  # MW
        self._per_demand = np.float32(1 / max(float(demand), 1.0))
        self._element_at = _incidence(layout.element_substation, substations)  # [E, S]
        self._load_at = _incidence(layout.load_substation, substations)  # [D, S]
        self._generator_at = _incidence(layout.generator_substation, substations)  # [G, S]
        self._share = (self._element_at / self._element_at.sum(axis=0)).astype(np.float32)
        # voltages known at element ends, in one row: lines' origins, extremities, generators, loads
        self._voltage_position = np.concatenate(
            [
                layout.line_or_position,
                layout.line_ex_position,
                layout.generator_position,
                layout.load_position,
            ]
        )
        self._voltage_at = self._element_at[self._voltage_position]  # [V, S]

        def box(*shape: int) -> spaces.Box:
            return spaces.Box(-FEATURE_LIMIT, FEATURE_LIMIT, shape, np.float32)

        self.space: spaces.Space[Any] = spaces.Dict(
            {
                "clock": spaces.Box(-1, 1, (4,), np.float32),
                "edges": box(layout.num_lines, 15),
                "nodes": box(layout.num_substations, 17),
            }
        )

    def encode(self, state: GridState) -> dict[str, np.ndarray]:
        """Return ``clock`` ``[B, 4]``, ``edges`` ``[B, L, 15]``, ``nodes`` ``[B, S, 17]``."""
        voltage_pu = np.concatenate([state.v_or, state.v_ex, state.gen_v, state.load_v], axis=1)
        voltage_pu = voltage_pu * self.scaling.per_volt
        return {
            "clock": clock_features(state.clock),
            "edges": self._edges(state, voltage_pu),
            "nodes": self._nodes(state, voltage_pu),
        }

    def _nodes(self, state: GridState, voltage_pu: np.ndarray) -> np.ndarray:
        layout = self.layout
        scale = self._per_demand
        columns = []
        for busbar in (1, 2):
            on = (state.topo_vect == busbar).astype(np.float32)  # [B, E]
            load_on = on[:, layout.load_position]
            gen_on = on[:, layout.generator_position]
            columns.append((state.load_p * load_on) @ self._load_at * scale)
            columns.append((state.load_q * load_on) @ self._load_at * scale)
            columns.append((state.gen_p * gen_on) @ self._generator_at * scale)
            columns.append((state.gen_q * gen_on) @ self._generator_at * scale)
            alive = on[:, self._voltage_position] * (voltage_pu > 0)  # [B, V]
            count = alive @ self._voltage_at
            total = ((voltage_pu - 1) * alive) @ self._voltage_at
            columns.append(10 * total / np.maximum(count, 1))
            columns.append(on @ self._share)
        load_next = state.forecast_load_p @ self._load_at * scale
        gen_next = state.forecast_gen_p @ self._generator_at * scale
        columns.append(state.substation_cooldown * np.float32(1 / 10))
        columns.append(load_next)
        columns.append((load_next - state.load_p @ self._load_at * scale) * 10)
        columns.append(gen_next)
        columns.append((gen_next - state.gen_p @ self._generator_at * scale) * 10)
        return _stack(columns)

    def _edges(self, state: GridState, voltage_pu: np.ndarray) -> np.ndarray:
        layout = self.layout
        scaling = self.scaling
        lines = layout.num_lines
        deviation = 10 * (voltage_pu[:, : 2 * lines] - 1) * (voltage_pu[:, : 2 * lines] > 0)
        last_or = state.last_busbar[:, layout.line_or_position]
        last_ex = state.last_busbar[:, layout.line_ex_position]
        columns = [
            state.rho,
            state.line_status,
            scaling.busbar_sign[state.topo_vect[:, layout.line_or_position]],
            scaling.busbar_sign[state.topo_vect[:, layout.line_ex_position]],
            state.p_or * scaling.per_rating,
            state.q_or * scaling.per_rating,
            state.p_ex * scaling.per_rating,
            state.q_ex * scaling.per_rating,
            deviation[:, :lines],
            deviation[:, lines:],
            (state.theta_or - state.theta_ex) * np.float32(1 / 10),
            state.overflow_steps * np.float32(1 / 2),
            state.line_cooldown * np.float32(1 / 10),
            scaling.nearness_of_outage(state.maintenance_in),
            (last_or == 1) & (last_ex == 1),
        ]
        return _stack(columns)


def _incidence(substation_of: np.ndarray, substations: np.ndarray) -> np.ndarray:
    return (substation_of[:, None] == substations).astype(np.float32)


def _stack(columns: list[np.ndarray]) -> np.ndarray:
    features = np.stack(columns, axis=-1, dtype=np.float32, casting="unsafe")
    return np.clip(features, -FEATURE_LIMIT, FEATURE_LIMIT, out=features)
