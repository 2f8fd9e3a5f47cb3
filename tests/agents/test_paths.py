"""Paths and names that users give: what is taken, what is refused, how they are told."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from agents.commands.entry import evaluate, train
from agents.runs.paths import as_argument, folder_name, given_path, given_text

ODD = (
    *("plain", "/tmp/a-b_c.d/2026-12-01_11-13-16", "données", "run (1)", "~/x", "a b", "a,b"),
    *("x=y", "a\\b", "a\\", 'say "x"', "it's", "123", "null", "a[1]", "#x", "a&b;c", "a{b}", "50%"),
)


@pytest.mark.parametrize("text", ODD)
def test_an_argument_can_be_pasted(text: str) -> None:
    (argument,) = shlex.split(as_argument("resume", text))
    override = OverridesParser.create().parse_override(argument)
    value: Any = override.value()
    assert override.key_or_group == "resume"
    assert getattr(value, "text", value) == text


def test_an_argument_is_quoted_only_where_it_must_be() -> None:
    assert (
        as_argument("run", Path("runs/x/2026-12-01_11-13-16")) == "run=runs/x/2026-12-01_11-13-16"
    )


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert given_path("~/x") == Path("/somewhere/x")
    assert given_path("~") == Path("/somewhere")
    assert given_path("a/~x") == Path("a/~x")
    assert given_text(2026, "name") == "2026"


@pytest.mark.parametrize("value", ["", " ", "a\nb", "a\0b", "a\x1b[0m", "\udc80", True, 1.5, None])
def test_what_is_no_text_is_refused(value: Any) -> None:
    for check in (given_path, given_text, folder_name):
        with pytest.raises(ValueError, match=f"^key={re.escape(repr(value))}; expected"):
            check(value, "key")


@pytest.mark.parametrize("name", ["../../x", "a/../../x", "..", ".", "/tmp/x", "./.", "x" * 300])
def test_a_folders_name_stays_in_its_place(name: str) -> None:
    with pytest.raises(ValueError, match=r"^key=.*; expected the name of a folder"):
        folder_name(name, "key")


def test_a_folders_name_may_have_parts() -> None:
    assert folder_name("study/quickstart", "name") == "study/quickstart"


REFUSED = [
    (train, ("name=../../x",), "name=../../x; expected the name of a folder"),
    (train, ("name=/tmp/x",), "no absolute path"),
    (train, ("name=",), "name=''; expected some text"),
    (train, ("name=null",), "name=null; expected a text"),
    (train, ('name="a\tb"',), "without control characters"),
    (train, ("folder=",), "folder=''; expected some text"),
    (train, ("resume=1.5",), "resume=1.5; expected a text"),
    (train, ("folder=données",), """: 'folder="données"'"""),
    (train, ("folder=run (1)",), """: 'folder="run (1)"'"""),
    (train, ("resume=~/x",), """: 'resume="~/x"'"""),
    (train, ('resume="~/nowhere at all"',), "/nowhere at all is not the folder of a run"),
    (evaluate, ("run=",), "run=''; expected some text"),
    (evaluate, ("run=~/x",), """: 'run="~/x"'"""),
    (evaluate, ("weights=",), "weights=''; expected some text"),
    (evaluate, ('weights="~/x.pt"',), "x.pt does not exist"),
    (evaluate, ("agent=random", "name=1.5"), "name=1.5; expected a text"),
    (evaluate, ("agent=random", "folder=file/x"), "file/x cannot be written to (Not a directory)"),
]


def named(one: Any) -> str:
    return getattr(one, "__name__", str(one))[:40]


@pytest.mark.parametrize(("main", "arguments", "message"), REFUSED, ids=named)
def test_the_commands_refuse_in_one_line(
    command: Any, working_folder: Path, main: Any, arguments: tuple[str, ...], message: str
) -> None:
    (working_folder / "file").write_text("")
    more = ("evaluation.episodes=1",) if main is evaluate else ()
    outcome = command(main, *arguments, "env=cartpole", *more)
    assert outcome.code == 2, outcome.error
    assert message in outcome.error
    assert len(outcome.error.strip().splitlines()) == 1
    assert os.listdir(working_folder) == ["file"]
