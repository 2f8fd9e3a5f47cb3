"""What the documents show works: commands compose, and Python runs.

``test_commands_of_pages.py`` runs the commands, ``test_readme_literally.py`` from installations.
"""

from __future__ import annotations

import ast
import hashlib
import re
import shlex
import subprocess
import sys
import types
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hydra import compose, initialize_config_module

from agents import pretrained
from agents.commands import actions, entry, results
from agents.commands.command_line import OneLineParser
from agents.configuration.arguments import for_hydra
from agents.grid2op_agent import __main__ as grid2op_tools
from agents.runs.saved_configs import plain
from tests.conftest import ROOT
from tests.documented_commands import documented_commands

DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "docs/grid2op.md", "docs/results/README.md"),
    *("docs/index.md", "docs/train.md", "docs/evaluate.md", "docs/models.md"),
    *("docs/cluster.md", "docs/action-sets.md", "docs/RESULTS.md"),
)
COMMANDS = [line for name in DOCUMENTS for line in documented_commands(ROOT / name)]
PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("index", "the-grid", "action-sets", "python", "other-software", "grid2op")
    ),
)
RUN_ELSEWHERE = ("docs/extending.md",)  # tests/test_extending.py builds a package of it
ELSEWHERE = re.compile(r"^from (torchrl|ray\.rllib)\b", re.M)  # no dependencies of ours
NEEDS = {"torchrl": "torchrl", "ray.rllib": "tree"}  # RLlib comes with Ray, but not what it imports
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
MODULE = re.compile(r"python -m ([\w.]+)")
IN_TEXT = re.compile(r"`(python -m (?:benchmarks|tests)\.[^`\n]*)`")
OF_OUR_TOOLS = re.compile(r"^python -m (?:benchmarks|tests)\.")


@pytest.mark.parametrize(
    "line", [one for one in dict.fromkeys(COMMANDS) if one.startswith("powergrid-")]
)
def test_a_command_composes(line: str) -> None:
    program, *words = shlex.split(line)
    if program == "powergrid-actions":
        actions.make_parser().parse_args(words)
        return
    if words[0] in (entry.COMPARE, entry.MERGE):
        results.make_parser().parse_args(words)
        return
    overrides = [word for word in words if not word.startswith("--")]
    assert set(words) - set(overrides) <= {"--multirun"}
    overrides = [re.sub(r"=(\w+)(,\w+)+$", r"=\1", one) for one in overrides]  # the first run
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose(program.removeprefix("powergrid-"), overrides=for_hydra(overrides))
    assert plain(composed)["agent"]["_target_"]


@pytest.mark.parametrize(
    "line", [one for one in dict.fromkeys(COMMANDS) if "agents.grid2op_agent" in one]
)
def test_a_command_of_grid2ops_tools_parses(line: str) -> None:
    given = grid2op_tools._parser().parse_args(shlex.split(line)[3:])
    overrides = [one for one in getattr(given, "words", ()) if not one.startswith("run=")]
    with initialize_config_module("conf", version_base="1.3"):
        compose("evaluate", overrides=for_hydra(overrides))


def commands_of_our_tools() -> list[str]:
    """Commands of ``benchmarks`` and ``tests``, within sentences, too, if no words are left out."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS]
    found = [line for line in COMMANDS if OF_OUR_TOOLS.match(line)]
    found += [line for text in texts for line in IN_TEXT.findall(text)]
    return [line for line in dict.fromkeys(found) if "..." not in line and "[" not in line]


class ParsedError(Exception):
    """Ends a command when its arguments are parsed."""


@pytest.mark.parametrize("line", commands_of_our_tools())
def test_a_command_of_our_tools_parses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = OneLineParser.parse_args

    def parse_and_end(self: OneLineParser, *arguments: Any) -> NoReturn:
        raise ParsedError(parse(self, *arguments))

    monkeypatch.setattr(OneLineParser, "parse_args", parse_and_end)
    _, _, module, *words = shlex.split(line.replace("--grid NAME", "--grid l2rpn_wcci_2020"))
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(ParsedError):
        import_module(module).main()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_modules_and_targets_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for module in set(MODULE.findall(text)):
        assert find_spec(module) is not None, module
    for line in documented_commands(ROOT / name):
        program, *words = shlex.split(line)
        if program == "make":
            subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True)
        if program == "wandb":
            assert (ROOT / words[-1]).is_file()


def test_every_page_with_code_is_run() -> None:
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")} | {"README.md"}
    with_code = {name for name in pages if PYTHON.search((ROOT / name).read_text(encoding="utf-8"))}
    assert with_code == {*PAGES, *RUN_ELSEWHERE}


@pytest.fixture
def preparation(request: pytest.FixtureRequest, working_folder: Path) -> None:
    """Do what a page says is done before its Python: only that of grid2op's tools needs it."""
    if request.getfixturevalue("name") == "docs/grid2op.md":
        grid2op_tools.main(["export", "data/test", "--source", "bundled", "--scenarios", "3"])
        grid2op_tools.main(["submit", "submission", "weights=case14"])
        request.getfixturevalue("monkeypatch").syspath_prepend(working_folder)


@pytest.mark.docs
@pytest.mark.parametrize("name", PAGES)
def test_the_python_of_a_page_runs(
    name: str, preparation: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block after block, as a person would copy them; not where it needs what is not installed."""
    page = types.ModuleType("page")  # as a notebook is: what is defined there pickles
    monkeypatch.setitem(sys.modules, "page", page)
    names = vars(page)
    blocks = PYTHON.findall((ROOT / name).read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        lacking = [one for one in ELSEWHERE.findall(block) if not find_spec(NEEDS[one])]
        if not lacking:
            exec(compile(block, name, "exec"), names)
    for made in ("env", "attacked", "grids"):
        if hasattr(names.get(made), "close"):
            names[made].close()


def test_each_weight_that_ships_has_a_card_with_its_hash() -> None:
    cards = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    for name in pretrained.names():
        card = cards.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        weights = pretrained.folder_of(name) / "checkpoints" / "best.pt"
        assert hashlib.sha256(weights.read_bytes()).hexdigest() in card, name


@pytest.mark.parametrize("package", ["agents", "envs"])
def test_a_package_lists_its_modules(package: str) -> None:
    for init in (ROOT / package).rglob("__init__.py"):
        listed = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        there = {path.stem for path in init.parent.glob("*.py")} - {"__init__", "__main__"}
        there |= {path.parent.name for path in init.parent.glob("*/__init__.py")}
        assert [name for name in sorted(there) if f"``{name}``" not in listed] == [], init
