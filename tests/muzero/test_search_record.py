"""A search written down says what the search said, survives a file, and can be looked at."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont
from pydantic import TypeAdapter

from agents.muzero.search import GumbelSearch, PUCTSearch, SearchResult, TreeRecord, record_tree
from agents.muzero.search.drawing import Pruning, to_svg
from envs.fast import grid_template
from envs.reference.power_grid import PARAMETERS
from powergrid_muzero.lettering import escape_xml, fit, shorten, text_width
from tests.muzero.chance_reference import ChanceTableModel
from tests.muzero.search_reference import TableModel

SVG = "{http://www.w3.org/2000/svg}"
NUM_ACTIONS = 487


@pytest.fixture(scope="module")
def texts() -> tuple[str, ...]:
    """The words of the grid's 487 actions."""
    return grid_template("l2rpn_case14_sandbox", PARAMETERS).catalogue.texts


def search_for(kind: str, num_simulations: int = 75) -> Any:
    if kind == "gumbel":
        return GumbelSearch(num_simulations=num_simulations)
    return PUCTSearch(num_simulations=num_simulations, first_play="parent")


def run(search: Any, *, rows: int = 3, explore: bool = False) -> SearchResult:
    model = TableModel(num_actions=NUM_ACTIONS, seed=3)
    mask = np.ones((rows, NUM_ACTIONS), np.int8)
    mask[-1, 20:] = 0
    rng = np.random.default_rng(0)
    return search.run(model, np.arange(rows), mask, rng, explore=explore)


def read(text: str) -> TreeRecord:
    """Return the record that JSON was written from, which names format and version."""
    document = json.loads(text)
    assert document.pop("format") == "powergrid-muzero search tree"
    assert document.pop("version") == 3
    return TypeAdapter(TreeRecord).validate_python(document)


@pytest.fixture(scope="module")
def record(texts: tuple[str, ...]) -> TreeRecord:
    """Of a gumbel search over all actions."""
    search = search_for("gumbel")
    result = run(search)
    return record_tree(search.last_tree(), 0, result, texts=texts)


# records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("explore", [False, True])
@pytest.mark.parametrize("kind", ["gumbel", "puct"])
def test_records_agree_with_the_result(kind: str, explore: bool) -> None:
    search = search_for(kind)
    result = run(search, explore=explore)
    for row in range(3):
        record = record_tree(search.last_tree(), row, result)
        visits = np.zeros(NUM_ACTIONS, np.int32)
        for candidate in record.candidates:
            visits[candidate.action] = candidate.visits
            assert candidate.weight == result.policy[row, candidate.action]
        np.testing.assert_array_equal(visits, result.visit_counts[row])
        assert record.num_simulations == 75
        assert len(record.nodes) == 76
        assert record.value == result.value[row]
        assert record.nodes[0].value == pytest.approx(record.value, rel=1e-6)
        assert record.action == result.action[row]
        assert record.summary.depth == result.statistics.depth[row]
        assert record.summary.width == result.statistics.width[row]
        assert record.summary.visit_entropy == pytest.approx(result.statistics.visit_entropy[row])
        assert sum(record.summary.nodes_per_depth) == len(record.nodes)
        order = [candidate.visits for candidate in record.candidates]
        assert order == sorted(order, reverse=True)
        if not explore:
            assert record.candidates[0].action == record.action


def test_values_are_the_models_own_returns(record: TreeRecord) -> None:
    """Each node's mean return is that of its own value and of the edges below it."""
    for node, children in zip(record.nodes, record.children, strict=True):
        assert node.raw_value is not None
        returns = node.raw_value + sum(child.visits * child.q for child in children)
        assert node.visits == 1 + sum(child.visits for child in children)
        assert node.value == pytest.approx(returns / node.visits, rel=1e-5, abs=1e-6)
    q = [candidate.q for candidate in record.candidates]
    assert (record.summary.lowest_q, record.summary.highest_q) == (min(q), max(q))


def test_a_record_outlives_the_next_search(texts: tuple[str, ...]) -> None:
    search = search_for("gumbel")
    first = run(search)
    tree = search.last_tree()
    kept = record_tree(tree, 0, first, texts=texts)
    again = copy.deepcopy(kept)
    search.run(
        TableModel(num_actions=NUM_ACTIONS, seed=4),
        np.arange(3),
        np.ones((3, NUM_ACTIONS), np.int8),
        np.random.default_rng(1),
    )
    assert kept == again
    with pytest.raises(ValueError, match="the search has run again"):
        record_tree(tree, 0, first)


def test_mistakes_are_named(texts: tuple[str, ...]) -> None:
    search = search_for("gumbel", num_simulations=4)
    with pytest.raises(ValueError, match="run the search first"):
        search.last_tree()
    result = run(search)
    with pytest.raises(ValueError, match="row is 3; expected 0 to 2"):
        record_tree(search.last_tree(), 3, result)
    with pytest.raises(ValueError, match="486 texts given for 487 actions"):
        record_tree(search.last_tree(), 0, result, texts=texts[1:])
    other = search_for("gumbel", num_simulations=4)
    with pytest.raises(ValueError, match="holds 3 searches and the result 2"):
        record_tree(search.last_tree(), 0, run(other, rows=2))


# chance --------------------------------------------------------------------------------------

OUTCOMES = ("nothing happens", "line 6-8 is lost", "line 3-4 is lost")


@pytest.fixture(params=["gumbel", "puct"])
def by_chance(request: pytest.FixtureRequest) -> tuple[TreeRecord, SearchResult]:
    """Of a search with chance nodes, certain ones among them, and its result."""
    model = ChanceTableModel(num_actions=4, num_outcomes=3, seed=1)
    search = search_for(request.param) if request.param == "puct" else None
    search = search or GumbelSearch(num_simulations=75, max_considered=4, normalization="tree")
    mask = np.ones((1, 4), np.int8)
    rng = np.random.default_rng(0)
    result = search.run(model, np.zeros(1, int), mask, rng, explore=False)
    texts = [f"do {action}" for action in range(4)]
    tree = search.last_tree()
    with pytest.raises(ValueError, match="1 texts given for outcomes, but there is outcome"):
        record_tree(tree, 0, result, texts=texts, outcome_texts=OUTCOMES[:1])
    return record_tree(tree, 0, result, texts=texts, outcome_texts=OUTCOMES), result


def test_records_tell_outcomes_from_actions(by_chance: tuple[TreeRecord, SearchResult]) -> None:
    record, result = by_chance
    afterstates = 0
    for node, children in zip(record.nodes, record.children, strict=True):
        visits = sum(child.visits for child in children)
        if node.raw_value is None:
            afterstates += 1
            assert node.visits == visits and node.action is not None
            mass = sum(child.prior for child in children)
            value = sum(child.prior * child.q for child in children) / mass
            assert node.value == pytest.approx(value, rel=1e-5, abs=1e-6)
            for child in children:
                assert child.outcome is not None and child.action is None
                assert child.text == OUTCOMES[child.outcome] and child.depth == node.depth
        else:
            returns = node.raw_value + sum(child.visits * child.q for child in children)
            assert node.visits - visits == 1 or node.index == 0
            if node.index:
                assert node.value == pytest.approx(returns / node.visits, rel=1e-5, abs=1e-6)
            for child in children:
                assert child.action is not None and child.text == f"do {child.action}"
                assert child.outcome is None and child.depth == node.depth + 1
    assert len(record.nodes) == 1 + 75 + afterstates
    assert record.summary.depth == result.statistics.depth[0]
    assert sum(record.summary.nodes_per_depth) == 76
    assert read(record.to_json()) == record
    for candidate in record.candidates:
        node = next(one for one in record.children[0] if one.action == candidate.action)
        children = record.children[node.index]
        if len(children) == 1 and children[0].prior == 1.0:
            assert candidate.outcomes == ()
            continue
        for outcome, child in zip(candidate.outcomes, children, strict=True):
            assert (outcome.text, outcome.visits, outcome.q) == (child.text, child.visits, child.q)
            answers = record.children[child.index]
            assert outcome.answer == (answers[0].action if answers else None)


def test_pictures_say_what_may_happen(by_chance: tuple[TreeRecord, SearchResult]) -> None:
    """Each uncertain outcome has a card of its own, "if ..."; a certain one has none."""
    record, _ = by_chance
    svg = to_svg(record, Pruning(min_visits=1, max_children=100, max_depth=100))
    words = "".join(ElementTree.fromstring(svg).itertext())
    certain = sum(
        len(children) == 1 and children[0].prior == 1.0
        for node, children in zip(record.nodes, record.children, strict=True)
        if node.raw_value is None
    )
    assert certain
    assert len(cards(svg)) == len(record.nodes) - certain
    outcomes = sum(node.outcome is not None for node in record.nodes)
    assert words.count("probability") // 2 == outcomes - certain  # on the card and in its tooltip
    assert "if line 6-8 is lost" in words and "if nothing happens" in words
    boxes = cards(svg)
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            assert one["left"] != other["left"] or (
                one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
            )


# JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gumbel", "puct"])
def test_json_holds_all_of_it(kind: str, texts: tuple[str, ...]) -> None:
    search = search_for(kind)
    result = run(search, explore=True)
    for row, words in ((0, texts), (2, None)):
        kept = record_tree(search.last_tree(), row, result, texts=words)
        assert kept == read(kept.to_json()) == read(kept.to_json(indent=None))


# pictures ------------------------------------------------------------------------------------


def cards(svg: str) -> list[dict[str, float]]:
    """Return left, top, right and bottom of each card."""
    boxes = []
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        boxes.append({"left": x, "top": y, "right": x + width, "bottom": y + height})
    return boxes


@pytest.mark.parametrize("kind", ["gumbel", "puct"])
@pytest.mark.parametrize(
    "pruning", [None, Pruning(min_visits=1, max_children=100, max_depth=100)], ids=["few", "all"]
)
def test_the_picture_is_whole_and_nothing_overlaps(
    kind: str, pruning: Pruning | None, texts: tuple[str, ...]
) -> None:
    search = search_for(kind)
    result = run(search)
    record = record_tree(search.last_tree(), 0, result, texts=texts)
    svg = to_svg(record, pruning, title="scenario & <decision> " + 9 * "and more ")
    root = ElementTree.fromstring(svg)
    assert root.findtext(f"{SVG}text/{SVG}tspan", "").startswith("scenario & <decision>")
    width = float(root.attrib["width"])
    for text in root.iter(f"{SVG}text"):
        size = float(text.attrib.get("font-size", root.attrib["font-size"]))
        ends = float(text.attrib["x"]) + size * text_width("".join(text.itertext()))
        assert ends <= width
    boxes = cards(svg)
    edges = list(root.iter(f"{SVG}path"))
    assert len(edges) == len(boxes) - 1
    if pruning is not None:
        assert len(boxes) == 76
    else:
        assert 16 <= len(boxes) < 76 or kind == "puct"
    for number, one in enumerate(boxes):
        assert 0 <= one["left"] < one["right"] <= width
        assert 0 <= one["top"] < one["bottom"] <= float(root.attrib["height"])
        for other in boxes[:number]:
            assert (
                one["right"] <= other["left"]
                or other["right"] <= one["left"]
                or one["bottom"] <= other["top"]
                or other["bottom"] <= one["top"]
            )


def test_a_long_narrow_tree_is_drawn() -> None:
    """No recursion: a search that never branches is as deep as it has simulations."""
    search = search_for("puct", num_simulations=1200)
    model = TableModel(num_actions=1, seed=0)
    result = search.run(
        model, np.zeros(1, int), np.ones((1, 1), np.int8), np.random.default_rng(0), explore=False
    )
    record = record_tree(search.last_tree(), 0, result)
    assert record.summary.depth == 1200
    assert len(cards(to_svg(record, Pruning(max_depth=2000, min_visits=1)))) == 1201
    assert len(cards(to_svg(record))) == 9
    assert read(record.to_json()) == record


def test_a_notebook_shows_the_picture(record: TreeRecord) -> None:
    assert to_svg(record) in record._repr_html_()
    assert ElementTree.fromstring(record._repr_html_()).find(f"{SVG}svg") is not None


def test_pruning_leaves_out_what_it_says_and_counts_it(record: TreeRecord) -> None:
    nodes = len(cards(to_svg(record, Pruning(max_children=3, max_depth=1))))
    assert nodes == 4
    svg = to_svg(record, Pruning(max_children=3, max_depth=1))
    hidden = sum(candidate.visits for candidate in record.candidates[3:])
    assert f"+ 13 more ({hidden} visits)" in svg
    best = record.children[0][0].index
    assert f"+ {len(record.children[best])} more" in svg
    for least in (1, 3, 10):
        shown = len(cards(to_svg(record, Pruning(min_visits=least, max_depth=50))))
        kept = [n for n in record.nodes[1:] if n.depth == 1 or n.visits >= least]
        assert shown == 1 + len(kept)
    with pytest.raises(ValueError, match="max_children must be an integer of at least 1, but is 0"):
        Pruning(max_children=0)


def test_the_chosen_action_comes_first_though_others_were_visited_more() -> None:
    search = PUCTSearch(num_simulations=40, first_play="parent")
    model = TableModel(num_actions=8, seed=5)
    mask = np.ones((64, 8), np.int8)
    result = search.run(model, np.arange(64), mask, np.random.default_rng(2), temperature=50.0)
    surprising = np.flatnonzero(
        (result.action != result.visit_counts.argmax(axis=1))
        & (result.visit_counts[np.arange(64), result.action] > 0)
    )
    row = int(surprising[0])
    record = record_tree(search.last_tree(), row, result)
    svg = ElementTree.fromstring(to_svg(record, Pruning(max_children=1, max_depth=1)))
    words = ["".join(text.itertext()) for group in svg.iter(f"{SVG}g") for text in group]
    assert f"action {record.action}" in words


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        *((0.0, "0 %"), (1e-7, "&lt; 0.001 %"), (0.00067, "0.067 %"), (0.0123, "1.2 %")),
        *((0.0997, "10 %"), (0.516, "52 %"), (0.9958, "99.58 %"), (1 - 1e-9, "99.99 %")),
        (1.0, "100 %"),
    ],
)
def test_shares_need_no_exponent(record: TreeRecord, share: float, shown: str) -> None:
    nodes = tuple(replace(node, prior=share) for node in record.nodes)
    svg = to_svg(replace(record, nodes=nodes))
    assert f"prior {shown}</" in svg and "e+" not in svg


def test_words_are_escaped() -> None:
    nasty = [f'<b a="1">&amp; \\ {number}\n\x00\ud800 \u53d8\u7535\u7ad9' for number in range(20)]
    search = GumbelSearch(num_simulations=8, max_considered=4)
    result = search.run(
        TableModel(num_actions=20, seed=0),
        np.zeros(1, int),
        np.ones((1, 20), np.int8),
        np.random.default_rng(0),
        explore=False,
    )
    record = record_tree(search.last_tree(), 0, result, texts=nasty)
    root = ElementTree.fromstring(to_svg(record, title='"<&>'))
    tooltips = [element.text or "" for element in root.iter(f"{SVG}title")]
    assert any('<b a="1">&amp; \\' in tooltip for tooltip in tooltips)
    to_svg(record).encode()


# words ---------------------------------------------------------------------------------------


def test_every_action_fits_its_card(texts: tuple[str, ...]) -> None:
    """The estimated width is never below that of a wide font."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(path), 100)
    lines = [line for text in texts for line in fit(shorten(text), 20.0, 2)]
    for line in lines:
        assert font.getlength(line) <= 100 * text_width(line) <= 100 * 20.0 + 1e-6
    assert any(line.endswith("\u2026") for line in lines)


def test_short_forms_say_the_same() -> None:
    long = "substation 4: line_1 (ex) -> busbar 1, load_3 -> busbar 2, line_4 (ex) -> busbar 1"
    assert shorten(long) == "sub 4: load_3 on busbar 2, line_1 (ex), line_4 (ex) on 1"
    long = "reconnect line 1-4 (line 4) at busbars 2 / 1; substation 1: switch busbar of gen_0"
    assert shorten(long) == "reconnect line 1-4 (line 4) at 2/1; sub 1: switch busbar of gen_0"
    assert shorten("push left") == "push left"


def test_lines_are_broken_between_words() -> None:
    assert fit("", 10.0, 2) == [""]
    assert fit("one two", 100.0, 2) == ["one two"]
    assert fit("one two three four", 5.0, 2) == ["one two", "three \u2026"]
    assert fit("x" * 50, 5.0, 2) == ["xxxxxx\u2026"]
    assert escape_xml('a<b>"&\x07') == "a&lt;b&gt;&quot;&amp;\ufffd"
