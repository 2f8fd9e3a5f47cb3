"""The action catalogue against grid2op itself: order, legality and effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grid2op.gym_compat import DiscreteActSpace

from envs.grid.actions import ActionCatalogue
from envs.reference.grid2op_state import grid_layout
from envs.scenarios import make_grid2op
from tests.envs.conftest import ONE_AT_A_TIME, SANDBOX, stack, state_of

KINDS = ["set_bus", "change_bus", "set_line_status", "change_line_status"]


def test_order_is_that_of_grid2ops_own_discrete_space(sandbox: Any, catalogue: ActionCatalogue):
    space: Any = DiscreteActSpace
    theirs = space(sandbox.action_space, attr_to_keep=KINDS).converter.all_actions
    assert catalogue.num_actions == len(theirs) == 487
    for ours, other in zip(catalogue.grid2op_actions, theirs, strict=True):
        assert ours == other


def test_list_is_pinned(catalogue: ActionCatalogue):
    # a change of this hash is a change of every policy trained: bump the id of the environment
    assert catalogue.sha256 == "b1540c6b71533b38b24a6c53ef988e2b494dfd96bc4157d31f5362f00f47e5ad"


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (0, "do nothing"),
        (1, "substation 0: switch busbar of gen_5"),
        (198, "switch line 5-12 (line 9): disconnect if in, reconnect if out"),
        (387, "disconnect line 0-1 (line 0)"),
        (470, "reconnect line 1-3 (line 3) at busbars 2 / 2"),
        (
            383,
            "substation 12: line_9 (ex) -> busbar 1, line_13 (ex) -> busbar 2, "
            "line_14 (or) -> busbar 2, load_9 -> busbar 2",
        ),
    ],
)
def test_texts(catalogue: ActionCatalogue, action: int, text: str):
    assert catalogue.text(action) == text
    assert len(set(catalogue.texts)) == catalogue.num_actions


def test_facts_of_the_reference_topology(sandbox: Any, catalogue: ActionCatalogue):
    observation = sandbox.reset(seed=0, options={"time serie id": "0000"})
    state = state_of(sandbox, observation)
    results = catalogue.results(state.topo_vect, state.last_busbar)[0]
    illegal, ends, same = set(), set(), set()
    topologies = set()
    for number, action in enumerate(catalogue.grid2op_actions):
        foreseen, _, done, info = observation.simulate(action)
        if info["is_illegal"]:
            illegal.add(number)
        elif done:
            ends.add(number)
        elif np.array_equal(foreseen.topo_vect, observation.topo_vect):
            same.add(number)
        else:
            topologies.add(foreseen.topo_vect.tobytes())
    assert (len(illegal), len(ends), len(same), len(topologies)) == (80, 71, 14, 161)

    assert set(np.flatnonzero(catalogue.legal(state)[0] == 0)) == illegal
    kept = set(np.flatnonzero(catalogue.distinct(state)[0]))
    assert 0 in kept and not kept & illegal and kept & same == {0}
    assert len(kept - ends) == 1 + 161
    assert len({results[number].tobytes() for number in kept}) == len(kept)
    connected = set(np.flatnonzero(catalogue.connected(state)[0]))
    assert connected < kept and kept - connected <= ends
    assert (len(kept - connected), len(kept & ends)) == (25, 47)


def test_effects_are_those_of_the_real_grid():
    """A random walk that keeps breaking and mending the grid; overflows trip nothing."""
    parameters = {**ONE_AT_A_TIME, "NO_OVERFLOW_DISCONNECTION": True}
    env: Any = make_grid2op(SANDBOX, parameters=parameters, chronics_class=None)
    catalogue = ActionCatalogue(env.action_space, grid_layout(env, name=SANDBOX))
    rng = np.random.default_rng(0)
    kinds = np.select(
        [catalogue.switch_line.any(1), (catalogue.set_line > 0).any(1), catalogue.set_line.any(1)],
        [1, 2, 3],
        default=0,
    )
    of_lines = np.flatnonzero(kinds)
    observation = env.reset(seed=0)
    checked = with_open_lines = remembered = closed_by_busbar = 0
    for _ in range(900):
        state = state_of(env, observation)
        legal = np.flatnonzero(catalogue.legal(state)[0])
        # act on lines more often than chance would
        pool = np.intersect1d(legal, of_lines) if rng.random() < 0.4 else legal
        number = int(rng.choice(pool))
        if observation.simulate(catalogue.grid2op_actions[number])[2]:
            continue
        expected = catalogue.results(state.topo_vect, state.last_busbar, [number])[0, 0]
        lines_in = state.line_status[0].sum()
        observation, _, done, info = env.step(catalogue.grid2op_actions[number])
        assert not info["is_illegal"], catalogue.text(number)
        if done:
            observation = env.reset()
            continue
        assert np.array_equal(observation.topo_vect, expected), catalogue.text(number)
        checked += 1
        with_open_lines += lines_in < len(observation.line_status)
        remembered += bool(((state.topo_vect < 0) & (state.last_busbar == 2)).any())
        closed_by_busbar += bool(kinds[number] == 0 and observation.line_status.sum() > lines_in)
    env.close()
    assert checked > 300 and with_open_lines > 150
    assert remembered > 20 and closed_by_busbar > 3


def test_legality_is_grid2ops_verdict():
    parameters = {
        **ONE_AT_A_TIME,
        "NB_TIMESTEP_COOLDOWN_SUB": 3,
        "NB_TIMESTEP_COOLDOWN_LINE": 2,
    }
    env: Any = make_grid2op(SANDBOX, parameters=parameters, chronics_class=None)
    catalogue = ActionCatalogue(env.action_space, grid_layout(env, name=SANDBOX))
    rng = np.random.default_rng(1)
    observation = env.reset(seed=0)
    states, masks = [], []
    refused = {"allowed": 0, "line": 0, "substation": 0}
    for _ in range(1200):
        state = state_of(env, observation)
        number = int(rng.integers(catalogue.num_actions))
        if observation.simulate(catalogue.grid2op_actions[number])[2] and rng.random() < 0.9:
            continue
        mask = catalogue.legal(state)[0]
        reason = catalogue.illegal_reason(number, state)
        observation, _, done, info = env.step(catalogue.grid2op_actions[number])
        assert info["is_illegal"] == (mask[number] == 0), catalogue.text(number)
        assert not info["is_ambiguous"]
        assert (reason == "") == (mask[number] == 1)
        for word in refused:
            refused[word] += bool(reason) and (
                "allowed" in reason if word == "allowed" else reason.startswith(word)
            )
        states.append(state)
        masks.append(mask)
        if done:
            observation = env.reset()
    env.close()
    assert len(states) > 500
    assert all(count > 10 for count in refused.values()), refused

    some = stack(states[:40])  # rows do not see each other
    assert np.array_equal(catalogue.legal(some), np.stack(masks[:40]))
    one_by_one = [catalogue.distinct(state)[0] for state in states[:40]]
    assert np.array_equal(catalogue.distinct(some), np.stack(one_by_one))


def test_distinct_keeps_one_action_of_each_effect(sandbox: Any, catalogue: ActionCatalogue):
    observation = sandbox.reset(seed=0, options={"time serie id": "0000"})
    observation, *_ = sandbox.step(catalogue.grid2op_actions[387 + 9])
    state = state_of(sandbox, observation)
    assert not state.line_status.all()
    mask = catalogue.distinct(state)[0]
    legal = catalogue.legal(state)[0]
    results = catalogue.results(state.topo_vect, state.last_busbar)[0]
    reachable = {results[number].tobytes() for number in np.flatnonzero(legal)}
    assert {results[number].tobytes() for number in np.flatnonzero(mask)} == reachable
    assert mask.sum() == len(reachable) and (legal[mask == 1] == 1).all()
