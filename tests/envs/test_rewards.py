"""Rewards against grid2op's own classes, step by step on the real grid."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import grid2op.Reward
import numpy as np
import pytest

from envs.grid.actions import ActionCatalogue
from envs.grid.observations import FeaturesEncoder
from envs.grid.rewards import MarginReward, StepOutcome, find_grid2op_reward, make_reward
from envs.grid.state import GridLayout, GridState
from envs.reference.grid2op_state import grid_layout
from envs.scenarios import make_grid2op
from tests.envs.conftest import ONE_AT_A_TIME, SANDBOX, stack, state_of

Played = list[tuple[GridState, StepOutcome, float, float]]


@pytest.fixture(scope="module")
def played() -> Played:
    """Random steps, some illegal; episodes end by blackout and by completion."""
    env: Any = make_grid2op(
        SANDBOX,
        parameters=ONE_AT_A_TIME,
        chronics_class=None,
        reward_class=grid2op.Reward.L2RPNReward,
        other_rewards={"redispatch": grid2op.Reward.RedispReward},
    )
    catalogue = ActionCatalogue(env.action_space, grid_layout(env, name=SANDBOX))
    rng = np.random.default_rng(0)
    steps: Played = []
    for episode in range(12):
        env.reset(seed=episode, options={"max step": 25})
        done = False
        while not done:
            number = int(rng.integers(catalogue.num_actions)) if episode % 2 else 0
            number = 387 + 60 if rng.random() < 0.2 else number  # illegal: the line is in
            observation, reward, done, info = env.step(catalogue.grid2op_actions[number])
            blackout = done and observation._is_done
            outcome = StepOutcome(
                action=np.array([number]),
                illegal=np.array([info["is_illegal"]]),
                blackout=np.array([blackout]),
                complete=np.array([done and not blackout]),
            )
            state = state_of(env, observation)
            steps.append((state, outcome, float(reward), float(info["rewards"]["redispatch"])))
    env.close()
    return steps


def test_episodes_end_in_all_ways(played: Played):
    assert sum(outcome.blackout[0] for _, outcome, *_ in played) >= 3
    assert sum(outcome.complete[0] for _, outcome, *_ in played) >= 3
    assert sum(outcome.illegal[0] for _, outcome, *_ in played) >= 20


@pytest.mark.parametrize(("name", "column"), [("l2rpn", 2), ("redispatch_cost", 3)])
def test_equal_to_grid2ops_class(name: str, column: int, played: Played, layout: GridLayout):
    reward = make_reward(name, layout)
    states = stack([step[0] for step in played])
    told = ("action", "illegal", "blackout", "complete")
    outcomes = StepOutcome(
        **{field: np.concatenate([getattr(step[1], field) for step in played]) for field in told}
    )
    ours = reward(states, outcomes)
    theirs = np.array([step[column] for step in played])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert ours.dtype == np.float32
    assert reward.range[0] <= ours.min() and ours.max() <= reward.range[1]


def test_survival_blackout_and_margin(played: Played, layout: GridLayout):
    names = ("survival", "blackout", "margin")
    survival, blackouts, margin = (make_reward(name, layout) for name in names)
    for state, outcome, *_ in played:
        blackout = bool(outcome.blackout[0])
        assert survival(state, outcome)[0] == (0 if blackout else 1)
        assert blackouts(state, outcome)[0] == (-1 if blackout else 0)
        lines = zip(state.rho[0], state.line_status[0], strict=True)
        line = [max(1 - float(rho) ** 2, -1) if closed else 0 for rho, closed in lines]
        expected = -10 if blackout else np.mean(line)
        assert margin(state, outcome)[0] == pytest.approx(expected, abs=1e-5)


def test_near_reference_pays_less_the_more_ends_are_off_busbar_1(
    played: Played, layout: GridLayout
):
    reward = make_reward("near_reference", layout)
    distances: set[int] = set()
    for state, outcome, *_ in played:
        distance = sum(int(busbar) != 1 for busbar in state.topo_vect[0])
        lost = bool(outcome.blackout[0])
        assert reward(state, outcome)[0] == pytest.approx(0 if lost else 1 / (1 + distance / 10))
        distances |= set() if lost else {distance}
    assert 0 in distances and len(distances) > 5


def test_names(layout: GridLayout):
    assert type(make_reward("redispatch cost", layout)) is type(
        make_reward("redispatch-cost", layout)
    )
    assert find_grid2op_reward("redispatch cost") is None
    assert find_grid2op_reward("EpisodeDurationReward") is grid2op.Reward.EpisodeDurationReward
    with pytest.raises(ValueError, match="unknown reward 'L2RPNRewards'; did you mean"):
        find_grid2op_reward("L2RPNRewards")
    with pytest.raises(ValueError, match="did you mean 'survival'"):
        make_reward("surviva", layout)
    with pytest.raises(ValueError, match="only PowerGridEnv"):
        make_reward("EpisodeDurationReward", layout)


def test_a_class_of_any_module_is_a_reward(layout: GridLayout):
    ours, theirs = "envs.grid.rewards:MarginReward", "grid2op.Reward:EpisodeDurationReward"
    assert type(make_reward(ours, layout)) is type(make_reward("margin", layout))
    assert find_grid2op_reward(ours) is None
    assert find_grid2op_reward(theirs) is grid2op.Reward.EpisodeDurationReward
    with pytest.raises(ValueError, match="only PowerGridEnv"):
        make_reward(theirs, layout)
    for wrong in (
        "envs.rewords:MarginReward",
        "envs.grid.rewards:Margin",
        ":MarginReward",
        "envs:",
    ):
        with pytest.raises(ValueError, match=f"reward '{wrong}' cannot be imported"):
            make_reward(wrong, layout)
    with pytest.raises(ValueError, match="is no class"):
        make_reward("envs.grid.rewards:make_reward", layout)


@pytest.mark.parametrize("file", ["beside_us.py", "near_us/reward.py"])
def test_a_reward_of_the_present_folder_is_found_by_pythonpath(
    layout: GridLayout, working_folder: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    path = Path(file)
    path.parent.mkdir(exist_ok=True)
    path.write_text("from envs.grid.rewards import MarginReward")
    name = f"{'.'.join(path.with_suffix('').parts)}:MarginReward"
    hint = f"; {path.parts[0]} lies in the present folder: start with PYTHONPATH=. or install it"
    with pytest.raises(ValueError, match=re.escape(hint)):
        make_reward(name, layout)
    monkeypatch.syspath_prepend(working_folder)
    assert isinstance(make_reward(name, layout), MarginReward)
    with pytest.raises(ValueError, match=r"has no attribute 'Margin'$"):
        make_reward(name.replace("MarginReward", "Margin"), layout)


def test_a_class_or_a_partial_of_one_makes_a_reward(layout: GridLayout):
    gentle = partial(MarginReward, blackout=-3.0)
    assert make_reward(gentle, layout).range == (-3.0, 1.0)
    assert type(make_reward(MarginReward, layout)) is MarginReward
    assert find_grid2op_reward(gentle) is None
    theirs: Any = grid2op.Reward.EpisodeDurationReward
    assert find_grid2op_reward(theirs) is find_grid2op_reward(partial(theirs)) is theirs
    with pytest.raises(ValueError, match="only PowerGridEnv"):
        make_reward(theirs, layout)
    with pytest.raises(ValueError, match="takes no options here, but got {'per_timestep': 2}"):
        find_grid2op_reward(partial(theirs, per_timestep=2))
    wrong: Any = FeaturesEncoder
    with pytest.raises(ValueError, match="makes a FeaturesEncoder; expected a Reward, which has a"):
        make_reward(wrong, layout)


def test_no_costs_no_redispatch_cost(layout: GridLayout):
    free = layout._replace(cost_per_mwh=np.zeros_like(layout.cost_per_mwh))
    with pytest.raises(ValueError, match="needs generators' costs"):
        make_reward("redispatch_cost", free)
