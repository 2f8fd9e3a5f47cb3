"""Our agents in grid2op's Runner and score: step for step what our own loop plays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.grid2op_agent.__main__ import main
from agents.grid2op_agent.scores import open_folder, score_l2rpn_2020
from envs.scenarios import RecombinedSource, export_scenarios
from tests.agents.grid2op_excerpts import CALM, STEPS, STRESSED, Excerpts
from tests.agents.grid2op_recipes import (
    RECIPES,
    assert_same_play,
    play_in_runner,
    play_ourselves,
    recipe_of,
)

FEW = (STRESSED[0], CALM)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    env = open_folder(
        export_scenarios(Excerpts(), tmp_path_factory.mktemp("few") / "few", names=FEW)
    )
    yield env
    env.close()


@pytest.mark.parametrize(
    ("name", "scenario"), [("greedy", FEW[0]), ("muzero", FEW[0]), ("switcher", CALM)]
)
def test_runner_plays_as_our_own_loop_does(name: str, scenario: str, few: Any) -> None:
    ours = play_ourselves(recipe_of(name), Excerpts(), (scenario,))
    assert_same_play(play_in_runner(recipe_of(name), few, (scenario,)), ours)
    assert (ours[scenario].actions > 0).sum() >= 3  # there was something to compare


def test_the_command_prints_grid2ops_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export_scenarios(Excerpts(), tmp_path / "one", names=STRESSED[:1])
    main(["score", str(folder), "agent=greedy", "wrappers=gated"])
    shown = capsys.readouterr().out
    row = re.search(rf"(?m)^{STRESSED[0]} +(\S+)  60 of 60$", shown)
    assert row is not None, shown
    assert 50 < float(row[1]) <= 100  # doing nothing, which fails there, is 0
    assert re.search(rf"(?m)^mean +{re.escape(row[1])}$", shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RECIPES))
def test_runner_agrees_on_ten_stressed_pieces(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = export_scenarios(Excerpts(), tmp_path_factory.mktemp("ten") / "ten", names=STRESSED)
    env = open_folder(folder)
    side_by_side = 4 if name in ("greedy", "muzero") else 1
    ours = play_ourselves(recipe_of(name), Excerpts(), STRESSED, num_envs=side_by_side)
    assert_same_play(play_in_runner(recipe_of(name), env, STRESSED), ours)
    env.close()


@pytest.mark.slow
def test_grid2ops_score_of_doing_nothing_is_zero(tmp_path: Path) -> None:
    folder = export_scenarios(Excerpts(), tmp_path / "two", names=FEW)
    scores = score_l2rpn_2020(recipe_of("do nothing"), folder)
    assert [(one.scenario, one.score, one.steps) for one in scores] == [
        (STRESSED[0], 0.0, 15),
        (CALM, 0.0, STEPS),
    ]


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    names = RecombinedSource().names("test")[:3]
    folder = export_scenarios(
        RecombinedSource(), tmp_path_factory.mktemp("months") / "three", names=names
    )
    env = open_folder(folder)
    yield env
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["do nothing", "greedy", "random", "muzero"])
def test_runner_agrees_on_whole_months(name: str, months: Any) -> None:
    names = RecombinedSource().names("test")[:3]
    ours = play_ourselves(recipe_of(name), RecombinedSource(), names)
    for scenario in names:  # one at a time: grid2op keeps every observation of a run
        theirs = play_in_runner(recipe_of(name), months, [scenario])
        assert_same_play(theirs, {scenario: ours[scenario]})
    steps = [len(played.actions) for played in ours.values()]
    decisions = [int((played.actions > 0).sum()) for played in ours.values()]
    print(f"{name}: the same {sum(steps)} steps; {steps} steps, {decisions} actions")
    assert np.mean(steps) > 500
