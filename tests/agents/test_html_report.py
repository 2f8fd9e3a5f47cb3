"""The HTML report: what it records, how it is packed, and what a real browser makes of it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from agents import evaluate
from agents.base import Agent
from agents.base import Infos
from agents.baselines import DoNothingAgent
from agents.baselines import RandomAgent
from agents.baselines.base import BaselineAgent
from agents.commands import plain
from agents.composition import build_agent
from agents.composition import build_evaluation_factory
from agents.composition import build_plan
from agents.composition import probe_spaces
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator
from agents.evaluation import EpisodePlan
from agents.report import Recording
from agents.report import grid_of
from agents.report import record_episodes
from agents.report import render_page
from agents.report import write_report
from agents.report.encoding import pack_series
from agents.report.encoding import unpack_series
from agents.report.page import MOST_CANDIDATES
from agents.report.page import POWER_RESOLUTION
from agents.report.page import RHO_RESOLUTION
from agents.report.page import embed_json
from agents.report.page import page_data
from agents.report.positions import WIDTH
from agents.report.positions import substation_positions
from tests.agents import webdriver

HOSTILE = "</script><script>window.broken = 1</script><b>&amp;'\"\u2028"
GATE = 0.85
OVERRIDES = (
    "network=mlp",
    "agent.network.hidden_size=16",
    "agent.network.state_size=16",
    "agent.search.num_simulations=12",
    "agent.search.max_considered=4",
    "wrappers=gated",
    f"env.kwargs.idle_gate={GATE}",
    "trainer.device=cpu",
)


@dataclass(frozen=True)
class Setup:
    """An agent that plans, and the episodes that it plays."""

    agent: Agent
    make_environment: EnvironmentFactory
    plans: tuple[EpisodePlan, ...]


@pytest.fixture(scope="module")
def setup() -> Setup:
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("train", overrides=list(OVERRIDES)))
    factory = build_evaluation_factory(config["env"], split="test", max_steps=540)
    observation, action = probe_spaces(factory)
    agent = build_agent(config["agent"], observation_space=observation, action_space=action, seed=3)
    plans = build_plan(config["env"], split="test", episodes=3, seed=20190106)
    return Setup(agent, factory, plans)


@pytest.fixture(scope="module")
def recording(setup: Setup) -> Recording:
    """Two of three episodes that are evaluated two at a time."""
    return record_episodes(setup.agent, setup.make_environment, setup.plans, episodes=2, num_envs=2)


@pytest.fixture(scope="module")
def page(recording: Recording) -> str:
    facts = {"Rules": HOSTILE, "Idle gate": f"{GATE}"}
    return render_page(recording, agent=f"muzero {HOSTILE}", facts=facts, idle_gate=GATE)


def bare(factory: EnvironmentFactory, **kwargs: Any) -> EnvironmentFactory:
    return replace(factory, kwargs={**factory.kwargs, "idle_gate": None, **kwargs})


def make(kind: type[BaselineAgent], factory: EnvironmentFactory) -> BaselineAgent:
    observation, action = probe_spaces(factory)
    return kind(observation_space=observation, action_space=action, seed=1)


# ---------------------------------------------------------------------------------- encoding


def test_series_come_back_to_half_their_resolution() -> None:
    rng = np.random.default_rng(0)
    for values, resolution in (
        (np.cumsum(rng.normal(size=(500, 7)), axis=0), 0.01),
        (rng.normal(size=(3, 2)) * 1e9, 0.5),
        (np.zeros((4, 3)), 1.0),
        (np.array([[-63.0], [0.0], [64.0], [-1e6]]), 1.0),
        (np.zeros((0, 2)), 1.0),
    ):
        text = pack_series(values, resolution=resolution)
        back = unpack_series(text, columns=values.shape[1], resolution=resolution)
        assert back.shape == values.shape
        assert np.abs(back - values).max(initial=0) <= resolution / 2 * (1 + 1e-6)


def test_small_changes_take_a_byte_each() -> None:
    # 5, then -1, then +64 (folded onto 128: two bytes of seven bits)
    assert pack_series(np.array([[5.0], [4.0], [68.0]]), resolution=1.0) == "CgGAAQ=="


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3), "shape"),
        (np.array([[0.0, np.nan]]), "nan in row 0, column 1"),
        (np.array([[np.inf]]), "inf in row 0"),
        (np.array([[1e30]]), "beyond"),
    ],
)
def test_what_is_no_series_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack_series(values, resolution=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [("gA==", "cut short"), ("CgGAAQ==", "do not make 2 columns"), ("!", "base64|padding")],
)
def test_a_damaged_series_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack_series(text, columns=2, resolution=1.0)


# --------------------------------------------------------------------------------- positions


def test_substations_lie_as_grid2op_has_them_with_y_downwards() -> None:
    given = {"a": (-10.0, 0.0), "b": (10.0, 0.0), "c": (0.0, 20.0)}
    positions = dict(zip("abc", substation_positions(list("abc"), given), strict=True))
    assert positions == {"a": (0.0, WIDTH), "b": (WIDTH, WIDTH), "c": (WIDTH / 2, 0.0)}


@pytest.mark.parametrize(
    "given", [None, {}, {"a": (0, 0), "b": (1, 1)}, dict.fromkeys("abcd", (2.0, 2.0))]
)
def test_without_all_positions_substations_lie_on_a_circle(given: Any) -> None:
    points = np.array(substation_positions(list("abcd"), given))
    distances = np.linalg.norm(points - points.mean(axis=0), axis=1)
    assert distances == pytest.approx(WIDTH / 2, rel=1e-3)
    assert len(np.unique(points, axis=0)) == 4


def test_a_grid_of_one_substation_or_in_a_row_can_be_drawn() -> None:
    assert np.isfinite(substation_positions(["a"], None)).all()
    row = substation_positions(["a", "b"], {"a": (0, 5), "b": (9, 5)})
    assert row[0][1] == row[1][1] > 0


# --------------------------------------------------------------------------------- recording


def test_the_record_is_that_of_the_evaluation(setup: Setup, recording: Recording) -> None:
    evaluator = EpisodeEvaluator(setup.make_environment, setup.plans, num_envs=2)
    evaluated = evaluator.evaluate(setup.agent, name="muzero").episodes
    evaluator.close()
    timing = {"seconds", "median_ms", "p99_ms"}
    for ours, theirs in zip(recording.episodes, evaluated, strict=False):
        assert {k: v for k, v in asdict(ours.record).items() if k not in timing} == {
            k: v for k, v in asdict(theirs).items() if k not in timing
        }


def test_every_step_is_there_also_the_calm_ones(recording: Recording) -> None:
    assert len(recording.episodes) == 2
    for episode in recording.episodes:
        record, layout = episode.record, recording.layout
        assert episode.rho.shape == (record.steps + 1, layout.num_lines)
        assert episode.load_p.shape == (record.steps + 1, layout.num_loads)
        assert episode.gen_p.shape == (record.steps + 1, layout.num_generators)
        assert episode.minutes_per_step == 5
        assert record.decisions == len(episode.decisions) > 0
        loaded = np.flatnonzero(episode.rho[:-1].max(axis=1) >= GATE)
        assert [one.step for one in episode.decisions] == loaded.tolist()
        assert len(loaded) < record.steps / 2  # most are calm


def test_topologies_tell_the_status_of_lines(recording: Recording) -> None:
    ends = recording.layout.line_or_position
    for episode in recording.episodes:
        frames = [one.frame for one in episode.topologies]
        assert frames[0] == 0
        assert frames == sorted(set(frames))
        spans = zip(episode.topologies, [*frames[1:], len(episode.rho)], strict=True)
        for topology, until in spans:
            connected = topology.busbars[ends] > 0
            assert (episode.line_status[topology.frame : until] == connected).all()


def test_each_decision_has_its_search(setup: Setup, recording: Recording) -> None:
    texts = recording.catalogue.texts
    for episode in recording.episodes:
        for one in episode.decisions:
            assert one.search is not None
            assert one.search.num_simulations == 12
            assert sum(candidate.visits for candidate in one.search.candidates) == 12
            assert one.action in [candidate.action for candidate in one.search.candidates]
            assert all(c.text == texts[c.action] for c in one.search.candidates)


def test_the_reference_environment_shows_the_same(setup: Setup) -> None:
    fast = bare(setup.make_environment, max_steps=12)
    kept = record_episodes(make(RandomAgent, fast), fast, setup.plans[:1]).episodes[0]
    slow = replace(fast, vector=False)
    reference = record_episodes(make(RandomAgent, slow), slow, setup.plans[:1]).episodes[0]
    assert kept.record.steps == reference.record.steps > 0
    assert kept.start == reference.start
    assert [one.illegal_reason for one in kept.decisions] == [
        one.illegal_reason for one in reference.decisions
    ]
    for name in ("rho", "p_or", "gen_p", "load_p"):
        assert getattr(kept, name) == pytest.approx(getattr(reference, name), abs=1e-2)
    for ours, theirs in zip(kept.topologies, reference.topologies, strict=True):
        assert ours.frame == theirs.frame
        assert (ours.busbars == theirs.busbars).all()


class Stubborn(BaselineAgent):
    """Moves the same substation again and again; fails at its fourth decision."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.asked = self.favourite = 0

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        self.asked += 1
        if self.asked == 4:
            raise ArithmeticError("out of ideas")
        return np.full(len(observations), self.favourite)


@pytest.fixture(scope="module")
def stubborn(setup: Setup) -> Recording:
    factory = bare(setup.make_environment, parameters={"NB_TIMESTEP_COOLDOWN_SUB": 3})
    agent = make(Stubborn, factory)
    assert isinstance(agent, Stubborn)
    texts = grid_of(factory)[1].texts
    agent.favourite = texts.index("substation 1: switch busbar of line_3 (or), gen_0")
    return record_episodes(agent, factory, setup.plans[:1])


def test_refused_actions_and_failures_are_told(stubborn: Recording) -> None:
    episode = stubborn.episodes[0]
    assert [bool(one.illegal_reason) for one in episode.decisions] == [False, True, True]
    assert "cooldown" in episode.decisions[1].illegal_reason
    assert episode.record.end == "agent error: ArithmeticError: out of ideas"
    assert len(episode.rho) == 4
    assert "out of ideas" in render_page(stubborn, agent="s", facts={}, idle_gate=None)


def test_only_power_grids_are_shown() -> None:
    with pytest.raises(ValueError, match="shows power grids; this environment is CartPole"):
        grid_of(EnvironmentFactory("CartPole-v1"))


@pytest.mark.parametrize("episodes", [0, 4])
def test_no_more_episodes_than_are_played(setup: Setup, episodes: int) -> None:
    with pytest.raises(ValueError, match=r"expected 1 to 3|at least 1"):
        record_episodes(setup.agent, setup.make_environment, setup.plans, episodes=episodes)


# ---------------------------------------------------------------------------------- the page


class Structure(HTMLParser):
    """Elements, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open, []).append(data)


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'id="report-data">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_is_one_file_whatever_its_texts(page: str) -> None:
    structure = Structure(page)
    tags = [tag for tag, _ in structure.elements]
    assert tags.count("script") == 2
    assert tags.count("style") == tags.count("main") == tags.count("h1") == 1
    assert "link" not in tags
    assert "img" not in tags
    for tag, attributes in structure.elements:
        assert not {"src", "href", "srcset", "action"} & set(attributes), tag
    assert "".join(structure.texts["title"]).startswith(f"muzero {HOSTILE}"[:40])
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    ids = [attributes["id"] for _, attributes in structure.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    document = embedded(page)
    assert document["agent"] == f"muzero {HOSTILE}"
    assert document["facts"][0] == ["Rules", HOSTILE]


def test_embedded_json_cannot_end_its_element() -> None:
    text = embed_json({"a": HOSTILE, "<!--": ["]]>", 1.5, None]})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {"a": HOSTILE, "<!--": ["]]>", 1.5, None]}


def test_the_page_holds_what_was_recorded(page: str, recording: Recording) -> None:
    document = embedded(page)
    for shown, episode in zip(document["episodes"], recording.episodes, strict=True):
        for name, values, resolution in (
            ("rho", episode.rho, RHO_RESOLUTION),
            ("flow", episode.p_or, POWER_RESOLUTION),
            ("generation", episode.gen_p, POWER_RESOLUTION),
            ("load", episode.load_p, POWER_RESOLUTION),
        ):
            back = unpack_series(shown[name], columns=values.shape[1], resolution=resolution)
            assert np.abs(back - values).max() <= 0.501 * resolution
        busbars = np.array(shown["busbars"])
        for topology, switches in zip(episode.topologies[1:], shown["switches"], strict=True):
            busbars[switches[1::2]] = switches[2::2]
            assert switches[0] == topology.frame
            assert (busbars == topology.busbars).all()
        decisions = shown["decisions"]
        assert decisions["frames"] == [one.step for one in episode.decisions]
        assert decisions["actions"] == [one.action for one in episode.decisions]
        assert decisions["searched"] == len(episode.decisions)
        for number, search in decisions["searches"].items():
            kept = episode.decisions[int(number)].search
            assert kept is not None
            assert len(search["candidates"]) <= MOST_CANDIDATES
            for row, candidate in zip(search["candidates"], kept.candidates, strict=True):
                assert row[:2] == [candidate.action, candidate.visits]
                expected = (candidate.q, candidate.prior, candidate.weight)
                assert row[2:] == pytest.approx(expected, rel=1e-4)
                assert document["actions"][str(row[0])]["text"] == candidate.text


def test_actions_name_what_they_touch(recording: Recording) -> None:
    document = page_data(recording, agent="a", facts={}, idle_gate=None)
    for action in document["actions"].values():
        for kind, pattern in (
            ("substations", r"substation (\d+)"),
            ("lines", r"\(line (\d+)\)"),
        ):
            assert action[kind] == [int(number) for number in re.findall(pattern, action["text"])]


def test_a_whole_month_is_less_than_a_mebibyte(recording: Recording) -> None:
    episode = recording.episodes[0]
    months = page_data(recording, agent="a", facts={}, idle_gate=None)["episodes"][0]
    series = sum(len(months[name]) for name in ("rho", "flow", "generation", "load"))
    assert series / len(episode.rho) * 8065 < 700_000  # leaves 300 kB for decisions


def test_the_report_says_where_the_agent_did_not_repeat_itself(
    setup: Setup, recording: Recording, tmp_path: Path
) -> None:
    first = recording.episodes[0].record
    path = tmp_path / "report.html"
    for evaluated, told in ((first, False), (replace(first, steps=7), True)):
        write_report(
            path,
            setup.agent,
            setup.make_environment,
            setup.plans[:2],
            name="muzero",
            episodes=1,
            num_envs=2,
            evaluated=(evaluated,),
        )
        facts = dict(embedded(path.read_text(encoding="utf-8"))["facts"])
        assert facts["Idle gate"] == "asked from 85% loading on"
        again = facts.get("Played again, it went otherwise", "")
        assert (f"lasted 7 steps in the evaluation, {first.steps} here" in again) == told


def test_the_command_writes_the_report(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "agent=do_nothing",
        "folder=out",
        "evaluation.episodes=2",
        "evaluation.max_steps=30",
        "evaluation.plots=false",
        "evaluation.report=5",
    ]
    monkeypatch.setattr(sys, "argv", ["powergrid-evaluate", *arguments])
    try:
        evaluate.main()
    except SystemExit as end:
        assert not end.code, capsys.readouterr().err
    finally:
        GlobalHydra.instance().clear()
    assert "Wrote out/report.html" in capsys.readouterr().out
    document = embedded((working_folder / "out" / "report.html").read_text(encoding="utf-8"))
    assert document["agent"] == "do_nothing"
    assert [episode["steps"] for episode in document["episodes"]] == [30, 30]
    assert "Played again, it went otherwise" not in dict(document["facts"])


# ------------------------------------------------------------------------------- the browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Browser]:
    if lacking := webdriver.missing():
        pytest.skip(lacking)
    with webdriver.browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="module")
def report(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report with a space.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture
def window(browser: webdriver.Browser) -> Iterator[webdriver.Browser]:
    """A large window, in which nothing may go wrong."""
    browser.resize(1440, 1400)
    browser.log("browser")
    yield browser
    assert [entry["message"] for entry in browser.log("browser")] == []


@pytest.fixture
def shown(window: webdriver.Browser, report: Path) -> webdriver.Browser:
    """The report, just opened."""
    window.open(report)
    return window


def step(browser: webdriver.Browser) -> int:
    return browser.run("return report.frame")


def test_it_loads_nothing_but_itself(shown: webdriver.Browser, report: Path) -> None:
    shown.log("performance")  # what the browser itself loads when it starts
    shown.open(report)
    shown.click("#next-decision")
    asked = [json.loads(entry["message"])["message"] for entry in shown.log("performance")]
    addresses = {
        message["params"]["request"]["url"]
        for message in asked
        if message["method"] == "Network.requestWillBeSent"
    }
    assert {address.split("#")[0] for address in addresses} - {"about:blank"} == {report.as_uri()}


def test_texts_stay_texts(shown: webdriver.Browser) -> None:
    assert shown.run("return document.getElementById('agent-name').textContent").startswith(
        f"muzero {HOSTILE}"[:40]
    )
    assert shown.run("return window.broken") is None
    assert shown.run("return document.querySelectorAll('#facts b, h1 b').length") == 0


def test_the_browser_reads_the_series_back(shown: webdriver.Browser, recording: Recording) -> None:
    for number, episode in enumerate(recording.episodes):
        frames = [0, 1, len(episode.rho) // 2, len(episode.rho) - 1]
        script = (
            "const [number, frames] = arguments; report.open(number);"
            "const { rho, flow, generation, load, grid } = report.episode;"
            "const rows = (series, n) => frames.map((f) =>"
            "  Array.from({ length: n }, (_, i) => series.at(f, i)));"
            "return [rows(rho, grid.lines.length), rows(flow, grid.lines.length),"
            "  rows(generation, grid.generators.length), rows(load, grid.loads.length),"
            "  frames.map((f) => Array.from(report.episode.busbars(f))), report.episode.frames]"
        )
        rho, flow, generation, load, busbars, count = shown.run(script, number, frames)
        assert count == len(episode.rho)
        assert np.array(rho) == pytest.approx(episode.rho[frames], abs=RHO_RESOLUTION)
        assert np.array(flow) == pytest.approx(episode.p_or[frames], abs=POWER_RESOLUTION)
        assert np.array(generation) == pytest.approx(episode.gen_p[frames], abs=POWER_RESOLUTION)
        assert np.array(load) == pytest.approx(episode.load_p[frames], abs=POWER_RESOLUTION)
        for frame, read in zip(frames, busbars, strict=True):
            there = [one for one in episode.topologies if one.frame <= frame][-1]
            assert read == there.busbars.tolist()


def test_the_slider_moves_through_time(shown: webdriver.Browser, recording: Recording) -> None:
    last = recording.episodes[0].record.steps
    shown.press("#slider", "Home")
    assert step(shown) == 0
    assert "Step 0 of" in shown.text("#step-text")
    shown.press("#slider", "ArrowRight", "ArrowRight")
    assert step(shown) == 2
    highest = recording.episodes[0].rho[2]
    line = int(highest.argmax())
    layout = recording.layout
    ends = f"{layout.line_or_substation[line]}\u2013{layout.line_ex_substation[line]}"
    assert " ".join(shown.text("#now-rho").split()) == f"{100 * highest.max():.0f} % line {ends}"
    assert "step 2, Sun 6 Jan 2019, 00:10" in shown.run(
        "return document.getElementById('slider').getAttribute('aria-valuetext')"
    )
    shown.press("#slider", "End")
    assert step(shown) == last
    shown.press("body", "ArrowLeft")
    assert step(shown) == last - 1


def test_decisions_are_told_with_their_searches(
    shown: webdriver.Browser, recording: Recording
) -> None:
    episode = recording.episodes[0]
    shown.press("#slider", "Home")
    assert shown.text("#decision-heading") == "No decision yet"
    for decision in episode.decisions[:3]:
        shown.click("#next-decision")
        assert step(shown) == decision.step
        assert decision.search is not None
        text = recording.catalogue.texts[decision.action]
        assert shown.text("#action-text").lower() == text.lower()
        rows = shown.run(
            "return [...document.querySelectorAll('.candidates tbody tr')].map((row) => ["
            "Number(row.dataset.action), row.className,"
            "...[...row.querySelectorAll('.figure')].map((cell) => cell.textContent)])"
        )
        assert [row[0] for row in rows] == [c.action for c in decision.search.candidates]
        for row, candidate in zip(rows, decision.search.candidates, strict=True):
            assert (row[1] == "taken") == (candidate.action == decision.action)
            assert row[2] == str(candidate.visits)
            assert float(row[3].replace(",", "")) == pytest.approx(candidate.q, rel=0.02, abs=6e-3)
            assert row[4] == f"{100 * candidate.prior:.1f} %"
    shown.click("#previous-decision")
    assert step(shown) == episode.decisions[1].step
    shown.press("body", "n")
    assert step(shown) == episode.decisions[2].step


def test_the_list_and_the_chart_lead_to_decisions(
    shown: webdriver.Browser, recording: Recording
) -> None:
    frames = [one.step for one in recording.episodes[0].decisions]
    rows = shown.run(
        "return [...document.querySelectorAll('.row')].map((row) => Number(row.dataset.frame))"
    )
    assert set(frames) <= set(rows)
    assert rows == sorted(rows)
    shown.click(f'.row[data-frame="{frames[3]}"]')
    assert step(shown) == frames[3]
    current = shown.run("return document.querySelector('.row[aria-current]').dataset.frame")
    assert int(current) == frames[3]
    shown.click(f'#overview .mark[data-frame="{frames[0]}"]')
    assert step(shown) == frames[0]


def test_lines_are_coloured_by_their_loading(
    shown: webdriver.Browser, recording: Recording
) -> None:
    episode = recording.episodes[0]
    frame = int(episode.rho[:-1].max(axis=1).argmax())
    script = (
        "report.show(arguments[0]);"
        "return [...document.querySelectorAll('#grid path.line')].map((line) =>"
        "[line.style.stroke, parseFloat(line.style.strokeWidth), line.classList.contains('open')])"
    )
    lines = shown.run(script, frame)
    assert len(lines) == recording.layout.num_lines
    for (colour, width, is_open), rho, status in zip(
        lines, episode.rho[frame], episode.line_status[frame], strict=True
    ):
        assert is_open == (not status)
        if is_open:
            continue
        red, _, blue = (int(part) for part in re.findall(r"\d+", colour))
        if abs(rho - 0.8) > 0.001:
            assert (red > blue) == (rho > 0.8)  # amber to vermilion, or blue
        assert width == pytest.approx(4 + 4.5 * min(rho, 1.25), abs=0.01)


def test_a_line_is_followed_when_clicked(shown: webdriver.Browser) -> None:
    shown.click('#grid .handle[data-line="3"]')
    assert shown.text("#pointed").startswith("Line 1\u20133 (line 3")
    assert shown.run("return document.querySelectorAll('.curve.one').length") == 2
    shown.click("#pointed .link")
    assert shown.run("return document.querySelectorAll('.curve.one').length") == 0


def test_it_plays_and_stops_at_decisions(shown: webdriver.Browser, recording: Recording) -> None:
    shown.press("#slider", "Home")
    shown.run("document.getElementById('speed').value = '2016'")
    shown.click("#stop-at-decisions")
    shown.click("#play")
    first = recording.episodes[0].decisions[0].step
    shown.wait_for(f"report.frame === {first} && !report.playing")
    label = "return document.getElementById('play').getAttribute('aria-label')"
    assert shown.run(label) == "Play"
    shown.click("#stop-at-decisions")
    shown.press("#slider", " ")
    assert shown.run(label) == "Pause"
    shown.wait_for("report.frame === report.episode.last && !report.playing")


def test_another_scenario_is_a_click_away(shown: webdriver.Browser, recording: Recording) -> None:
    shown.click(".scenario:nth-child(2)")
    second = recording.episodes[1].record
    assert shown.run("return report.episode.record.scenario") == second.scenario
    assert f"of {second.steps}" in shown.text("#step-text")


def test_an_address_leads_to_a_moment(shown: webdriver.Browser, report: Path) -> None:
    shown.open(report, "#scenario=2&step=321")
    assert shown.run("return [report.index, report.frame]") == [1, 321]
    shown.press("body", "ArrowRight")
    shown.wait_for("location.hash === '#scenario=2&step=322'")
    shown.open(report, "#scenario=99&step=-4")
    assert shown.run("return [report.index, report.frame]") == [1, 0]


def test_a_blackout_is_told_in_an_operators_words(
    window: webdriver.Browser, setup: Setup, tmp_path: Path
) -> None:
    factory = bare(setup.make_environment, max_steps=None)
    agent = make(DoNothingAgent, factory)
    path = tmp_path / "blackout.html"
    episode = write_report(path, agent, factory, setup.plans[1:2], name="do_nothing")[0]
    assert not episode.record.completed
    window.open(path, f"#step={episode.record.steps}")
    line = grid_of(factory)[0].line_names[int(episode.rho[-2].argmax())]  # such as 4_5_17
    ends = "\u2013".join(line.split("_")[:2])
    assert f"Blackout after {episode.record.steps} of 8,064 steps" in window.text("#verdict")
    assert window.text("#blackout").startswith("Blackout")
    assert f"line {ends} at " in window.text("#blackout")
    assert "above its limit for 2 steps" in window.text("#blackout")
    # it decided at every step, always for nothing: the list starts with what happened
    assert window.run("return document.querySelectorAll('.row').length") == 1
    window.click("#show-idle")
    assert window.run("return report.entries.length") == episode.record.steps + 1
    assert window.run("return document.querySelectorAll('.row').length") <= 250


def test_refused_decisions_are_told(
    window: webdriver.Browser, stubborn: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "stubborn.html"
    path.write_text(
        render_page(stubborn, agent="stubborn", facts={}, idle_gate=None), encoding="utf-8"
    )
    window.open(path, "#step=1")
    assert "cooldown" in window.text(".refusal")
    assert "Agent error: ArithmeticError: out of ideas" in window.text("#verdict")
    assert window.run("return document.querySelectorAll('.row.refused').length") == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 820, 1440])
def test_it_fits_every_screen(
    window: webdriver.Browser, report: Path, width: int, scheme: str
) -> None:
    browser = window
    browser.resize(width, 900, scheme=scheme)
    browser.open(report)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    cards = browser.run(
        "return [...document.querySelectorAll('.card')].map((card) => {"
        "const { left, right } = card.getBoundingClientRect(); return [left, right] })"
    )
    assert all(0 <= left < right <= width for left, right in cards)
    paper, ink = browser.run(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    )
    assert (luminance(paper) > luminance(ink)) == (scheme == "light")
    assert contrast(paper, ink) > 7
    letters = browser.run(
        "const number = document.querySelector('#grid .number');"
        "return number.getBoundingClientRect().height"
    )
    assert letters >= 8  # pixels: the numbers of substations can be read


def luminance(colour: str) -> float:
    shares = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_every_control_has_a_name(shown: webdriver.Browser) -> None:
    nodes = shown.devtools("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "slider", "checkbox", "radio", "combobox", "MenuListPopup", "img", "image"}
    controls = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles - {"MenuListPopup"}
    ]
    assert {"button", "slider", "checkbox", "radio", "combobox"} <= {role for role, _ in controls}
    assert [role for role, name in controls if not name.strip()] == []
