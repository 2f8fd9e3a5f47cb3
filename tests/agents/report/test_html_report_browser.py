"""The HTML report in a real browser, a headless Chromium; without one skipped, but not under CI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agents.pictures.report import Recording, grid_of, render_page, write_report
from agents.pictures.report.page import POWER_RESOLUTION, RHO_RESOLUTION
from agents.pictures.report.trace import LossTrace
from agents.power_grid.baselines import DoNothingAgent
from envs import GridLayout
from tests.agents.report import webdriver
from tests.agents.report.setups import HOSTILE, Setup, bare, make
from tests.conftest import skip_without


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Browser]:
    skip_without(webdriver.missing())
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


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert webdriver.missing() == (
        "chromium and chromium-driver (chromedriver) not found: "
        "apt-get install chromium chromium-driver"
    )


def test_it_is_skipped_where_a_person_may_lack_it_but_fails_under_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    skip_without("")
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        skip_without("no browser")
    monkeypatch.setenv("CI", "1")
    skip_without("")
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        skip_without("no browser")


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


def test_what_chance_may_bring_stands_below_the_actions(
    window: webdriver.Browser, with_chance: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "chance.html"
    page = render_page(with_chance, agent="muzero", facts={}, idle_gate=None)
    path.write_text(page, encoding="utf-8")
    window.open(path)
    window.press("#slider", "Home")  # the first decision is at the first step
    search = with_chance.episodes[0].decisions[0].search
    assert search is not None
    candidate = search.candidates[0]
    found = window.run(
        f"""return [...document.querySelectorAll(
            'tr[data-action="{candidate.action}"] .outcomes li')].map((one) => one.textContent)"""
    )
    assert len(found) == len(candidate.outcomes) > 1
    for text, outcome in zip(found, candidate.outcomes, strict=True):
        assert re.match(rf"if {outcome.text} \([\d.]+ %, {outcome.visits} visits?\): Q ", text)
        assert (", then " in text) == (outcome.answer is not None)


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


def test_pointing_at_a_candidate_shows_what_it_touches(shown: webdriver.Browser) -> None:
    shown.click("#next-decision")
    script = (
        "const row = document.querySelectorAll('.candidates tbody tr')[arguments[0]];"
        "row.dispatchEvent(new PointerEvent('pointerenter'));"
        "const { lines, substations } = report.data.actions[row.dataset.action];"
        "const marked = (selector) => [...document.querySelectorAll(selector)].flatMap((one, i) =>"
        "  (one.matches('.on, .halo.target') ? [i] : []));"
        "return [substations, marked('#grid circle.target'), lines, marked('#grid .halo')]"
    )
    touched = 0
    for row in range(4):
        substations, rings, lines, halos = shown.run(script, row)
        assert (rings, halos) == (substations, lines)
        touched += len(rings) + len(halos)
    assert touched > 0


def test_all_lines_stand_in_a_table(shown: webdriver.Browser, recording: Recording) -> None:
    shown.press("#slider", "Home")
    shown.click("#lines-card summary")
    shown.wait_for("document.querySelector('.lines-table')")
    rho = recording.episodes[0].rho[0]
    order = shown.run(
        "return [...document.querySelectorAll('.lines-table button')].map((one) =>"
        "Number(one.dataset.line))"
    )
    assert sorted(order) == list(range(len(rho)))
    assert (np.diff(rho[order]) <= RHO_RESOLUTION).all()
    shown.click(f'.lines-table button[data-line="{order[2]}"]')
    assert shown.run("return report.line") == order[2]


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
    shown.run("document.getElementById('speed').value = '12'")
    shown.press("#slider", "Home", " ")
    shown.wait_for("report.playing")
    assert shown.run(label) == "Pause"
    shown.run("document.getElementById('speed').value = '2016'")
    shown.wait_for("report.frame === report.episode.last && !report.playing")


def test_another_scenario_is_a_click_away(shown: webdriver.Browser, recording: Recording) -> None:
    second_card = "document.querySelector('.scenario:nth-child(2) .scenario-%s').textContent"
    assert shown.run(f"return {second_card % 'name'}") == "Scenario 2"
    assert shown.run(f"return {second_card % 'source'}") == recording.episodes[1].record.scenario
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
    tripped = [int(number) for number in re.findall(r"\(line (\d+)\)", episode.record.end)]
    dashed = window.run(
        "return [...document.querySelectorAll('#grid .line.tripped')].map((one) =>"
        "Number(one.dataset.line))"
    )
    assert len(tripped) > 1
    assert sorted(dashed) == sorted(tripped)
    assert "1st" in window.text("#grid")
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


def loss_text(layout: GridLayout, loss: LossTrace) -> str:
    def name(line: int) -> str:
        ends = layout.line_or_substation[line], layout.line_ex_substation[line]
        return f"line {ends[0]}\u2013{ends[1]}"

    if loss.loaded < 0:
        return "blackout" + (f" without {name(loss.lost)}" if loss.lost >= 0 else " without a loss")
    digits = 1 if abs(loss.rho - 1) < 0.005 else 0
    words = f" without {name(loss.lost)}" if loss.lost >= 0 else ", no line at risk is closed"
    return f"{100 * round(loss.rho, 3):.{digits}f} % {name(loss.loaded)}{words}"


def test_attacks_and_worst_losses_are_told(
    window: webdriver.Browser, attacked: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "attacked.html"
    path.write_text(
        render_page(attacked, agent="greedy", facts={}, idle_gate=0.85, n1_gate=1.9),
        encoding="utf-8",
    )
    episode, layout = attacked.episodes[0], attacked.layout
    held = np.flatnonzero((episode.attack_steps > 0).any(axis=1))
    begin, line = int(held[0]), int(episode.attack_steps[held[0]].argmax())
    left = int(episode.attack_steps[begin + 3, line])
    ends = f"{layout.line_or_substation[line]}\u2013{layout.line_ex_substation[line]}"
    window.open(path, f"#step={begin + 3}")
    assert window.text("#now-attack") == f"line {ends}, {left} more steps"
    assert f"out {left}" in window.text("#grid")
    dashed = window.run(
        "return [...document.querySelectorAll('#grid .line.attacked')].map((one) =>"
        "Number(one.dataset.line))"
    )
    assert dashed == [line]
    assert f"Held out by an attack: line {ends}" in window.run(
        "return document.getElementById('grid-summary').textContent"
    )
    assert f"Line {ends} was attacked" in window.text(f'.row.attacked[data-frame="{begin}"]')
    decisions = [episode.decisions[i] for i in (0, len(episode.decisions) // 2, -1)]
    decisions += [one for one in episode.decisions if one.action][:1]
    for one in decisions:
        window.run("report.seek(arguments[0])", one.step)
        told = window.run(
            "return [...document.querySelectorAll('#decision .worst-losses dd')].map((one) =>"
            "one.textContent)"
        )
        losses = [one.worst_loss, one.worst_loss_after][: 2 if one.action else 1]
        assert told == [loss_text(layout, loss) for loss in losses if loss is not None]
    drawn = window.run(
        "return ['overview-losses', 'day-losses'].map((id) => document.querySelector("
        "`#${id} .loss-curve`).getAttribute('d').length + document.querySelector("
        "`#${id} .loss-blackout`).getAttribute('d').length)"
    )
    assert min(drawn) > 0
    assert "asked from 190 % on" in window.text("#overview-losses")


def test_without_attacks_none_are_told(shown: webdriver.Browser) -> None:
    assert shown.run("return document.getElementById('now-attack-box').hidden")
    assert shown.run("return document.querySelectorAll('.attacked').length") == 0
    assert "held out" not in shown.text("#legend")
    assert not shown.run("return document.getElementById('overview-losses').hidden")


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
