"""Encoders: grid2op's own numbers as the reference, then scale, shape and independence of rows."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from grid2op.gym_compat import BoxGymObsSpace

from envs.grid.actions import ActionCatalogue
from envs.grid.observation_graph import GraphEncoder
from envs.grid.observations import OBSERVATIONS, FeaturesEncoder, FullEncoder, make_encoder
from envs.grid.rewards import MarginReward
from envs.grid.state import GridLayout, GridState
from tests.envs.conftest import stack, state_of

Walk = list[tuple[GridState, np.ndarray]]


@pytest.fixture(scope="module")
def walk(sandbox: Any, catalogue: ActionCatalogue) -> Walk:
    """States of a random walk, blackouts included, with the numbers of BoxGymObsSpace."""
    box: Any = BoxGymObsSpace(sandbox.observation_space)
    rng = np.random.default_rng(0)
    visited: Walk = []
    observation = sandbox.reset(seed=0, options={"time serie id": "0000", "init ts": 200})
    for _ in range(250):
        visited.append((state_of(sandbox, observation), box.to_gym(observation)))
        number = int(rng.integers(catalogue.num_actions))
        foreseen = observation.simulate(catalogue.grid2op_actions[number])
        if foreseen[2] and rng.random() < 0.9:
            number = 0
        observation, _, done, _ = sandbox.step(catalogue.grid2op_actions[number])
        if done:
            visited.append((state_of(sandbox, observation), box.to_gym(observation)))
            observation = sandbox.reset()
    return visited


def test_walk_goes_everywhere(walk: Walk):
    states = stack([state for state, _ in walk])
    assert (states.topo_vect.max(axis=1) < 0).sum() > 3  # blackouts
    assert (states.topo_vect == 2).any(axis=1).sum() > 50
    assert (~states.line_status).any(axis=1).sum() > 50


def test_full_is_grid2ops_box(layout: GridLayout, walk: Walk):
    encoder = FullEncoder(layout)
    assert encoder.space.shape == (538,)
    for state, theirs in walk:
        np.testing.assert_allclose(encoder.encode(state)[0], theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(OBSERVATIONS))
def test_rows_are_independent_and_within_the_space(name: str, layout: GridLayout, walk: Walk):
    encoder = make_encoder(name, layout)
    states = [state for state, _ in walk]
    together = encoder.encode(stack(states))
    for row, state in enumerate(states):
        alone = encoder.encode(state)
        if isinstance(alone, dict):
            mine = {key: array[row] for key, array in together.items()}
            assert all(np.allclose(mine[key], alone[key][0], atol=1e-5) for key in alone)
            assert all(np.isfinite(array).all() for array in alone.values())
        else:
            mine = together[row]
            assert np.array_equal(mine, alone[0])
            assert np.isfinite(mine).all()
        assert encoder.space.contains(mine)


def test_features_are_of_order_one(layout: GridLayout, walk: Walk):
    encoder = FeaturesEncoder(layout)
    assert encoder.space.shape == (417,)
    features = encoder.encode(stack([state for state, _ in walk]))
    assert 0.1 < np.abs(features).mean() < 1.5
    assert np.percentile(np.abs(features), 99) < 3


def test_features_are_where_they_are_documented(layout: GridLayout, walk: Walk):
    state = walk[0][0]
    features = FeaturesEncoder(layout).encode(state)[0]
    lines, elements = layout.num_lines, layout.num_elements
    np.testing.assert_allclose(features[:lines], state.rho[0])
    busbars = features[5 * lines + 14 :][:elements]
    np.testing.assert_array_equal(busbars, np.where(state.topo_vect[0] == 1, 1, -1))
    voltages = features[10 * lines + 14 + elements :]
    np.testing.assert_allclose(
        voltages[0],  # 142.1 kV on the 138 kV side at the origin of line 0
        10 * (state.v_or[0, 0] / 138 - 1),
        atol=1e-5,
    )
    powers = voltages[2 * lines + 6 + 11 :]
    np.testing.assert_allclose(powers[:6], state.gen_p[0] / layout.p_max, rtol=1e-5)
    minutes = state.clock[0].astype(int)
    day = 2 * np.pi * (minutes % 1440) / 1440
    week = 2 * np.pi * ((minutes / 1440 + 3) % 7) / 7  # from Monday
    expected = [np.sin(day), np.cos(day), np.sin(week), np.cos(week)]
    np.testing.assert_allclose(features[-4:], expected, atol=1e-5)


def test_features_show_the_forecast(layout: GridLayout, walk: Walk):
    state = walk[0][0]
    more = state._replace(forecast_load_p=state.load_p * 1.1)
    encoder = FeaturesEncoder(layout)
    change = encoder.encode(more)[0][-4 - 11 : -4]
    np.testing.assert_allclose(change, state.load_p[0] / layout.load_reference, rtol=1e-3)


def test_graph_keeps_the_books(layout: GridLayout, walk: Walk):
    encoder = GraphEncoder(layout)
    assert encoder.edge_links.shape == (20, 2)
    states = stack([state for state, _ in walk])
    graph = encoder.encode(states)
    nodes = graph["nodes"]
    assert nodes.shape[1:] == (14, 17) and graph["edges"].shape[1:] == (20, 15)
    demand = layout.load_reference.sum() / 14
    loads = (nodes[..., 0] + nodes[..., 6]).sum(axis=1) * demand
    np.testing.assert_allclose(loads, states.load_p.sum(axis=1), rtol=1e-4)
    shares = nodes[..., 5] + nodes[..., 11]  # 1 but for the ends of open lines
    intact = states.line_status.all(axis=1)
    np.testing.assert_allclose(shares[intact], 1, rtol=1e-5)
    np.testing.assert_array_equal(graph["edges"][..., 1] == 1, states.line_status)


def test_full_refuses_what_it_would_leave_out(layout: GridLayout):
    with pytest.raises(ValueError, match="for grids without storage units"):
        FullEncoder(layout._replace(extras=("storage units",)))


def test_a_class_or_a_partial_of_one_makes_an_encoder(layout: GridLayout):
    assert type(make_encoder(FeaturesEncoder, layout)) is FeaturesEncoder
    assert type(make_encoder(partial(FullEncoder), layout)) is FullEncoder
    wrong: Any = MarginReward
    with pytest.raises(ValueError, match="makes a MarginReward; expected an ObservationEncoder"):
        make_encoder(wrong, layout)


def test_wrong_name_is_answered_with_the_nearest(layout: GridLayout):
    with pytest.raises(ValueError, match="unknown observation 'feature'; did you mean 'features'"):
        make_encoder("feature", layout)
