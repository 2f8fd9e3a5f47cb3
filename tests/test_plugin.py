"""A package outside this repository brings an agent and its configuration, and is trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "lever-agent"
version = "1.0"

[project.entry-points."powergrid_muzero.conf"]
lever = "lever_agent.conf"

[tool.setuptools]
packages = ["lever_agent", "lever_agent.conf"]

[tool.setuptools.package-data]
"lever_agent.conf" = ["**/*.yaml"]
"""

AGENT = '''
"""Learns which of its levers pays, by trying each in turn."""

import numpy as np
import torch

from agents import Agent


class LeverAgent(Agent):
    def __init__(self, *, observation_space, action_space, seed, optimism):
        self.values = torch.full((int(action_space.n),), float(optimism))

    def act(self, observations, infos, active=None):
        return np.full(len(observations), int(self.values.argmax()), dtype=np.int64)

    def train(self, run):
        env = run.make_environment(run.settings.num_envs)
        env.reset(seed=run.seed)
        steps = 0
        while steps < run.settings.total_env_steps:
            action = steps // run.settings.num_envs % len(self.values)
            _, rewards, *_ = env.step(np.full(env.num_envs, action))
            self.values[action] += float(rewards.mean())
            steps += env.num_envs
        run.logger.log({"train/best_value": float(self.values.max())}, env_steps=steps)
        run.logger.log(run.evaluate(self), env_steps=steps)
        run.checkpoints.save_best(self.state_dict())
        run.checkpoints.save_latest({"agent": self.state_dict()})
        env.close()

    def state_dict(self):
        return {"values": self.values}

    def load_state_dict(self, state):
        self.values = state["values"]
'''

CONFIG = """
_target_: lever_agent.LeverAgent
optimism: 1.5
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the outside package was installed as pip does it."""
    source = tmp_path_factory.mktemp("lever")
    package = source / "lever_agent"
    (package / "conf" / "agent").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text(AGENT)
    (package / "conf" / "__init__.py").write_text("")
    (package / "conf" / "agent" / "lever.yaml").write_text(CONFIG)
    target = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*install, "--no-build-isolation", "--target", str(target), str(source)],
        check=True,
        capture_output=True,
    )
    return target


def command(module: str, site: Path, folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_an_outside_agent_is_trained_and_evaluated(site: Path, tmp_path: Path) -> None:
    out = command(
        "agents.train",
        site,
        tmp_path,
        "agent=lever",
        "agent.optimism=2.5",
        "env=cartpole",
        "logger=csv",
        "folder=run",
        "trainer.total_env_steps=40",
        "trainer.num_envs=2",
        "evaluation.interim.episodes=2",
        "evaluation.final.episodes=2",
    )
    rows = [line.split() for line in out.splitlines() if line.startswith(("lever", "random"))]
    assert [row[0] for row in rows] == ["random", "lever"]
    metrics = (tmp_path / "run" / "metrics.csv").read_text()
    assert "train/best_value" in metrics
    assert "12.5" in metrics  # 2.5 and ten steps of reward 1 for each of the two levers
    out = command(
        "agents.evaluate", site, tmp_path, "run=run", "evaluation.episodes=2", "checkpoint=latest"
    )
    assert any(line.startswith("lever") for line in out.splitlines())


def test_its_mistakes_are_named_like_our_own(site: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "agents.train", "agent=levr", "env=cartpole"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "unknown agent 'levr'; did you mean 'lever'?" in result.stderr
