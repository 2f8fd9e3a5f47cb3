"""Every command of the README, run literally: from a clone, and from a read-only installation.

The installation is a wheel's, in a folder that nobody may write to; its commands run in another
folder without a home, as another user when the tests run as root, who may write everywhere. Budgets
are cut short by overrides at the end of the line (``BUDGETS``), which is all that is changed. The
packages are not fetched again: they are those of this interpreter.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documented_commands import documented_commands
from tests.unprivileged import shared_python, stranger

PACKAGES = Path(sysconfig.get_path("purelib"))
COMMANDS = documented_commands(ROOT / "README.md")
TRAINED = "powergrid-train experiment=quickstart"  # what DATE stands for in later commands
SHORT = "trainer.max_minutes=0.05 evaluation.interim.episodes=1 evaluation.final.episodes=2"
LIMITS = "evaluation.interim.max_steps=20 evaluation.final.max_steps=20 evaluation.num_envs=2"
TRAINING = f"{SHORT} {LIMITS}"
BUDGETS = {  # beginning of a command -> what is added to it; the first that fits
    "powergrid-train resume=": "trainer.max_minutes=0.1",
    "powergrid-train experiment=cartpole": SHORT,
    "powergrid-train --multirun": "",
    "powergrid-train experiment=debug": "",
    "powergrid-train": TRAINING,
    "powergrid-evaluate compare": "",
    "powergrid-evaluate merge": "",
    "powergrid-evaluate": "evaluation.episodes=3 evaluation.max_steps=300",
    "python -m agents.grid2op_agent score": "--scenarios 1",
    "make train": f"ARGS='{TRAINING}'",
    "make test": "ARGS=tests/envs/test_actions.py",
}
ELSEWHERE = {  # commands that are not for this test
    "wandb sweep conf/wandb_sweep.yaml": "needs a W&B account; tests/test_sweep.py runs a sweep",
    ". .venv/bin/activate": "every command of the clone is run after it",
}

pytestmark = pytest.mark.slow


@dataclass
class Place:
    """Where commands are run."""

    folder: Path
    environment: dict[str, str]
    prefix: list[str] = field(default_factory=list)  # before each command
    before: str = ":"  # shell command before each

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, "sh", "-c", f"{self.before} && {line}"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )


def shortened(line: str) -> str:
    added = next((more for start, more in BUDGETS.items() if line.startswith(start)), "")
    return f"{line} {added}".strip()


def make_environment(folder: Path, python: str, *install: str) -> None:
    """A virtual environment with this project, and with the packages of this interpreter."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{PACKAGES}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    alone = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
    subprocess.run([*pip, *alone, *install], check=True)


def make_clone(folder: Path) -> Place:
    """A clone of the present commit, with an environment in which all is installed."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    make_environment(clone / ".venv", sys.executable, "--editable", str(clone))
    (clone / ".venv" / ".installed").touch()  # what `make setup` would do, it finds done
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "MPLBACKEND": "agg"}
    return Place(clone, environment, before=". .venv/bin/activate")


def make_installation(folder: Path) -> Place:
    """A wheel in a folder that cannot be written to, and an empty folder to run commands in."""
    python = shared_python(PACKAGES)
    source, installed, work = folder / "source", folder / "installed", folder / "work"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    make_environment(installed, python, str(source))
    shutil.rmtree(source)
    for path in (installed, *installed.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222 | 0o444)
    work.mkdir()
    temporary = folder / "temporary"
    temporary.mkdir()
    temporary.chmod(0o777)
    environment = {
        "PATH": os.pathsep.join([str(installed / "bin"), os.environ["PATH"]]),
        "HOME": "/nonexistent",
        "TMPDIR": str(temporary),
    }
    return Place(work, environment, prefix=stranger(work))


@pytest.fixture(scope="module", params=[make_clone, make_installation])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:  # outside pytest's own, which are private
        Path(folder).chmod(0o755)
        made = request.param(Path(folder))
        trained = made.run(shortened(TRAINED))
        assert trained.returncode == 0, trained.stderr
        for number, agent in enumerate(("do_nothing", "greedy")):
            played = made.run(
                f"powergrid-evaluate agent={agent} scenarios=bundled evaluation.episodes=2 "
                f"evaluation.max_steps=20 folder=result{number}"
            )
            assert played.returncode == 0, played.stderr
        yield made


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_runs(place: Place, line: str) -> None:
    if line in ELSEWHERE:
        return
    if line.startswith("make ") and not (place.folder / "Makefile").exists():
        return  # the clone's own
    (run, *_) = sorted((place.folder / "runs" / "quickstart").iterdir())
    literal = shortened(line).replace("DATE", run.name)
    for number in range(literal.count("RESULT")):
        literal = re.sub("RESULT", f"result{number}", literal, count=1)
    ended = place.run(literal)
    assert ended.returncode == 0, f"{literal}\n{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr


def test_budgets_are_of_commands_that_there_are() -> None:
    for start in BUDGETS:
        assert any(line.startswith(start) for line in COMMANDS), start
    assert set(ELSEWHERE) <= set(COMMANDS)
    assert [shlex.split(line) for line in COMMANDS]
