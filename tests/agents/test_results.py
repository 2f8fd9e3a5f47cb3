"""Results: written and read back as they were, refused when spoilt, compared when comparable."""

from __future__ import annotations

import csv
import json
import logging
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, SupportsFloat
from xml.etree import ElementTree

import gymnasium as gym
import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from agents.commands import entry
from agents.environments import EnvironmentFactory
from agents.evaluation import (
    EpisodeRecord,
    Incident,
    LoadingTrace,
    Protocol,
    Setting,
    describe_protocol,
    estimate,
    explain_difference,
    list_episodes,
    log_metrics,
    read_results,
    summarize,
    write_results,
)
from agents.evaluation.pairs import compare_results, to_markdown
from agents.evaluation.result_files import parse_results, to_json
from agents.evaluation.tables import format_table, tell_incidents
from agents.pictures import plots
from agents.pictures.plots import write_learning_curve, write_plots
from envs.grid.rewards import MarginReward
from envs.scenarios import make_source
from tests.agents.result_makers import PROTOCOL, episode, result

OTHER = replace(PROTOCOL, idle_gate=None, versions=(Setting(name="grid2op", value="1.12.7"),))


# figures -------------------------------------------------------------------------------------


def test_figures_add_up() -> None:
    made = result()
    summary = summarize(made)
    assert summary["steps_percent"].mean == 70.0
    assert summary["completed_percent"].mean == 50.0
    assert summary["reward"].mean == 700.0
    assert summary["actions"].mean == 2.0
    metrics = log_metrics(made.episodes)
    assert metrics["score"] == pytest.approx(0.705)
    assert metrics["ms_per_decision"] == pytest.approx(0.5)
    assert metrics["mean_distance"] == 1.25


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    samples = np.random.default_rng(3).normal(5.0, 2.0, size=64)
    found = estimate(samples)
    assert found == estimate(samples)  # seeded
    rng = np.random.default_rng(11)
    means = [rng.choice(samples, size=64).mean() for _ in range(10_000)]
    low, high = np.percentile(means, [2.5, 97.5])
    assert found.mean == samples.mean()
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)
    assert estimate(np.full(5, 2.0)) == (2.0, 2.0, 2.0)


def test_metrics_that_an_environment_lacks_are_left_out() -> None:
    episodes = (replace(result().episodes[0], mean_distance=None, max_steps=None),)
    assert {"mean_distance", "steps_percent"}.isdisjoint(log_metrics(episodes))
    table = format_table([replace(result(), episodes=episodes)])
    assert "steps %" not in table and "decisions" in table


def test_the_table_names_the_reward_and_shows_mistakes_only_where_there_are_any() -> None:
    table = format_table([result()])
    assert "L2RPN reward" in table
    assert "70.0" in table and "40.0 .. 100.0" in table
    assert "errors" not in table and "illegal" not in table
    first = Incident(decision=3, step=40, text="action 5 line 3-4 (line 2) is in cooldown")
    failed = Incident(decision=1, step=0, text="RuntimeError: no idea")
    spoilt = result(
        episodes=(
            episode(scenario="s0", illegal_actions=2, first_illegal=first),
            *result().episodes[1:3],
            episode(scenario="s3", agent_error=failed, end="agent error: RuntimeError: no idea"),
        )
    )
    table = format_table([spoilt])
    assert "errors" in table and "illegal" in table
    told = tell_incidents(spoilt)
    assert told == [
        "x failed in 1 of 4 episodes, which ended there: scenario s3, decision 1 at step 0: "
        "RuntimeError: no idea",
        "x chose 2 illegal actions in 1 of 4 episodes, which did nothing; first: scenario s0, "
        "decision 3 at step 40: action 5 line 3-4 (line 2) is in cooldown",
    ]


def test_the_table_fits_100_columns_and_leaves_nothing_out() -> None:
    wide = replace(
        result("a_long_name_of_an_agent"),
        episodes=tuple(
            replace(
                one, reward=1e3 * one.reward, attacks=56, attacks_survived=50, illegal_actions=1
            )
            for one in result().episodes
        ),
    )
    lines = format_table([result("do_nothing"), wide]).splitlines()
    assert max(map(len, lines)) <= 100
    for name in ("steps %", "L2RPN reward", "distance", "attacks survived", "illegal", "ms median"):
        assert sum(name in line for line in lines) == 1, name
    assert sum(line.startswith("a_long_name_of_an_agent ") for line in lines) == lines.count("") + 1
    assert format_table([wide], width=1000).count("agent") == 2  # the heading, and its name


def test_a_notebook_shows_a_result_with_a_bar_for_each_episode() -> None:
    made = replace(
        result(),
        episodes=tuple(episode(scenario=f"<{number}>", steps=number) for number in range(1, 21)),
    )
    root = ElementTree.fromstring(made._repr_html_())
    summary, bars = root.findall("table")
    assert [one.text for one in summary.iter("th")][:3] == ["agent", "steps %", "completed %"]
    rows = list(bars.iter("tr"))
    assert len(rows) == 16 and "and 4 more" in "".join(root.itertext())
    assert rows[2].attrib["title"] == "<3>: blackout: island"
    assert [one.attrib["style"] for one in rows[2].iter("div")][1].startswith("width: 6px")


# files ---------------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    error = Incident(decision=2, step=9, text="it returned action 999; expected 0 to 486")
    strange = result("y", episodes=(episode(agent_error=error), *result().episodes[1:]))
    made = (result(), strange)
    json_path, csv_path = write_results(tmp_path, made)
    assert read_results(json_path) == made
    assert read_results(tmp_path) == made
    document = json.loads(json_path.read_text())
    assert document["results"][0]["protocol_sha256"] == PROTOCOL.sha256
    mean, low, high = document["results"][0]["summary"]["steps_percent"]
    assert low < mean == 70.0 < high
    rows = list(csv.DictReader(csv_path.read_text().splitlines()))
    assert [row["scenario"] for row in rows] == ["s0", "s1", "s2", "s3", "a", "s1", "s2", "s3"]
    assert rows[4]["agent_error"] == f"decision 2, step 9: {error.text}"
    assert json.loads(rows[0]["actions"]) == [200, 5]
    assert set(rows[0]) == {"agent", "protocol_sha256", *(f.name for f in fields(EpisodeRecord))}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.csv", "evaluation.json"]


def changed(change: Any) -> str:
    document = json.loads(to_json([result()]))
    change(document["results"][0])
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (to_json([result()])[:400], r"not JSON: .* at line \d+"),
        (to_json([result()])[:-8], r"not JSON: .* at line \d+"),
        ("", "not JSON: .* at line 1"),
        ("[]", "expected an object"),
        ('{"results": []}', "its schema is None; this version reads 3. Evaluate again"),
        ('{"schema": 3, "results": []}', "it holds no results"),
        ('{"schema": 3, "results": [3]}', r"results\[0\]: expected an object"),
        (changed(lambda r: r.pop("agent")), r"results\[0\]\.agent: Field required$"),
        (changed(lambda r: r.update(colour=1)), r"\.colour: Unexpected keyword"),
        (changed(lambda r: r["episodes"].pop()), r"it holds 3 of 4 episodes"),
        (changed(lambda r: r["protocol"].update(idle_gate=0.9)), "not the one that its hash"),
        (
            changed(lambda r: r["episodes"][2].update(completed=1)),
            r"episodes\[2\].completed: Input should be a valid boolean, found 1",
        ),
        (
            changed(lambda r: r["episodes"][1].update(steps=1.5)),
            r"\.steps: Input should be a valid int",
        ),
        (
            changed(lambda r: r["episodes"][1].update(reward=None)),
            r"\.reward: .*number, found None",
        ),
        (
            changed(lambda r: r["episodes"][1].update(reward=1e300)),
            r"\.reward: Input should be less than 9.*, found 1e\+300",
        ),
        (changed(lambda r: r["episodes"][1].update(steps=-1)), r"\[1\]\.steps: .*, found -1"),
        (changed(lambda r: r["episodes"][1].update(max_steps=0)), "it lasted 100 of 0 steps"),
        (changed(lambda r: r["episodes"][1].update(steps=900)), "it lasted 900 of 100 steps"),
        (changed(lambda r: r["episodes"][1]["actions"].pop()), "1 actions at 2 steps"),
        ("\x00" * 99, "not JSON: .* at line 1"),
        ("[" * 100_000, "not JSON: recursion limit exceeded"),
    ],
)
def test_spoilt_results_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_results(text)
    assert "\n" not in str(caught.value)


def test_absent_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing/evaluation.json does not exist|nothing does"):
        read_results(tmp_path / "nothing")
    (tmp_path / "evaluation.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="evaluation.json is no evaluation result"):
        read_results(tmp_path)


# protocols -----------------------------------------------------------------------------------

SCENARIOS = make_source("recombined").names("test")[:2]
GRID = EnvironmentFactory("envs:PowerGrid-v0", {"split": "test"}, vector=True)


def protocol_of(**kwargs: Any) -> Protocol:
    factory = replace(GRID, kwargs={**GRID.kwargs, **kwargs})
    return describe_protocol(factory, list_episodes(SCENARIOS))


def test_the_protocol_says_what_is_played() -> None:
    plain = protocol_of()
    assert plain.grid == "l2rpn_case14_sandbox" and plain.simulator == "lightsim2grid"
    assert (plain.scenarios, plain.split, plain.episodes) == ("recombined", "test", 2)
    assert plain.reward == "l2rpn" and plain.idle_gate is None
    names = [one.name for one in plain.versions]
    assert names == ["grid2op", "lightsim2grid", "powergrid-muzero"]
    assert all(one.value[0].isdigit() for one in plain.versions)
    spelt_out = protocol_of(
        scenarios="recombined",
        grid="l2rpn_case14_sandbox",
        parameters={},
        start="beginning",
        action_mask="legal",
        idle_gate=None,
        scenario_folder=None,
    )
    assert spelt_out == plain and spelt_out.sha256 == plain.sha256


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"idle_gate": 0.95}, "idle_gate (None, 0.95)"),
        ({"reconnect_lines": True}, "reconnect_lines (False, True)"),
        ({"max_steps": 500}, "max_steps (None, 500)"),
        ({"action_mask": "distinct"}, "action_mask (legal, distinct)"),
        ({"reward": "margin"}, "reward (l2rpn, margin)"),
        (
            {"parameters": {"NB_TIMESTEP_COOLDOWN_SUB": 3}},
            "parameters (NB_TIMESTEP_COOLDOWN_SUB absent, 3)",
        ),
        ({"grid2op_options": {"opponent_budget": 3}}, "options (grid2op_options absent"),
        (
            {"reward": partial(MarginReward, blackout=-3.0)},
            'reward (l2rpn, envs.grid.rewards.MarginReward({"blackout": -3.0}))',
        ),
    ],
)
def test_whatever_moves_figures_is_in_the_hash(kwargs: dict[str, Any], told: str) -> None:
    plain, other = protocol_of(), protocol_of(**kwargs)
    assert plain.sha256 != other.sha256
    assert explain_difference(plain, other).startswith(told)


@pytest.mark.parametrize(
    "kwargs", [{"observation": "full"}, {"num_workers": 0}, {"planning_reward": "margin"}]
)
def test_what_is_the_agents_business_is_not(kwargs: dict[str, Any]) -> None:
    assert protocol_of(**kwargs).sha256 == protocol_of().sha256


def negated(reward: SupportsFloat) -> float:
    return -float(reward)


def test_wrappers_count_unless_they_only_show() -> None:
    def hashed(*wrappers: Any) -> str:
        factory = EnvironmentFactory("PowerGrid-v0", {"split": "test"}, wrappers)
        return describe_protocol(factory, list_episodes(SCENARIOS)).sha256

    shown = partial(gym.wrappers.FlattenObservation)
    scaled = partial(gym.wrappers.TransformReward, func=negated)
    assert hashed() == hashed(shown) != hashed(scaled)
    assert hashed(scaled) != hashed(partial(gym.wrappers.TransformReward, func=float))


class Louder:
    """The same names, other loads."""

    def load(self, name: str) -> Any:
        scenario = make_source("recombined").load(name)
        return replace(scenario, load_p=scenario.load_p * np.float32(1.0001))


def test_scenarios_count_with_their_contents_and_order() -> None:
    def hashed(names: tuple[str, ...], **kwargs: Any) -> str:
        factory = replace(GRID, kwargs={**GRID.kwargs, **kwargs})
        return describe_protocol(factory, list_episodes(names)).scenarios_sha256

    hashes = {
        hashed(SCENARIOS),
        hashed(SCENARIOS[:1]),
        hashed(SCENARIOS[::-1]),
        hashed(SCENARIOS, scenarios=Louder()),
    }
    assert len(hashes) == 4


# comparisons ---------------------------------------------------------------------------------


def test_differences_are_paired() -> None:
    first, second = result("first"), result("second", (60, 100, 100, 40))
    comparison = compare_results([first, second])
    difference = comparison.differences[0]["steps_percent"]
    assert difference.mean == 5.0
    # pairs differ by 0 or 10, however much the scenarios do
    assert 0.0 <= difference.low < 5.0 < difference.high <= 10.0
    whole = comparison.summaries[1]["steps_percent"]
    assert difference.high - difference.low < (whole.high - whole.low) / 2
    lines = to_markdown(comparison).splitlines()
    assert lines[0].startswith("| agent | steps % | difference to first | completed % |")
    assert lines[1].count("---") == lines[0].count("|") - 1
    assert lines[2].startswith("| first | 70.0 [40.0, 100.0] |  | 50.0")
    assert lines[3].startswith("| second | 75.0 [50.0, 100.0] | +5.0 [+")
    assert "4 scenarios of PowerGrid-v0 (recombined, split test)" in lines[-1]
    assert PROTOCOL.short_hash in lines[-1]


def test_repeats_are_dropped_and_names_told_apart() -> None:
    first, second = result("greedy"), result("muzero", (100,) * 4)
    slower = replace(first, latency=replace(first.latency, median=9.0))
    third = result("muzero", (90,) * 4)
    weights = replace(third.conditions, weights="runs/b")
    comparison = compare_results([first, second, slower, replace(third, conditions=weights)])
    assert [one.agent for one in comparison.results] == ["greedy", "muzero", "muzero (runs/b)"]
    with pytest.raises(ValueError, match="1 result is there to compare; at least 2"):
        compare_results([first, slower])


def test_other_protocols_are_refused_unless_asked_for() -> None:
    first, other = result("a"), result("b", protocol=OTHER)
    with pytest.raises(ValueError) as caught:
        compare_results([first, other])
    assert str(caught.value) == (
        f"a (protocol {PROTOCOL.short_hash}) and b (protocol {OTHER.short_hash}) were not played "
        "by the same protocol: they differ in idle_gate (0.95, None), versions (grid2op 1.12.6, "
        "1.12.7). Evaluate one of them again."
    )
    with pytest.raises(ValueError, match=r"they differ in versions \(grid2op"):
        compare_results([first, other], across=["idle_gate"])
    comparison = compare_results([first, other], across=["idle_gate", "versions"])
    table = to_markdown(comparison).splitlines()
    assert table[0].startswith("| agent | idle_gate | versions |")
    assert table[3].startswith("| b | None |")
    with pytest.raises(ValueError, match="did you mean 'idle_gate'"):
        compare_results([first, other], across=["idle_gat"])


# plots ---------------------------------------------------------------------------------------


def test_plots_are_pictures_and_leave_matplotlib_alone(tmp_path: Path) -> None:
    settings, pyplot = dict(matplotlib.rcParams), sys.modules.get("matplotlib.pyplot")
    figures = [] if pyplot is None else pyplot.get_fignums()
    own = result("own")
    traces = [LoadingTrace(one, np.linspace(0.5, 1.2, one.steps + 1)) for one in own.episodes[:2]]
    paths = write_plots(tmp_path, [result("other", (10,) * 4), own], traces)
    names = ["survival", "actions", "reward_latency", "rho_1", "rho_2"]
    assert [path.stem for path in paths] == names
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG" and picture.width > 600
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # something is drawn
    assert dict(matplotlib.rcParams) == settings
    if pyplot is not None:
        assert pyplot.get_fignums() == figures


def drawn_axes(draw: Any) -> Any:
    """Return the axes of a figure that was drawn, so that places are known."""
    figure = Figure(figsize=(8.0, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    FigureCanvasAgg(figure).draw()
    return axes


def test_identical_agents_stay_visible() -> None:
    alike = [result(name, (50, 60, 100, 100)) for name in ("a", "b", "c")]
    axes = drawn_axes(lambda axes: plots.draw_survival(axes, alike))
    widths = [line.get_linewidth() for line in axes.lines]
    assert widths == sorted(widths, reverse=True) and len(set(widths)) == 3
    assert all(line.is_dashed() for line in axes.lines[1:])
    axes = drawn_axes(lambda axes: plots.draw_reward_latency(axes, alike))
    sizes = [float(points.get_sizes()[0]) for points in axes.collections]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3


def test_long_titles_and_names_fit_and_legends_cover_nothing() -> None:
    story = "blackout: the grid fell apart: no solution after " + ", then ".join(
        f"line {number}-{number + 1} (line {number}) tripped" for number in range(9)
    )
    lost = episode(scenario="train-" + "l23.01.01.13-" * 12, end=story)
    trace = LoadingTrace(lost, np.linspace(0.5, 1.2, lost.steps + 1))
    axes = drawn_axes(lambda axes: plots.draw_rho(axes, trace=trace, agent="muzero", number=3))
    width, height = axes.figure.get_size_inches() * 120
    legend = axes.get_legend().get_window_extent()
    for text in (axes.title, axes.texts[0]):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
        assert not box.overlaps(legend)
    assert not legend.overlaps(axes.get_window_extent())
    assert not axes.texts[0].get_window_extent().overlaps(axes.xaxis.label.get_window_extent())
    assert "scenario 3" in axes.get_title() and "l23" not in axes.get_title()
    assert "".join(axes.texts[0].get_text().split()) == lost.scenario


def test_a_learning_curve_is_drawn_from_the_log(tmp_path: Path) -> None:
    assert write_learning_curve(tmp_path) is None
    log = tmp_path / "metrics.csv"
    log.write_text("env_steps,train/total,val/score\n1,0.5,\n")
    assert write_learning_curve(tmp_path) is None
    log.write_text("env_steps,train/total,val/score\n1,0.5,\n1,,7\n5,,9\n")
    drawn = write_learning_curve(tmp_path)
    assert drawn == tmp_path / "learning_curve.png"
    assert (tmp_path / "learning_curve.png").read_bytes()[1:4] == b"PNG"
    axes = drawn_axes(
        lambda axes: plots.draw_learning_curve(axes, curves={"val/score": [(1, 7.0), (5, 9.0)]})
    )
    assert axes.lines[0].get_xydata().tolist() == [[1, 7], [5, 9]]
    assert axes.get_ylabel() == "validation score"


# the subcommand ------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["powergrid-evaluate", "compare", *arguments])
    level = logging.getLogger().level
    with pytest.raises(SystemExit) as end:
        entry.evaluate()
    assert logging.getLogger().level == level
    return int(end.value.code or 0)


def test_compare_writes_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for name, steps in (("one", (50,) * 4), ("two", (60,) * 4), ("three", (100,) * 4)):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, [result(name, steps)])
        paths.append(str(tmp_path / name))
    assert run(monkeypatch, *paths) == 0
    shown = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in shown.splitlines()[2:5]] == [
        "| one",
        "| two",
        "| three",
    ]
    output = tmp_path / "table.md"
    assert run(monkeypatch, *paths, "--output", str(output)) == 0
    assert output.read_text() == shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: RESULT"),
        (["good"], "1 result is there to compare"),
        (["good", "absent"], "absent does not exist"),
        (["good", "cut.json"], "cut.json is no evaluation result: not JSON: "),
        (["good", "other"], "they differ in idle_gate (0.95, None)"),
        (["good", "--outpt"], "'--outpt'; did you mean '--output'?"),
    ],
)
def test_mistakes_get_one_line(
    working_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    for name, made in (("good", result()), ("other", result(protocol=OTHER))):
        (working_folder / name).mkdir()
        write_results(working_folder / name, [made])
    (working_folder / "cut.json").write_text(to_json([result()])[:700])
    assert run(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""
