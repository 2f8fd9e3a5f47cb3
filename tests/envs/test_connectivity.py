"""Connected topologies against networkx, and against what the simulator says of the others."""

from __future__ import annotations

import networkx
import numpy as np
import pytest

from envs import PowerGridEnv
from envs.grid.connectivity import Connectivity
from envs.grid.state import GridLayout


def by_networkx(layout: GridLayout, topology: np.ndarray) -> bool:
    """Whether all busbars in use are joined by lines with two closed ends."""
    graph = networkx.Graph()
    at = [(int(s), int(b)) for s, b in zip(layout.element_substation, topology, strict=True)]
    graph.add_nodes_from(busbar for busbar in at if busbar[1] > 0)
    for one, other in zip(layout.line_or_position, layout.line_ex_position, strict=True):
        if topology[one] > 0 and topology[other] > 0:
            graph.add_edge(at[one], at[other])
    return networkx.is_connected(graph)


@pytest.mark.parametrize("grid", ["l2rpn_case14_sandbox", "rte_case5_example"])
def test_what_actions_leave_connected(grid: str) -> None:
    """Random walks: the topologies of all actions, and that the look-ahead loses the others."""
    scenarios = "recombined" if grid.startswith("l2rpn") else "bundled"
    env = PowerGridEnv(grid=grid, scenarios=scenarios, action_mask="connected")
    connectivity = Connectivity(env.layout)
    rng = np.random.default_rng(0)
    cut = kept = 0
    for episode in range(6):
        _, info = env.reset(seed=episode)
        for _ in range(8):
            state = env.state
            distinct = env.catalogue.distinct(state)[0]
            results = env.catalogue.results(state.topo_vect, state.last_busbar)[0]
            expected = np.array([by_networkx(env.layout, result) for result in results])
            assert np.array_equal(connectivity.connected(results), expected)
            assert np.array_equal(info["action_mask"] == 1, (distinct == 1) & expected)
            dropped = np.flatnonzero((distinct == 1) & ~expected)
            some = rng.choice(dropped, min(3, len(dropped)), replace=False)
            assert env.simulate(some).game_over.all()
            cut, kept = cut + len(dropped), kept + int(info["action_mask"].sum())
            _, _, terminated, truncated, info = env.step(
                rng.choice(np.flatnonzero(info["action_mask"]))
            )
            if terminated or truncated:
                break
    env.close()
    assert cut > 20 and kept > 20
