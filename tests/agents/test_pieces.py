"""Evaluations in pieces: they merge to what one run gives, and only if they belong together."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.commands import entry
from agents.environments import EnvironmentFactory
from agents.evaluation import (
    EpisodeEvaluator,
    EvaluationResult,
    list_episodes,
    markdown_summary,
    merge_by_agent,
    merge_pieces,
    read_results,
    write_results,
)
from agents.power_grid.baselines import GreedyAgent
from benchmarks import ladder
from benchmarks.ladder_page import put_section, write_section
from envs.scenarios import make_source
from tests.agents.result_makers import PROTOCOL, result
from tests.agents.test_evaluation import make_agent, without_times

MONTHS = make_source("recombined").names("val")


def piece(first: int, count: int, agent: str = "x", **protocol: Any) -> EvaluationResult:
    """Return episodes ``first`` to ``first + count - 1`` of an environment without scenarios."""
    steps = tuple(10 + 5 * number for number in range(first, first + count))
    made = result(agent, steps)
    changes = {"scenarios_sha256": "", "seed": 7 + first, "episodes": count, **protocol}
    episodes = tuple(
        replace(one, scenario="", seed=7 + first + number)
        for number, one in enumerate(made.episodes)
    )
    return replace(made, protocol=replace(PROTOCOL, **changes), episodes=episodes)


def test_pieces_merge_to_what_one_run_gives() -> None:
    kwargs = {
        **{"opponent": "rl4pnc", "split": "val", "max_steps": 200},
        **{"idle_gate": 0.95, "ask_every": 6, "ask_at_attacks": True},
    }
    attacked = EnvironmentFactory("envs:PowerGrid-v0", kwargs, vector=True)
    agent = make_agent(GreedyAgent, attacked)

    def played(first: int, count: int) -> EvaluationResult:
        plan = list_episodes(MONTHS, first=first, episodes=count)
        assert [one.seed for one in plan] == [20190106 + first + i for i in range(count)]
        assert [one.scenario for one in plan] == list(MONTHS[first : first + count])
        return EpisodeEvaluator(attacked, plan, num_envs=2).evaluate(agent, name="greedy")

    whole = played(0, 4)
    merged = merge_pieces([played(2, 2), played(0, 2)])
    assert without_times(merged) == without_times(whole)
    assert any(one.attacks and one.actions for one in whole.episodes)
    assert merged.protocol == whole.protocol and merged.protocol.sha256 == whole.protocol.sha256
    assert merged.conditions.num_envs == 2
    assert merged.latency.mean == pytest.approx(
        1e3
        * sum(one.seconds for one in merged.episodes)
        / sum(one.decisions for one in merged.episodes)
    )


def test_a_piece_alone_is_itself_and_three_may_come_in_any_order() -> None:
    one = piece(0, 2)
    assert merge_pieces([one]) is one
    merged = merge_pieces([piece(3, 1), one, piece(2, 1)])
    assert [episode.seed for episode in merged.episodes] == [7, 8, 9, 10]
    assert (merged.protocol.seed, merged.protocol.episodes) == (7, 4)
    assert merged.protocol == piece(0, 4).protocol
    assert merged.conditions.seconds == 3 * one.conditions.seconds
    assert merged.latency.mean == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([], "there are no results to merge"),
        ([piece(0, 2), piece(3, 2)], "x: 1 episodes from seed 9 on are missing"),
        ([piece(0, 2), piece(1, 2)], "x: the episode with seed 8 is in two pieces"),
        ([piece(0, 2), piece(2, 2, "y")], "are of different agents: y has the latter"),
        (
            [piece(0, 2), piece(2, 2, idle_gate=None)],
            r"x: the pieces from seed 7 and from seed 9 were not played by the same protocol: "
            r"they differ in idle_gate \(0.95, None\)",
        ),
        (
            [
                piece(0, 2),
                replace(piece(2, 2), conditions=replace(piece(2, 2).conditions, weights="runs/b")),
            ],
            "not played under the same conditions: weights is '' and 'runs/b'",
        ),
        (
            [
                replace(
                    piece(first, 1, scenarios_sha256="ab" * 32),
                    episodes=(replace(piece(first, 1).episodes[0], scenario=MONTHS[first]),),
                )
                for first in (0, 1)
            ],
            "were played with other contents than scenarios=recombined has here",
        ),
        (
            [piece(0, 2, scenarios_sha256="x", scenarios="Mine"), piece(2, 2, scenarios="Mine")],
            "scenarios that a name makes can be merged, and scenarios=Mine does not: unknown",
        ),
    ],
)
def test_what_does_not_belong_together_is_not_merged(pieces: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge_pieces(pieces)


def test_each_agent_gets_a_line() -> None:
    merged = merge_by_agent([piece(2, 2), piece(0, 2, "y"), piece(0, 2)])
    assert [(one.agent, len(one.episodes)) for one in merged] == [("x", 4), ("y", 2)]
    lines = markdown_summary(merged).splitlines()
    assert lines[0].startswith("| agent | scenarios | steps % | completed % | decisions | simul")
    assert lines[2].startswith("| x | 4 | 17.5 [12.5, 22.5] | 0.0 [0.0, 0.0] | 4.0 | 8 | 0.50 | `")


def test_the_command_evaluates_a_part_and_merges(command: Any, working_folder: Path) -> None:
    for first, count in ((0, 2), (2, 1)):
        code, _, error = command(
            entry.evaluate,
            *("agent=do_nothing", "opponent=rl4pnc", "evaluation.max_steps=20", "split=val"),
            *(f"evaluation.first={first}", f"evaluation.episodes={count}"),
            *(f"folder=piece{first}", "evaluation.plots=false"),
        )
        assert code == 0, error
    code, out, error = command(
        entry.evaluate, "merge", "piece2", "piece0", "--folder", "all", "--output", "table.md"
    )
    assert code == 0, error
    assert "Written to all/evaluation.json" in out and "Written to table.md" in out
    (merged,) = read_results(Path("all"))
    assert [(one.scenario, one.seed) for one in merged.episodes] == [
        (MONTHS[number], 20190106 + number) for number in range(3)
    ]
    rows = list(csv.DictReader(Path("all/evaluation.csv").read_text().splitlines()))
    assert {row["protocol_sha256"] for row in rows} == {merged.protocol.short_hash}
    assert Path("table.md").read_text().splitlines()[2].startswith("| do_nothing | 3 | ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["merge"], "the following arguments are required: RESULT"),
        (["merge", "one", "far"], "x: 1 episodes from seed 9 on are missing"),
        (["merge", "one", "--foldr", "x"], "'--foldr'; did you mean '--folder'?"),
        (["merge", "one", "--folder", "one"], "folder one is not empty"),
        (["agent=greedy", "evaluation.first=64"], "evaluation.first is 64; expected 0 to "),
        (["agent=greedy", "evaluation.first=-1"], "evaluation.first=-1"),
        (
            ["agent=greedy", "evaluation.first=1", "evaluation.episodes=999"],
            "evaluation.episodes is 999; expected 1 to ",
        ),
        (["agent=greedy", "evaluation.frist=1"], "did you mean 'evaluation.first'?"),
    ],
)
def test_mistakes_are_one_line(
    command: Any, working_folder: Path, arguments: list[str], message: str
) -> None:
    for name, made in (("one", piece(0, 2)), ("far", piece(3, 2))):
        (working_folder / name).mkdir()
        write_results(working_folder / name, [made])
    code, out, error = command(entry.evaluate, *arguments)
    assert code == 2 and out == ""
    assert message in error and len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in working_folder.iterdir()) == ["far", "one"]


def test_a_section_of_the_page_replaces_its_former_self_alone(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    attacked = write_section("rl4pnc", ["powergrid-evaluate agent=x"], [piece(0, 4)], 3.0)
    put_section(page, attacked)
    calm = write_section("none", ["one", "two"], [result("a"), result("b", (1,) * 4)], 1.0)
    put_section(page, calm)
    assert page.read_text() == f"# Results\n\n{calm.rstrip()}\n\n{attacked.rstrip()}\n"
    assert "One of the lines 3_4_6, 11_12_13" in attacked and "| do nothing | 1.9 |" in attacked
    assert "    powergrid-evaluate agent=x\n" in attacked and "| x | 4 | 17.5 [" in attacked
    put_section(page, calm.replace("1.0 minutes", "2.0 minutes"))
    text = page.read_text()
    assert text.count("## Without attacks") == 1 and "2.0 minutes" in text
    assert attacked.rstrip() in text


@pytest.mark.parametrize(
    ("opponent", "expected"),
    [("none", {"case14"}), ("rl4pnc", {"case14", "case14_robust"})],
)
def test_the_ladder_plays_weights_on_grids_like_those_they_learned_on(
    opponent: str, expected: set[str]
) -> None:
    assert set(ladder._shipped(opponent)) == expected


@pytest.mark.slow
def test_the_ladder_goes_on_after_the_pieces_that_are_there(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("ladder", "--opponents", "rl4pnc", "--split", "val", "--agents", "do_nothing"),
        *("--weights", "--episodes", "3", "--piece", "2", "--output", "page.md", "--workers", "0"),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    ladder.main()
    page = Path("page.md").read_text()
    folder = Path("runs/ladder/val/rl4pnc/do_nothing")
    (whole,) = read_results(folder)
    assert [one.seed for one in whole.episodes] == [20190106, 20190107, 20190108]
    with pytest.raises(SystemExit, match="go on after its pieces with --rest"):
        ladder.main()
    shutil.rmtree(folder / "0002_to_0002")
    capfd.readouterr()
    monkeypatch.setattr("sys.argv", [*arguments, "--rest"])
    ladder.main()
    out = capfd.readouterr().out
    assert "evaluation.first=2 evaluation.episodes=1" in out and "evaluation.first=0" not in out
    (again,) = read_results(folder)
    assert without_times(again) == without_times(whole) and again.protocol == whole.protocol
    assert f"`{whole.protocol.short_hash}`" in page and "| do_nothing | 3 | " in page
