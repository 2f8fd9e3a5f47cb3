"""The HTML report: what it records, how that is packed, and how the page is put together."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.commands import entry
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator, read_results
from agents.pictures.report import (
    Recording,
    grid_of,
    losses,
    record_episodes,
    render_page,
    write_report,
)
from agents.pictures.report.encoding import pack_json, pack_series
from agents.pictures.report.page import (
    MOST_CANDIDATES,
    POWER_RESOLUTION,
    RHO_RESOLUTION,
    list_attacks,
    page_data,
)
from agents.power_grid.baselines import GreedyAgent, RandomAgent
from agents.power_grid.grid_access import grid_states
from envs import lines_at_risk, make_opponent
from envs.grid.positions import WIDTH, substation_positions
from tests.agents.report.setups import (
    GATE,
    HOSTILE,
    Setup,
    bare,
    embedded,
    make,
    under_attack,
    unpack,
)

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
        back = unpack(text, resolution=resolution)
        assert back.shape == values.shape
        assert np.abs(back - values).max(initial=0) <= resolution / 2 * (1 + 1e-6)


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


def worst_by_hand(env: Any, action: int, lines: np.ndarray) -> tuple[int, int, float]:
    """Look at the losses of closed lines one after the other, in a single environment."""
    grid = env.unwrapped
    found = grid.simulate([action], outages=lines)
    assert not found.game_over[0, 0]
    best = (-1, int(found.rho[0, 0].argmax()), float(found.rho_max[0, 0]))
    highest = -1.0
    for column, line in enumerate(lines.tolist(), start=1):
        if found.rho[0, 0, line] == 0:
            continue
        rho = float(found.rho_max[0, column])
        if rho > highest:
            loaded = -1 if found.game_over[0, column] else int(found.rho[0, column].argmax())
            highest, best = rho, (line, loaded, rho)
    return best


def test_worst_losses_are_the_environments_own(setup: Setup) -> None:
    kwargs = {"max_steps": 30, "ask_every": 6}
    fast = under_attack(setup, **kwargs)
    slow = replace(fast, vector=False)
    found = [
        record_episodes(make(GreedyAgent, one), one, setup.plans[1:2]).episodes[0]
        for one in (fast, slow)
    ]
    lines = lines_at_risk(grid_of(fast).layout, make_opponent("rl4pnc", "l2rpn_case14_sandbox"))
    assert grid_of(fast).at_risk.tolist() == grid_of(slow).at_risk.tolist() == lines.tolist()
    plan = setup.plans[1]
    env = bare(slow, ask_every=None, n1_gate=None).make()
    env.reset(seed=plan.seed, options={"scenario": plan.scenario})
    actions = dict(zip(found[1].record.action_steps, found[1].record.actions, strict=True))
    decisions = {one.step: one for one in found[1].decisions}
    for step in range(found[1].record.steps):
        if step in decisions:
            one = decisions[step]
            for loss, action in ((one.worst_loss, 0), (one.worst_loss_after, one.action)):
                assert loss is not None
                assert (loss.lost, loss.loaded, loss.rho) == worst_by_hand(env, action, lines)
        env.step(actions.get(step, 0))
    env.close()
    assert len(decisions) >= 5 and any(one.action for one in decisions.values())
    for ours, theirs in zip(found[0].decisions, found[1].decisions, strict=True):
        for name in ("worst_loss", "worst_loss_after"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert (one.lost, one.loaded) == (other.lost, other.loaded)
            assert one.rho == pytest.approx(other.rho, abs=1e-4)
    assert (found[0].attack_steps == found[1].attack_steps).all()
    assert found[0].attack_steps.any()


def test_without_an_opponent_every_line_that_the_grid_can_lose_is_looked_at(
    recording: Recording,
) -> None:
    lines = lines_at_risk(recording.layout, None)
    assert recording.at_risk.tolist() == lines.tolist() and len(lines) > 15
    losses = [one.worst_loss for episode in recording.episodes for one in episode.decisions]
    assert all(one is not None and (one.lost in lines or one.lost == -1) for one in losses)
    assert len({one.lost for one in losses if one is not None}) > 1


def test_of_very_many_lines_the_most_loaded_are_looked_at(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = setup.make_environment(2, autoreset="disabled")
    scenarios = [plan.scenario for plan in setup.plans[:2]]
    env.reset(seed=[1, 2], options={"scenario": scenarios})
    rho, lines = grid_states(env).rho[1], grid_of(setup.make_environment).at_risk
    most = lines[np.argsort(-rho[lines])[:2]]
    few, _ = losses.find_worst_losses(env, 1, 0, lines=np.sort(most), rho=rho)
    monkeypatch.setattr(losses, "MOST_LINES", 2)
    assert losses.find_worst_losses(env, 1, 0, lines=lines, rho=rho)[0] == few
    assert few.lost in most
    assert losses.find_worst_losses(env, 1, 0, lines=lines[:0], rho=rho)[0].lost == -1
    env.close()


def test_attacks_and_losses_come_back_from_the_page(attacked: Recording) -> None:
    episode = attacked.episodes[0]
    [shown] = page_data(attacked, agent="a", facts={}, idle_gate=None)["episodes"]
    back = np.zeros_like(episode.attack_steps)
    for line, begin, frames, steps in shown["attacks"]:
        back[begin : begin + frames, line] = steps - np.arange(frames)
    assert (back == episode.attack_steps).all() and len(shown["attacks"]) > 1
    decisions = shown["decisions"]
    lines = unpack(decisions["lossLines"], resolution=1)
    rho = unpack(decisions["lossRho"], resolution=RHO_RESOLUTION)[:, 0]
    assert len(rho) == len(episode.decisions)
    for number, one in enumerate(episode.decisions):
        loss, after = one.worst_loss, one.worst_loss_after
        assert loss is not None and after is not None
        assert lines[number].tolist() == [loss.lost, loss.loaded]
        expected = 0.0 if loss.loaded == -1 else loss.rho
        assert rho[number] == pytest.approx(expected, abs=RHO_RESOLUTION)
        assert (str(number) in decisions["lossAfter"]) == (one.action != 0)
        if one.action:
            assert decisions["lossAfter"][str(number)][:2] == [after.lost, after.loaded]


def test_an_attack_that_follows_another_on_the_same_line_is_told_apart() -> None:
    counts = np.array([[0, 2], [2, 1], [1, 2], [2, 1], [1, 0], [0, 0]])
    assert list_attacks(counts) == [[1, 0, 2, 2], [0, 1, 2, 2], [1, 2, 2, 2], [0, 3, 2, 2]]
    assert list_attacks(np.zeros((3, 2), dtype=int)) == []


def test_refused_actions_and_failures_are_told(stubborn: Recording) -> None:
    episode = stubborn.episodes[0]
    assert [bool(one.illegal_reason) for one in episode.decisions] == [False, True, True]
    assert "cooldown" in episode.decisions[1].illegal_reason
    assert episode.record.end == "agent error: ArithmeticError: out of ideas"
    assert len(episode.rho) == 4
    page = render_page(stubborn, agent="s", facts={}, idle_gate=None)
    assert "out of ideas" in embedded(page)["episodes"][0]["end"]


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


def test_data_cannot_end_their_element() -> None:
    document = {"a": HOSTILE, "<!--": ["]]>", 1.5, None]}
    text = pack_json(document)
    assert re.fullmatch("[A-Za-z0-9+/]+=*", text)
    assert embedded(f'<script id="report-data">{text}</script>') == document


def test_the_page_holds_what_was_recorded(page: str, recording: Recording) -> None:
    document = embedded(page)
    for shown, episode in zip(document["episodes"], recording.episodes, strict=True):
        for name, values, resolution in (
            ("rho", episode.rho, RHO_RESOLUTION),
            ("flow", episode.p_or, POWER_RESOLUTION),
            ("generation", episode.gen_p, POWER_RESOLUTION),
            ("load", episode.load_p, POWER_RESOLUTION),
        ):
            back = unpack(shown[name], resolution=resolution)
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


def test_searches_say_what_chance_may_bring(with_chance: Recording) -> None:
    """Of actions that a line may be lost after: the outcomes looked at, and the answers."""
    document = page_data(with_chance, agent="a", facts={}, idle_gate=None)
    seen = set()
    for episode, shown in zip(with_chance.episodes, document["episodes"], strict=True):
        for number, search in shown["decisions"]["searches"].items():
            kept = episode.decisions[int(number)].search
            assert kept is not None
            for row, candidate in zip(search["candidates"], kept.candidates, strict=True):
                assert len(row) == (6 if candidate.outcomes else 5)
                for one, outcome in zip(row[5:] and row[5], candidate.outcomes, strict=True):
                    assert one[0] == outcome.text and one[2] == outcome.visits
                    assert one[1::2] == pytest.approx([outcome.probability, outcome.q], rel=1e-4)
                    assert one[4] is None or str(one[4]) in document["actions"]
                    seen.add(one[0])
    assert "nothing happens" in seen and "line 3-4 is lost" in seen


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


def test_the_command_writes_the_report(command: Any, working_folder: Path) -> None:
    code, out, error = command(
        entry.evaluate,
        "agent=do_nothing",
        "folder=out",
        "evaluation.episodes=2",
        "evaluation.max_steps=30",
        "evaluation.plots=false",
        "evaluation.report=2",
    )
    assert code == 0, error
    assert "Wrote out/report.html" in out
    document = embedded((working_folder / "out" / "report.html").read_text(encoding="utf-8"))
    assert document["agent"] == "do_nothing"
    assert [episode["steps"] for episode in document["episodes"]] == [30, 30]
    assert "Played again, it went otherwise" not in dict(document["facts"])


def test_a_report_changes_no_result(command: Any, working_folder: Path) -> None:
    for folder, shown in (("with", 1), ("without", 0)):
        code, _, error = command(
            entry.evaluate,
            *("agent=greedy", "opponent=rl4pnc", "wrappers=preventive", "evaluation.episodes=2"),
            *("evaluation.max_steps=40", "evaluation.plots=false", f"evaluation.report={shown}"),
            f"folder={folder}",
        )
        assert code == 0, error
    (one,), (other,) = read_results(Path("with")), read_results(Path("without"))
    timeless = {"seconds": 0.0, "median_ms": 0.0, "p99_ms": 0.0}
    assert [replace(episode, **timeless) for episode in one.episodes] == [
        replace(episode, **timeless) for episode in other.episodes
    ]
    assert one.protocol == other.protocol and sum(e.simulator_calls for e in one.episodes) > 0
    facts = dict(embedded(Path("with/report.html").read_text(encoding="utf-8"))["facts"])
    assert facts["Opponent"] == "random, 48 steps of every 144"
    assert facts["Also asked"].startswith("every 6 steps; when an attack begins or ends; from 190%")
    assert facts["Losses looked at"].startswith(
        "the 5 lines that the opponent may take out: 3\u20134"
    )
