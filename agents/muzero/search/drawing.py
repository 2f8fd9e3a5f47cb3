"""Draws a finished search as an SVG.

It reads from left to right: the present state, then what the search tried. The chosen
action and its most visited sequel run straight along the top, alternatives hang below, so no
two cards overlap and no two edges cross, however wide the tree. What chance may make of an action
hangs below it, "if line 6-8 is lost", unless only one thing can happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agents.muzero.search.record import NodeRecord, TreeRecord, is_certain
from powergrid_muzero.checks import check_count
from powergrid_muzero.lettering import escape_xml, fit, shorten, text_width

_LOW = (244, 177, 131)  # RGB of the lowest q: orange
_MIDDLE = (250, 248, 240)
_HIGH = (146, 197, 222)  # of the highest: blue; told apart by the colour-blind too
_INK = "#1c2833"
_FAINT = "#5d6d7e"
_EDGE = "#95a5a6"
_BEST = "#1f4e79"  # of the chosen action and its sequel

# Units of the SVG, about pixels.
_CARD_WIDTH = 264.0
_COLUMN_GAP = 64.0
_ROW_GAP = 10.0
_PADDING = 9.0
_LINE_HEIGHT = 14.0
_FONT = 11.0
_PORT = 21.0  # of the edges, below the top of a card
_STUB_HEIGHT = 18.0
_MARGIN = 24.0
_MAX_LINES = 2  # of an action's words
_MAX_HEADING_LINES = 3  # of one sentence
_LEAST_WIDTH = 900.0


@dataclass(frozen=True)
class Pruning:
    """Which part of a tree is drawn.

    The root's children, and all outcomes of the chosen one, are drawn whatever their visits. What
    is left out is counted beside the parent that it hangs from.
    """

    min_visits: int = 2  # of a node below the root's children
    max_children: int = 16  # of a node, the most visited ones
    max_depth: int = 8  # actions from the root

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one of them is not a whole number of at least 1.
        """
        for name in ("min_visits", "max_children", "max_depth"):
            check_count(name, getattr(self, name))


class _Branch(NamedTuple):
    """A node to be drawn."""

    node: NodeRecord
    parent: int | None  # index of the node that it is drawn beside; None for the root
    column: int  # from the left
    principal: bool  # the chosen action, or its most visited sequel
    first: bool  # of its parent's children
    hidden: int  # children left out
    hidden_visits: int  # of these


def to_svg(record: TreeRecord, pruning: Pruning | None = None, *, title: str = "") -> str:
    """Return the tree as a self-contained SVG.

    A card is an action: its words, visits, q and prior; its colour is q, its lower bar the share of
    the visits. Pointing at it shows all there is.

    Args:
        record: of one search.
        pruning: what is left out; None for the default.
        title: of the picture, such as scenario and decision.
    """
    branches = _prune(record, pruning or Pruning())
    colours = _Colours(record)
    columns = 1 + max(branch.column for branch in branches)
    width = 2 * _MARGIN + columns * _CARD_WIDTH + (columns - 1) * _COLUMN_GAP
    width = max(width, _LEAST_WIDTH)
    heading, top = _heading(record, title, colours, width - 2 * _MARGIN)
    tops, bottom = _place(branches, top)
    height = bottom - _ROW_GAP + _MARGIN
    edges = [
        _edge(record, branch, tops)
        for branch in sorted(branches, key=lambda branch: branch.principal)  # it lies on top
        if branch.parent is not None
    ]
    cards = [_card(record, branch, tops[branch.node.index], colours) for branch in branches]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-size="{_FONT:g}" fill="{_INK}" '
            "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\">",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            *heading,
            *edges,
            *cards,
            "</svg>",
            "",
        ]
    )


# -------------------------------------------------------------------------- what is drawn


def _prune(record: TreeRecord, pruning: Pruning) -> list[_Branch]:
    """Return what is drawn, each node before its children, the children in order."""
    branches: list[_Branch] = []
    waiting: list[tuple[NodeRecord, int | None, int, bool, bool]] = [
        (record.nodes[0], None, 0, True, True)
    ]
    while waiting:
        node, parent, column, principal, first = waiting.pop()
        children = record.children[node.index]
        if is_certain(children):  # what follows is drawn beside the action itself
            children = record.children[children[0].index]
        if node.parent is None:  # the chosen one first: it is what the reader looks for
            children = sorted(children, key=lambda child: child.action != record.action)
        shown = [
            child
            for child in children[: pruning.max_children]
            if child.depth <= pruning.max_depth
            and (
                node.parent is None
                or child.visits >= pruning.min_visits
                or (child.outcome is not None and principal)
            )
        ]
        hidden = len(children) - len(shown)
        hidden_visits = sum(child.visits for child in children) - sum(c.visits for c in shown)
        branches.append(_Branch(node, parent, column, principal, first, hidden, hidden_visits))
        waiting.extend(
            (child, node.index, column + 1, principal and number == 0, number == 0)
            for number, child in reversed(list(enumerate(shown)))
        )
    return branches


def _words(node: NodeRecord) -> str:
    """Return what a card says of its action, or of what happens."""
    if node.outcome is not None:
        return f"if {node.text}" if node.text else f"if outcome {node.outcome} follows"
    if node.action is None:
        return "present state"
    return f"#{node.action} {shorten(node.text)}" if node.text else f"action {node.action}"


def _figures(record: TreeRecord, node: NodeRecord) -> str:
    if node.parent is None:
        return (
            f"{_count(record.num_simulations, 'simulation')} \u00b7 value {_number(record.value)}"
        )
    return (
        f"{_count(node.visits, 'visit')} \u00b7 Q {_number(node.q)} "
        f"\u00b7 {_share_of(node)} {_percent(node.prior)}"
    )


def _share_of(node: NodeRecord) -> str:
    """Return what ``NodeRecord.prior`` is."""
    return "prior" if node.outcome is None else "probability"


def _tooltip(node: NodeRecord) -> str:
    lines = [
        f"{_count(node.visits, 'visit')}, depth {node.depth}",
        f"value {_number(node.value)} (mean return from here on)",
    ]
    if node.raw_value is not None:
        lines.append(f"value by the model alone {_number(node.raw_value)}")
    if node.parent is None:
        return "\n".join(["present state", *lines])
    edge = f"action {node.action}" if node.outcome is None else f"outcome {node.outcome}"
    return "\n".join(
        [
            edge + (f": {node.text}" if node.text else ""),
            *lines,
            f"reward {_number(node.reward)}",
            f"discount {_number(node.discount)} (of what follows)",
            f"Q {_number(node.q)} = reward + discount x value",
            f"{_share_of(node)} {_percent(node.prior)}",
        ]
    )


def _hidden_words(branch: _Branch) -> str:
    return f"+ {branch.hidden} more ({_count(branch.hidden_visits, 'visit')})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _percent(share: float) -> str:
    """Return two digits or more, without an exponent; what is not certain is not 100 %."""
    percent = 100 * share
    if 0 < percent < 0.001:
        return "< 0.001 %"
    if 99 <= percent < 100:
        return f"{min(percent, 99.99):.2f} %"
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.2g} %"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _edge_width(record: TreeRecord, node: NodeRecord) -> float:
    return 1.0 + 7.0 * node.visits / max(record.num_simulations, 1)


class _Colours:
    """From orange for the lowest q of the tree to blue for the highest."""

    def __init__(self, record: TreeRecord) -> None:
        self._record = record
        values = [node.q for node in record.nodes[1:]]
        self.low = min(values)
        self.high = max(values)

    def of(self, node: NodeRecord) -> str:
        """Return the colour of a node; the root has that of its value."""
        value = self._record.value if node.parent is None else node.q
        spread = self.high - self.low
        return self.at((value - self.low) / spread if spread > 0.0 else 0.5)

    @staticmethod
    def at(share: float) -> str:
        """Return the colour at ``share`` of the way, clipped to [0, 1]."""
        share = min(max(share, 0.0), 1.0)
        start, end = (_LOW, _MIDDLE) if share < 0.5 else (_MIDDLE, _HIGH)
        part = 2.0 * share if share < 0.5 else 2.0 * share - 1.0
        return "#" + "".join(
            f"{round(a + part * (b - a)):02x}" for a, b in zip(start, end, strict=True)
        )


# --------------------------------------------------------------------------------- SVG


def _left(column: int) -> float:
    return _MARGIN + column * (_CARD_WIDTH + _COLUMN_GAP)


def _lines(node: NodeRecord) -> list[str]:
    return fit(_words(node), (_CARD_WIDTH - 2 * _PADDING) / _FONT - 0.5, _MAX_LINES)


def _card_height(node: NodeRecord) -> float:
    return 2 * _PADDING + _LINE_HEIGHT * (len(_lines(node)) + 1) - 3.0


def _place(branches: Sequence[_Branch], top: float) -> tuple[dict[int, float], float]:
    """Return the top of each node's card by index, and where the next row would begin.

    A first child stands beside its parent, every other one below all that came before it.
    """
    tops: dict[int, float] = {}
    bottom = top
    for branch in branches:
        node = branch.node
        if branch.parent is not None and branch.first:
            tops[node.index] = tops[branch.parent]
        else:
            tops[node.index] = bottom
        height = _card_height(node) + _ROW_GAP
        if branch.hidden:
            height += _STUB_HEIGHT
        bottom = max(bottom, tops[node.index] + height)
    return tops, bottom


def _edge(record: TreeRecord, branch: _Branch, tops: dict[int, float]) -> str:
    node = branch.node
    assert branch.parent is not None
    x0 = _left(branch.column - 1) + _CARD_WIDTH
    x1 = _left(branch.column)
    y0, y1 = tops[branch.parent] + _PORT, tops[node.index] + _PORT
    middle = (x0 + x1) / 2
    ink = _BEST if branch.principal else _EDGE
    return (
        f'<path d="M{x0:.1f} {y0:.1f} C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} '
        f'{x1:.1f} {y1:.1f}" fill="none" stroke="{ink}" '
        f'stroke-width="{_edge_width(record, node):.2f}"/>'
    )


def _card(record: TreeRecord, branch: _Branch, top: float, colours: _Colours) -> str:
    node = branch.node
    left, height = _left(branch.column), _card_height(node)
    ink, stroke = (_BEST, 2.0) if branch.principal else (_EDGE, 1.0)
    parts = [
        '<g class="node">',
        f"<title>{escape_xml(_tooltip(node))}</title>",
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{_CARD_WIDTH:g}" height="{height:.1f}" rx="6" '
        f'fill="{colours.of(node)}" stroke="{ink}" stroke-width="{stroke:g}"/>',
    ]
    baseline = top + _PADDING + _FONT - 1.0
    for number, line in enumerate(_lines(node)):
        # of long words only the action's number is bold
        bold, gap, rest = line.partition(" ") if line.startswith("#") else (line, "", "")
        words = [(bold, "bold"), (gap + rest, "normal")] if number == 0 else [(line, "normal")]
        parts.append(_text(left + _PADDING, baseline, *words))
        baseline += _LINE_HEIGHT
    parts.append(_text(left + _PADDING, baseline, (_figures(record, node), "normal")))
    share = node.visits / max(record.num_simulations, 1)
    bar = min(share, 1.0) * (_CARD_WIDTH - 12.0)
    parts.append(
        f'<rect x="{left + 6.0:.1f}" y="{top + height - 4.5:.1f}" width="{bar:.1f}" height="3" '
        f'rx="1.5" fill="{_BEST}"/>'
    )
    if branch.hidden:
        words = _hidden_words(branch)
        parts.append(_text(left + _PADDING, top + height + 13.0, (words, "normal"), ink=_FAINT))
    return "\n".join([*parts, "</g>"])


def _heading(
    record: TreeRecord, title: str, colours: _Colours, width: float
) -> tuple[list[str], float]:
    """Return the words above the tree, no wider than ``width``, and where the tree begins."""
    summary = record.summary
    chosen = f"#{record.action} {record.text}" if record.text else f"action {record.action}"
    lines = [
        (title or "Search tree", 16.0, "bold"),
        (f"Chosen: {chosen}", 12.0, "bold"),
        (
            f"{_count(record.num_simulations, 'simulation')} \u00b7 root value "
            f"{_number(record.value)} \u00b7 {_count(summary.width, 'action')} tried \u00b7 depth "
            f"{summary.depth} (mean {summary.mean_depth:.1f}) \u00b7 entropy of visits "
            f"{summary.visit_entropy:.2f}, of the policy {summary.policy_entropy:.2f} nats",
            _FONT,
            "normal",
        ),
        (
            "Q = reward + discount \u00d7 value: the return that the search expects of an "
            "action. Bars and lines: visits. Dark: the choice and its most visited sequel.",
            _FONT,
            "normal",
        ),
    ]
    parts = []
    y = _MARGIN
    for words, size, weight in lines:
        wide = 1.12 if weight == "bold" else 1.0
        for line in fit(words, width / (wide * size), _MAX_HEADING_LINES):
            y += size + 5.0
            parts.append(_text(_MARGIN, y, (line, weight), size=size))
    y += 12.0
    stops = "".join(
        f'<stop offset="{share:g}" stop-color="{colours.at(share)}"/>' for share in (0.0, 0.5, 1.0)
    )
    low, high = f"Q {_number(colours.low)}", _number(colours.high)
    after = _MARGIN + text_width(low) * _FONT + 6.0
    parts += [
        f'<defs><linearGradient id="q">{stops}</linearGradient></defs>',
        _text(_MARGIN, y + 10.0, (low, "normal")),
        f'<rect x="{after:.1f}" y="{y:.1f}" width="160" height="12" rx="3" fill="url(#q)" '
        f'stroke="{_EDGE}"/>',
        _text(after + 166.0, y + 10.0, (high, "normal")),
    ]
    return parts, y + 34.0


def _text(x: float, y: float, *words: tuple[str, str], size: float = _FONT, ink: str = _INK) -> str:
    """Return a line of text at its baseline; ``words`` are parts with their weights."""
    style = "" if size == _FONT else f' font-size="{size:g}"'
    style += "" if ink == _INK else f' fill="{ink}"'
    parts = "".join(
        escape_xml(part)
        if weight == "normal"
        else f'<tspan font-weight="{weight}">{escape_xml(part)}</tspan>'
        for part, weight in words
        if part
    )
    return f'<text x="{x:.1f}" y="{y:.1f}"{style}>{parts}</text>'
