"""Outages of the series: when lines go out, what is told of them, and what a look-ahead sees."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from envs import PowerGridEnv
from envs.fast.scheduled_outages import outages_of
from envs.fast.vector import PowerGridVectorEnv
from envs.scenarios import RecombinedSource, Scenario
from tests.envs.equality import assert_identical
from tests.envs.equality_cases import UNPROTECTED, Interrupted

LINE, OTHER = 6, 9
FIRST, LAST = 5, 11  # rows in which LINE is out


@dataclass(frozen=True)
class Planned(RecombinedSource):
    """Scenarios in which a line is out in the same rows, as planned or not."""

    kind: str = "maintenance"
    others_until: int = 0  # the row up to which another line is out, too

    def load(self, name: str) -> Scenario:
        scenario = super().load(name)
        outages = np.zeros((len(scenario.load_p), 20), dtype=np.bool_)
        outages[FIRST : LAST + 1, LINE] = True
        outages[2 : self.others_until, OTHER] = True
        return replace(scenario, **{self.kind: outages})


def _vector(source: RecombinedSource, **options: Any) -> PowerGridVectorEnv:
    env = PowerGridVectorEnv(1, scenarios=source, parameters=UNPROTECTED, **options)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize("kind", ["maintenance", "hazards"])
def test_a_line_is_out_and_held_for_as_long_as_it_says(kind: str):
    env = _vector(Planned(kind=kind))
    closing = int(env.catalogue.switch_line_action[LINE])
    planned = kind == "maintenance"
    for row in range(LAST + 4):
        state = env.state
        out = FIRST <= row <= LAST
        assert bool(state.line_status[0, LINE]) == (row < FIRST), row
        assert state.line_cooldown[0, LINE] == (LAST + 1 - row if out else 0), row
        if not planned or row > LAST:
            told = (-1, 0)
        else:
            told = (max(FIRST - row, 0), min(LAST + 1 - row, LAST + 1 - FIRST))
        assert (state.maintenance_in[0, LINE], state.maintenance_duration[0, LINE]) == told, row
        *_, infos = env.step([closing if out else 0])
        assert bool(infos["illegal"][0]) == out, row
    env.step([closing])
    assert env.state.line_status[0, LINE]


@pytest.mark.parametrize("others_until", [0, FIRST, FIRST + 1, LAST])
def test_a_look_ahead_opens_what_is_planned_next(others_until: int):
    source = Planned(others_until=others_until)
    options: dict[str, Any] = {"scenarios": source, "parameters": UNPROTECTED}
    reference, fast = PowerGridEnv(**options), _vector(source)
    reference.reset(seed=0)
    actions = np.flatnonzero(reference.catalogue.distinct(reference.state)[0])
    lines = (reference.catalogue.set_line[:, LINE] != 0) | reference.catalogue.switch_line[:, LINE]
    ends = reference.layout.line_or_position[LINE], reference.layout.line_ex_position[LINE]
    moving = (reference.catalogue.set_busbar[:, ends] > 0).any(axis=1)
    some = actions[::25], np.flatnonzero(lines), np.flatnonzero(moving)[::5]
    actions = np.unique(np.concatenate(some))
    opened = 0
    for row in range(FIRST + 2):
        expected, given = reference.simulate(actions, [3]), fast.simulate([actions], [3])[0]
        assert given is not None
        assert np.array_equal(expected.game_over, given.game_over), row
        there = ~expected.game_over
        assert np.allclose(expected.rho[there], given.rho[there], rtol=1e-4, atol=1e-4), row
        opened += bool(given.rho[0, 0, LINE] == 0)
        reference.step(0)
        fast.step([0])
    # grid2op forgets the outage that begins where another one goes on
    assert opened == (2 if others_until > FIRST else 3)


@pytest.mark.parametrize("asked", [{"ask_every": 100}, {"idle_gate": 1.5}, {"n1_gate": 1.9}])
def test_calm_steps_are_those_that_are_played_one_by_one(asked: dict[str, float]):
    options: dict[str, Any] = {"reward": "survival", "max_steps": 300, "autoreset": "disabled"}
    options["opponent"] = {
        "lines": ["3_4_6", "12_13_14"],
        "duration": 9,
        "period": 99,
        "budget": 20,
    }
    gated, stepped = (_vector(Interrupted(), **options, **more) for more in (asked, {}))
    decisions = 0
    while not gated.over[0]:
        gated.step([0])
        decisions += 1
    for _ in range(300):
        stepped.step([0])
    assert decisions < 150
    assert_identical(gated.state._asdict(), stepped.state._asdict())


def test_copies_go_on_amid_an_outage():
    env = _vector(Interrupted())
    for _ in range(130):
        env.step([0])
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(120):
        assert_identical(env.step([0]), twin.step([0]))
    assert_identical(env.state._asdict(), twin.state._asdict())


def test_scenarios_share_what_their_outages_do():
    source = Planned()
    one, other = (source.load(source.names("train")[0]) for _ in range(2))
    assert outages_of(one) is outages_of(replace(one, name="again"))
    assert outages_of(one) is not outages_of(other)
    assert outages_of(replace(one, maintenance=None)) is None
