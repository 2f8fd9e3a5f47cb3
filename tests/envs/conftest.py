"""One grid2op environment of the sandbox, shared by the tests of a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from envs.grid.actions import ActionCatalogue
from envs.grid.state import GridLayout, GridState
from envs.reference.grid2op_state import grid_layout, grid_state
from envs.scenarios import make_grid2op

SANDBOX = "l2rpn_case14_sandbox"
ONE_AT_A_TIME = {"MAX_SUB_CHANGED": 1, "MAX_LINE_STATUS_CHANGED": 1}


def state_of(env: Any, observation: Any) -> GridState:
    """The record of what a bare grid2op environment shows."""
    return grid_state(
        observation,
        last_busbar=env._backend_action.last_topo_registered.values,
        step=int(observation.current_step),
        max_step=int(observation.max_step),
        minutes=np.datetime64(env.time_stamp, "m"),
    )


def stack(states: list[GridState]) -> GridState:
    """B states of one grid as one state of B grids."""
    return GridState(*(np.concatenate(arrays) for arrays in zip(*states, strict=True)))


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Any]:
    """grid2op's sandbox with its own series: scenario 0000 and two more."""
    env = make_grid2op(SANDBOX, parameters=ONE_AT_A_TIME, chronics_class=None)
    yield env
    env.close()


@pytest.fixture(scope="session")
def layout(sandbox: Any) -> GridLayout:
    return grid_layout(sandbox, name=SANDBOX)


@pytest.fixture(scope="session")
def catalogue(sandbox: Any, layout: GridLayout) -> ActionCatalogue:
    return ActionCatalogue(sandbox.action_space, layout)
