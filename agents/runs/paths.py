"""Checks paths and names that users give, and quotes them for a shell."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from pathlib import Path, PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

_LONGEST = 200  # bytes in a folder's name; file systems take 255, and loggers add to it
_UNWRITTEN = ("Cc", "Cs")  # Unicode categories: control characters, bytes that are not UTF-8


def given_path(text: str, key: str = "path") -> Path:
    """Return the path that was given, with ``~`` as the home folder.

    Args:
        text: what was given.
        key: of the option, for messages.

    Raises:
        ValueError: it is not text, is empty, holds control characters, or there is no home folder.
    """
    path = os.path.expanduser(given_text(text, key))
    if path.startswith(("~/", f"~{os.sep}")) or path == "~":
        raise ValueError(f"{key}={text}: there is no home folder; write the path in full.")
    return Path(path)


def given_text(text: Any, key: str) -> str:
    """Return the text that was given; a whole number is text, too.

    Raises:
        ValueError: it is not text, is empty, or holds control characters.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{key}={text!r}; expected some text.")
    if any(unicodedata.category(character) in _UNWRITTEN for character in text):
        raise ValueError(f"{key}={text!r}; expected text without control characters.")
    return text


def folder_name(text: Any, key: str) -> str:
    """Return the name that was given to a folder of ours; ``a/b`` is a folder in a folder.

    Raises:
        ValueError: it leads elsewhere, is too long, or is no text.
    """
    name = given_text(text, key)
    parts = PurePath(name).parts
    outside = not parts or PurePath(name).is_absolute() or ".." in parts
    if outside or any(len(part.encode()) > _LONGEST for part in parts):
        raise ValueError(
            f"{key}={name}; expected the name of a folder, such as quickstart or study/quickstart: "
            f"no absolute path, no '..', at most {_LONGEST} bytes. Another place is folder=PATH."
        )
    return name


def as_argument(key: str, value: object) -> str:
    """Return ``key=value`` for a shell, quoted where Hydra's grammar or the shell needs it.

    Args:
        key: of the configuration.
        value: its text.
    """
    return shlex.quote(as_override(key, value))


def as_override(key: str, value: object) -> str:
    """Return ``key=value`` as Hydra reads it, quoted where its grammar needs it."""
    text = str(value)
    return f"{key}={text if _reads_as(text) else quoted(text)}"


def quoted(text: str) -> str:
    """Return ``text`` in the quotes of Hydra's grammar."""
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + (r"\"" * bool(found[2])), text)
    return f'"{escaped}"'


def _reads_as(text: str) -> bool:
    """Whether Hydra reads ``text`` as just that."""
    try:
        return OverridesParser.create().parse_override(f"key={text}").value() == text
    except HydraException:
        return False
