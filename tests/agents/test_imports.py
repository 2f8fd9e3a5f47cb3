"""What importing and asking for help loads, and training without any power grid software."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAVY = ("torch", "numba", "grid2op", "lightsim2grid", "matplotlib", "wandb", "pydantic")


def run(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("package", ["agents", "envs", "powergrid_muzero"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    ended = run(f"import sys, {package}; print([m for m in {HEAVY} if m in sys.modules])")
    assert ended.stdout == "[]\n", ended.stderr


def test_every_public_name_is_there() -> None:
    code = (
        "import agents, envs\n"
        "for package in (agents, envs): [getattr(package, name) for name in package.__all__]\n"
        "print('ok')"
    )
    assert run(code).stdout == "ok\n"


@pytest.mark.parametrize("command", ["train", "evaluate", "actions"])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        "import atexit, sys, powergrid_muzero\n"
        f"atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules]))\n"
        f"powergrid_muzero.{command}()"
    )
    ended = run(code, "--help")
    assert ended.returncode == 0, ended.stderr
    assert any(word in ended.stdout for word in ("experiment", "split", "mine"))
    assert ended.stdout.endswith("[]\n")


def test_cartpole_trains_where_no_power_grid_software_is_installed(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('grid2op', 'lightsim2grid'): sys.modules[name] = None\n"
        "import powergrid_muzero; powergrid_muzero.train()"
    )
    ended = run(
        code,
        *("experiment=cartpole", "folder=run", "logger=csv"),
        *("trainer.total_env_steps=64", "trainer.num_envs=2", "trainer.envs_per_group=2"),
        *(
            "agent.search.num_simulations=2",
            "agent.plan.batch_size=8",
            "agent.plan.learning_starts=32",
        ),
        *("evaluation.interim.episodes=1", "evaluation.final.episodes=1"),
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "evaluation.json").is_file()
