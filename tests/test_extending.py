"""docs/extending.md, word by word: its package is built, installed elsewhere and used."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`([\w/.]+)`[^\n]*(?:\n[^\n`]+[^\n]*)*\n\n```\w+\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^    (\S.*)$", re.M)

pytestmark = pytest.mark.docs


def commands(*programs: str) -> list[list[str]]:
    """The document's commands that start one of ``programs``, as a shell splits them."""
    found = [shlex.split(line) for line in COMMAND.findall(DOCUMENT)]
    return [words for words in found if words[0] in programs]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the document's package."""
    source = tmp_path_factory.mktemp("source")
    for words in commands("mkdir", "touch"):
        subprocess.run(words, cwd=source, check=True)
    for name, text in FILE.findall(DOCUMENT):
        assert (source / name).parent.is_dir(), f"the document makes no folder for {name}"
        (source / name).write_text(text, encoding="utf-8")
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"  # as pip does
    (source / "dist").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (path,) = (source / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, beside one that the wheel is installed in."""
    place = tmp_path_factory.mktemp("use")
    zipfile.ZipFile(wheel).extractall(place / "site")  # all that an installation of it needs
    (place / "work").mkdir()
    return place / "work"


# Several commands in one process, which saves starting each: each as its installed script does.
DRIVER = """
import contextlib, io, json, sys
import powergrid_muzero, pytest
from hydra.core.global_hydra import GlobalHydra
from tests import memories

memories.KEPT += ("powergrid",)  # the package's files do not change meanwhile
memories.remember_compositions(pytest.MonkeyPatch())

outcomes = []
for program, *arguments in json.loads(sys.stdin.read()):
    sys.argv = [program, *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            getattr(powergrid_muzero, program.removeprefix("powergrid-"))()
        except SystemExit as end:
            code = end.code
    GlobalHydra.instance().clear()
    outcomes.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(outcomes))
"""


def run_all(
    folder: Path, lines: list[list[str]], *, site: str | None = None
) -> list[tuple[int, str, str]]:
    """Run commands in ``folder``, beside which the package is installed if not in ``site``."""
    site = site or str(folder.parent / "site")
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(lines),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), site])},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def protocol_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())["results"][-1]["protocol"]


def test_the_wheel_holds_every_file_of_the_document(wheel: Path) -> None:
    written = {name for name, _ in FILE.findall(DOCUMENT)}
    assert len(written) == 16
    assert DOCUMENT.count("\n```") == 2 * len(written)  # no block is without a name
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    empty = {"my_agents/__init__.py", "my_agents/conf/__init__.py"}
    assert packed == (written - {"pyproject.toml"}) | empty


# shorter than a reader has them: no plots, few steps, a training whose updates have just begun
SHORT = {
    "powergrid-evaluate": ("evaluation.plots=false",),
    "experiment=small": (
        *("trainer.total_env_steps=80", "evaluation.interim.max_steps=5"),
        "evaluation.final.max_steps=5",
    ),
    "evaluation.max_steps=20": ("evaluation.max_steps=5",),
}
OWN_REWARD = "evaluation.env.reward={_target_: my_agents.reward.CalmReward, _partial_: true}"
SCORED = ("powergrid-evaluate", OWN_REWARD, "evaluation.episodes=1", "evaluation.max_steps=5")


def shortened(words: list[str]) -> list[str]:
    more = [one for part, added in SHORT.items() if part in words for one in added]
    return [*words, "logger=csv", *more]


def test_every_command_of_the_document_runs(folder: Path) -> None:
    used = commands("powergrid-train", "powergrid-evaluate")
    assert len(used) == 6
    wrong = [
        (["powergrid-train", "agent=mien"], "unknown agent 'mien'; did you mean 'mine'?"),
        (["powergrid-train", "network=linaer"], "did you mean 'linear'?"),
        (
            ["powergrid-train", "env.kwargs.reward=my_agents.reward:Clam"],
            "reward 'my_agents.reward:Clam' cannot be imported",
        ),
        (
            ["powergrid-train", "reward=calm", "env.kwargs.reward.target=high"],
            "env.kwargs.reward.target='high'; expected a finite number",
        ),
        (
            ["powergrid-train", "scenarios=grown", "+env.kwargs.scenarios.grwoth=0.1"],
            "did you mean 'env.kwargs.scenarios.growth'?",
        ),
        (
            ["powergrid-train", "wrappers=[gated,rounded]", "env.wrappers.rounded.decimals=1.5"],
            "env.wrappers.rounded.decimals=1.5; expected a whole number",
        ),
        (
            ["powergrid-train", "wrappers=[gated,rounded]"],
            "takes no wrappers; set env.simulator=grid2op",
        ),
    ]
    more = [
        ["powergrid-train", "resume=seen", "trainer.total_env_steps=100"],
        shortened([*SCORED, "run=planner", "folder=scored"]),
    ]
    outcomes = run_all(folder, [*map(shortened, used), *more, *(words for words, _ in wrong)])
    tables = []
    for code, out, error in outcomes[: len(used) + len(more)]:
        assert code == 0, error
        tables.append({line.split()[0] for line in out.splitlines() if line.strip()})
    # tables name the options
    assert {"random", "mine"} <= tables[0] and "mine" in tables[1]
    assert "muzero" in tables[2] and "muzero" in tables[3]
    # what was asked for is what was trained
    config = yaml.safe_load((folder / "mine" / "config.yaml").read_text())
    assert config["agent"] == {"_target_": "my_agents.agent.MyAgent", "optimism": 2}
    assert "train/best_value" in (folder / "mine" / "metrics.csv").read_text()
    config = yaml.safe_load((folder / "planner" / "config.yaml").read_text())
    assert config["agent"]["network"] == {
        "_target_": "my_agents.network.LinearNetwork",
        "_partial_": True,
        "state_size": 24,
    }
    assert config["agent"]["search"]["_target_"] == "my_agents.search.GreedyStepSearch"
    reward = {"_target_": "my_agents.reward.CalmReward", "target": 0.9, "_partial_": True}
    assert config["env"]["kwargs"]["reward"] == reward
    config = yaml.safe_load((folder / "seen" / "config.yaml").read_text())
    assert config["env"]["kwargs"]["observation"]["limit"] == 2.0
    assert config["env"]["kwargs"]["scenarios"]["growth"] == 0.02
    assert config["env"]["kwargs"]["idle_gate"] == 0.95  # wrappers may be several
    assert config["env"]["wrappers"]["rounded"]["decimals"] == 2
    # and results tell of it
    assert protocol_in(folder / "scored")["reward"] == "my_agents.reward.CalmReward"
    trained = protocol_in(folder / "seen")
    (evaluated,) = map(protocol_in, (folder / "seen" / "evaluation").iterdir())
    assert trained["scenarios"] == evaluated["scenarios"] == "GrownMonths"
    assert trained["scenarios_sha256"] != evaluated["scenarios_sha256"]
    # its mistakes are named like our own
    for (code, _, error), (_, message) in zip(
        outcomes[len(used) + len(more) :], wrong, strict=True
    ):
        assert code == 2
        assert message in error
        assert len(error.strip().splitlines()) == 1


def test_the_package_need_not_be_installed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder.parent / "site" / "my_agents", tmp_path / "my_agents")
    (line,) = (one for one in COMMAND.findall(DOCUMENT) if one.startswith("PYTHONPATH=. "))
    words = shlex.split(line)[1:]
    wrong = [word.replace("my_agents", "mine") for word in words]
    told = [*words, "network=linaer"]
    outcomes = run_all(tmp_path, [shortened(words), wrong, told], site=".")
    code, _, error = outcomes[0]
    assert code == 0, error
    config = yaml.safe_load((tmp_path / "tried" / "config.yaml").read_text())
    assert config["agent"]["network"]["_target_"] == "my_agents.network.LinearNetwork"
    for (code, _, error), message in zip(
        outcomes[1:], ("no module 'mine.conf' was found", "did you mean 'linear'?"), strict=True
    ):
        assert code == 2 and message in error
        assert len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_workers_find_the_package(folder: Path) -> None:
    learn = shortened(["powergrid-train", "experiment=small", "folder=taught"])
    score = shortened([*SCORED, "run=taught", "folder=far", "evaluation.num_workers=1"])
    for code, _, error in run_all(folder, [learn, score]):
        assert code == 0, error
    assert protocol_in(folder / "far")["reward"] == "my_agents.reward.CalmReward"
