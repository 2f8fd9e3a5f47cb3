from collections.abc import Iterator

import pytest
from grid2op.Environment import Environment

from envs.scenarios import Scenario, make_grid2op, set_scenario


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Environment]:
    env = make_grid2op("l2rpn_case14_sandbox")
    yield env
    env.close()


def steps_of_doing_nothing(env: Environment, scenario: Scenario) -> int:
    """Play ``scenario`` without acting; return the step at which the episode ends."""
    nothing = env.action_space({})
    set_scenario(env, scenario)
    env.reset()
    steps, done = 0, False
    while not done:
        _, _, done, _ = env.step(nothing)
        steps += 1
    return steps


@pytest.fixture(scope="session")
def doing_nothing():
    return steps_of_doing_nothing
