"""The shell commands that the documents show, as a person would copy them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_PROGRAMS = (
    *("powergrid-train", "powergrid-evaluate", "powergrid-actions"),
    *("python", "make", "wandb", "ray", "."),
)
_LINE = re.compile(r"^    (?=\S)(.*)$", re.M)
_BEFORE = re.compile(r"^(?:[A-Z_]+=\S+ |taskset -c \d+ )+")  # the program


def documented_commands(document: Path) -> list[str]:
    """Return the commands in the indented blocks of a document, in its order, without comments."""
    text = document.read_text(encoding="utf-8").replace("\\\n", "")  # continued lines
    found = []
    for line in _LINE.findall(text):
        line = _BEFORE.sub("", line)
        if line.partition(" ")[0] in _PROGRAMS:
            found.append(shlex.join(shlex.split(line, comments=True)))
    return list(dict.fromkeys(found))
