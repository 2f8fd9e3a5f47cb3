"""Mining action sets on the sandbox, and the command ``powergrid-actions``."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import envs
from agents.commands.actions import run
from agents.power_grid.action_mining import MiningSettings, mine
from agents.power_grid.action_mining.cases import CasePlayer, EpisodeSettings, relief_of
from agents.power_grid.action_mining.choice import (
    choose_actions,
    coverage_elsewhere,
    missed_without,
)

GRID = "l2rpn_case14_sandbox"
SETTINGS = MiningSettings(
    episodes=EpisodeSettings(
        grids=(GRID,),
        scenarios="bundled",
        scenario_folder=None,
        split="train",
        until=1.0,
        lines=(3, 4, 15),
        stress=0.95,
        cases=3,
        seed=0,
    ),
    most=4096,
    screen=3,
    score=6,
    keep=12,
)


def silent(stage: str, done: int, count: int) -> None:
    """Nobody is told."""


# ------------------------------------------------------------------------------------ choosing


def test_relief_is_a_share_of_what_is_possible():
    found = relief_of(np.array([1.4, 0.95, 1.2, 1.5, np.inf, 0.5]))
    assert found is not None
    np.testing.assert_allclose(found, [0.0, 0.9, 0.4, 0.0, 0.0, 1.0])  # 0.9 is safe enough
    ending = relief_of(np.array([np.inf, 1.0, 1.5]))
    assert ending is not None
    np.testing.assert_allclose(ending, [0.0, 1.0, 0.5])
    assert relief_of(np.array([1.0, 0.99, 1.2])) is None
    assert relief_of(np.array([0.5, 0.3])) is None


# action 0 does nothing, 1 is always there; 4 joins what 3 splits
RELIEF = np.array(
    [
        [0, 0.2, 0.0, 1.0, 0.0, 0.8],
        [0, 0.2, 0.0, 1.0, 0.0, 0.8],
        [0, 0.2, 0.6, 0.0, 0.0, 0.5],
        [0, 0.2, 1.0, 0.0, 0.0, 0.0],
    ],
    dtype=np.float16,
)
ALWAYS, NEEDS = np.array([0, 1]), np.array([0, 1, 2, 4, 4, 5])


def test_actions_are_taken_by_what_they_add():
    choice = choose_actions(RELIEF, always=ALWAYS, needs=NEEDS, size=6)
    # 5 adds 0.6 + 0.6 + 0.3; then 2 adds 0.1 + 0.8; then 3, with 4, adds 0.2 + 0.2
    assert choice.numbers.tolist() == [0, 1, 5, 2, 3, 4]
    np.testing.assert_allclose(choice.coverage * 4, [0, 0.8, 2.3, 3.2, 3.6, 3.6], atol=2e-3)
    np.testing.assert_allclose(choice.among_best, [0, 0, 0, 0.25, 0.75, 0.75])
    assert choice.numbers[:3].tolist() == [0, 1, 5]
    # what adds nothing is taken where it adds to the second best relief
    twice = np.concatenate([RELIEF, RELIEF[:, 2:3] * 0.5], axis=1)
    seconds = choose_actions(twice, always=ALWAYS, needs=np.append(NEEDS, 6), size=7)
    assert seconds.numbers.tolist() == [0, 1, 5, 2, 3, 4, 6]
    np.testing.assert_allclose(seconds.coverage[-2:] * 4, [3.6, 3.6], atol=2e-3)
    # where there is no room for what joins it, an action is not taken
    tight = choose_actions(RELIEF, always=ALWAYS, needs=NEEDS, size=5)
    assert tight.numbers.tolist() == [0, 1, 5, 2]
    np.testing.assert_allclose(
        missed_without(RELIEF, choice.numbers) * 4, [0, 0, 0, 0.9, 0.4, 0], atol=2e-3
    )


def test_coverage_of_other_cases_is_by_sets_chosen_without_them():
    fold = np.array([0, 0, 0, 1])
    found = coverage_elsewhere(RELIEF, fold, always=ALWAYS, needs=NEEDS, size=4)
    # chosen on case 3: 2, then nothing adds; on the cases 0 to 2: 5, then 2
    np.testing.assert_allclose(found * 4, [0, 0.8, 1.0 + 0.2, 1.0 + 1.0], atol=2e-3)
    alone = coverage_elsewhere(RELIEF, np.zeros(4), always=ALWAYS, needs=NEEDS, size=4)
    assert np.isnan(alone).all()


# -------------------------------------------------------------------------------------- mining


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small mining."""
    folder = tmp_path_factory.mktemp("mined")
    mine(SETTINGS, folder, size=40, workers=0, told=silent)
    return folder


def mined_again(
    folder: Path, settings: MiningSettings = SETTINGS, size: int = 40
) -> envs.ActionSet:
    return mine(settings, folder, size=size, workers=0, told=silent).chosen


def test_what_is_mined_relieves(mined: Path):
    found = mine(SETTINGS, mined, size=40, workers=0, told=silent)
    assert sum(found.counts().values()) == len(found.kind) > 5
    assert found.counts()["relieve_lost"] > 0
    chosen = found.chosen
    assert 21 < len(chosen) <= 40 and not len(chosen.lines_not_switched)
    assert chosen.wiring == envs.grid_wiring(GRID)
    coverage = found.choice.coverage
    assert (np.diff(coverage) >= 0).all() and 0.9 < coverage[-1] <= 1.0
    assert coverage[-1] > coverage[20] + 0.1  # beyond switching lines
    split = (chosen.set_busbar == 2).any(axis=1)
    moved = (chosen.set_busbar != 0).any(axis=1)
    where = chosen.wiring.element_substation[(chosen.set_busbar != 0).argmax(axis=1)]
    assert split.any() and set(where[split]) <= set(where[moved & ~split])


def test_a_mining_goes_on_where_it_was(mined: Path, monkeypatch: pytest.MonkeyPatch):
    whole = mined_again(mined)
    played = []
    play = CasePlayer.play

    def noted(self: CasePlayer, number: int, *, stage: int) -> object:
        played.append((stage, number))
        return play(self, number, stage=stage)

    monkeypatch.setattr(CasePlayer, "play", noted)
    assert mined_again(mined) == whole and played == []
    (piece,) = mined.glob("score_*/00004.npz")
    piece.unlink()
    assert mined_again(mined) == whole and played == [(1, 4)]
    smaller = mined_again(mined, size=26)
    assert len(smaller) <= 26 and played == [(1, 4)]
    longer = replace(SETTINGS, score=7)
    assert len(mined_again(mined, longer)) > 21 and played == [(1, 4), (1, 6)]


def test_mining_refuses_in_one_line(mined: Path, tmp_path: Path):
    episodes = SETTINGS.episodes
    for settings, message in (
        (replace(SETTINGS, keep=13), r"other settings \(keep was 12 and is 13\)"),
        (
            replace(SETTINGS, episodes=replace(episodes, seed=1)),
            r"other settings \(seed was 0 and is 1\): name another folder",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            mined_again(mined, settings)
    with pytest.raises(ValueError, match="size is 21; expected more than 21: doing nothing and a"):
        mined_again(mined, size=21)
    content = (mined / "screen" / "00001.npz").read_bytes()
    try:
        (mined / "screen" / "00001.npz").write_bytes(content[:50])
        with pytest.raises(ValueError, match="00001.npz is cut short: delete it"):
            mined_again(mined)
    finally:
        (mined / "screen" / "00001.npz").write_bytes(content)
    calm = replace(SETTINGS, episodes=replace(episodes, stress=1.9, lines=(12,)), screen=1)
    with pytest.raises(ValueError, match="no stressed state that an action relieves was met in 1"):
        mined_again(tmp_path, calm)
    mixed = replace(SETTINGS, episodes=replace(episodes, grids=(GRID, "rte_case5_example")))
    with pytest.raises(ValueError, match="are wired otherwise: mine a set for each"):
        mined_again(tmp_path, mixed)
    beyond = replace(SETTINGS, episodes=replace(episodes, lines=(20,)))
    with pytest.raises(ValueError, match="there is no line 20; they are 0 to 19"):
        mined_again(tmp_path, beyond)


@pytest.mark.slow
def test_workers_find_the_same(mined: Path, tmp_path: Path):
    found = mine(SETTINGS, tmp_path, size=40, workers=2, told=silent).chosen
    mining_of_one = mined_again(mined)
    assert found == mining_of_one
    from agents.runs.cluster import disconnect

    disconnect()


# ----------------------------------------------------------------------------------- the command


def test_the_command_mines_shows_checks_and_merges(
    mined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    episodes = SETTINGS.episodes
    given = [
        *("mine", "--grid", GRID, "--folder", str(mined), "--size", "40", "--lines", "3,4,15"),
        *("--screen", "3", "--score", "6", "--keep", "12", "--cases", "3"),
    ]
    run(given)
    told = capsys.readouterr().out
    assert re.search(r"\| \d+ \| (0\.9\d\d|1\.000) \| [01]\.\d{3} \| [01]\.\d{3} \|", told)
    assert {path.name for path in mined.glob("*.*")} == {
        *("mining.json", "actions.json", "coverage.csv", "coverage.png", "actions.csv"),
    }
    assert (mined / "coverage.png").read_bytes().startswith(b"\x89PNG")
    with open(mined / "actions.csv") as file:
        rows = list(csv.DictReader(file))
    written = envs.find_action_set(mined / "actions.json", GRID)
    assert written is not None
    assert [row["text"] for row in rows] == list(written.texts)
    assert json.loads((mined / "actions.json").read_text())["provenance"]["grids"] == [GRID]
    assert episodes.grids == (GRID,)

    run(["show", str(mined / "actions.json")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{len(written)} actions for grids with 14 substations, 20 lines")
    assert any(line.startswith("command: powergrid-actions ") for line in lines)
    assert lines[-len(written)] == "   0  do nothing"

    output = tmp_path / "splits.npz"
    some = written.subset(range(21, len(written)))
    with open(tmp_path / "some.json", "wb") as file:
        envs.write_action_set(file, some, binary=False)
    run(["check", str(tmp_path / "some.json"), "--grid", GRID])
    assert "20 lines, from 0 on, are not switched by any action" in capsys.readouterr().out
    run(["merge", str(tmp_path / "some.json"), "--line-switches", "--output", str(output)])
    assert capsys.readouterr().out == f"{len(written)} actions written to {output}\n"
    merged = envs.find_action_set(output, GRID)
    assert merged is not None and set(merged.texts) == set(written.texts)
    run(["check", str(output), "--grid", GRID])
    assert capsys.readouterr().out == f"{len(written)} actions, which grid {GRID} takes.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "vectors.npy"], "vectors.npy: name the grid that the vectors are of"),
        (["show", "all"], "all actions of a grid are no set"),
        (["check", "absent.json", "--grid", GRID], "there is no file absent.json"),
        (["merge", "absent.json", "--output", "set.txt"], "ends in .json or .npz"),
        (["mine", "--grid", GRID], "the following arguments are required: --folder"),
        (["mine", "--grid", GRID, "--folder", "x", "--until", "1.5"], "expected a share"),
        (["mine", "--grid", GRID, "--folder", "x", "--lines", "3,a"], "'a'; expected a whole"),
        (["shwo"], "invalid choice: 'shwo'"),
    ],
)
def test_mistakes_at_the_command_line(words: list[str], message: str):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        run(words)
    assert "\n" not in str(refused.value)
    assert not Path("x").exists()
