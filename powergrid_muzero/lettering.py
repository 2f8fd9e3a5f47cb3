"""Text in pictures: short forms of actions, width, line breaks, escaping."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

ELLIPSIS = "\u2026"

_NARROW = frozenset("ijlftrI1 .,:;'|()[]{}-/!\"")
_WIDE = frozenset("mwMWQGO@%#&<>=+~\u2192\u2026\u00b7")

_MOVES = re.compile(r"substation (\d+): ([^;]+ -> busbar \d+)")
_SHORT_FORMS = (
    *(("substation ", "sub "), ("at busbars ", "at "), (" / ", "/")),
    (" % of its maximum", " %"),
)


def shorten(text: str) -> str:
    """Return an action's words in fewer: elements by busbar, the higher busbar first.

    "substation 4: line_1 (ex) -> busbar 1, load_3 -> busbar 2" is "sub 4: load_3 on busbar 2,
    line_1 (ex) on 1". Words of other environments stay as they are.
    """
    text = _MOVES.sub(_by_busbar, text)
    for long, short in _SHORT_FORMS:
        text = text.replace(long, short)
    return text


def _by_busbar(match: re.Match[str]) -> str:
    elements: dict[str, list[str]] = {}
    for move in match[2].split(", "):
        element, _, busbar = move.rpartition(" -> busbar ")
        elements.setdefault(busbar, []).append(element)
    groups = [
        f"{', '.join(names)} on {'' if number else 'busbar '}{busbar}"
        for number, (busbar, names) in enumerate(sorted(elements.items(), reverse=True))
    ]
    return f"sub {match[1]}: {', '.join(groups)}"


def text_width(text: str) -> float:
    """Return the width of ``text`` at font size 1, rather too much than too little.

    Measured on DejaVu Sans, which is wider than what most viewers put in its place.
    """
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> float:
    if character in _WIDE or ord(character) > 0x2E7F:  # from there on: Chinese and the like
        return 1.0
    if character in _NARROW:
        return 0.42
    return 0.78 if character.isupper() else 0.66


def fit(text: str, width: float, max_lines: int) -> list[str]:
    """Return ``text`` in at most ``max_lines`` lines, cut with an ellipsis.

    Args:
        text: words and spaces.
        width: of a line, in font sizes.
        max_lines: at least 1.
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or text_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], f"{lines[max_lines - 1]} {ELLIPSIS}"]
    return [_cut(line, width) for line in lines]


def _cut(line: str, width: float) -> str:
    """Return ``line``, shortened at a word's end or else within its only word."""
    if text_width(line) <= width:
        return line
    while line and text_width(line + ELLIPSIS) > width:
        line = line.rpartition(" ")[0] or line[:-1]
    return line.rstrip(f" ,{ELLIPSIS}") + ELLIPSIS


def escape_xml(text: str) -> str:
    """Return ``text`` as content of an XML element or of an attribute in double quotes."""
    return escape(_printable(text), {'"': "&quot;"})


def _printable(text: str) -> str:
    """Return ``text`` with a mark in place of the characters that XML cannot hold."""
    return "".join(
        character if character in "\t\n\r" or _is_fit(ord(character)) else "\ufffd"
        for character in text
    )


def _is_fit(code: int) -> bool:
    return code >= 0x20 and not 0xD800 <= code <= 0xDFFF and code not in (0xFFFE, 0xFFFF)
