"""``python -m benchmarks.model`` on the grid, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from agents.commands.command_line import run_guarded
from agents.configuration.composition import build_agent, build_environment_factory, probe_spaces
from agents.runs.folder import RunFolder
from agents.runs.saved_configs import plain
from benchmarks import model as benchmark


def make_run(folder: Path, *overrides: str) -> Path:
    """Return the folder of a run whose agent was saved before it learned anything."""
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("train", [*overrides, f"folder={folder}"]))
    observation_space, action_space = probe_spaces(build_environment_factory(config["env"]))
    agent = build_agent(
        config["agent"], observation_space=observation_space, action_space=action_space, seed=0
    )
    with RunFolder.create(folder, config) as run:
        run.checkpoints.save_best(agent.state_dict())
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = ("experiment=debug", "wrappers=gated", "agent.network.predict_discount=true")
    return make_run(tmp_path_factory.mktemp("runs") / "grid", *overrides)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the benchmark; return its exit code, output and error."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["model", *map(str, arguments)])
        code = 0
        try:
            run_guarded(benchmark.main)
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_on_the_grid(run: Path, say: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    arguments = ("--episodes", 3, "--max-steps", 700, "--explore", 0.5, "--depth", 2)
    code, out, error = say(run, *arguments, "--scenarios", "varied", "--output", file)
    assert code == 0, error
    for part in ("value by depth k", "reward by depth k", "reliability", "ranking of actions"):
        assert part in out
    found = json.loads(out.splitlines()[-1])
    assert found == json.loads(file.read_text())
    config = found["config"]
    assert config["protocol"]["scenarios"] == "varied" and config["protocol"]["episodes"] == 3
    assert config["explore"] == 0.5 and config["depth"] == 2 and config["predict_discount"]
    assert found["terminated"] + found["truncated"] == 3 and found["terminated"] > 0
    assert found["decisions"] == found["accuracy"]["value"][0]["count"]
    assert [one["count"] for one in found["accuracy"]["value"]] == sorted(
        (one["count"] for one in found["accuracy"]["value"]), reverse=True
    )
    assert len(found["endings"]) == 2
    first = found["endings"][0]
    assert sum(one["count"] for one in first["bins"]) == found["decisions"]
    assert first["observed"] == pytest.approx(found["terminated"] / found["decisions"])
    ranking = {one["name"]: one for one in found["ranking"]}
    assert 2 < found["candidates"] < 487
    assert -1 <= ranking["model"]["correlation"] <= 1
    random = ranking["random"]["choices"]
    assert 0 < random["ends_game"] < 1 and random["regret"] > 0
    assert ranking["do nothing"]["choices"]["ends_game"] < random["ends_game"]


def test_other_runs(tmp_path: Path, say: Any) -> None:
    cart = make_run(tmp_path / "cart", "experiment=cartpole")
    code, out, error = say(cart, "--episodes", 2)
    assert code == 0, error
    assert "ranking of actions: left out" in out and "left out, the network predicts no" in out
    found = json.loads(out.splitlines()[-1])
    assert found["ranking"] is None and found["endings"] is None
    assert np.isfinite(found["accuracy"]["reward"][4]["mae"])
    code, _, error = say(cart, "--scenarios", "varied")
    assert code == 2 and "has none; leave it out" in error

    zero = make_run(tmp_path / "zero", "experiment=alphazero", "agent.search.num_simulations=2")
    code, out, error = say(zero, "--episodes", 1, "--max-steps", 600, "--decisions", 2)
    assert code == 0, error
    assert "trained no dynamics" in out and "reward by depth" not in out
    found = json.loads(out.splitlines()[-1])
    assert [one["name"] for one in found["ranking"]] == ["random", "do nothing", "prior", "search"]
    code, _, error = say(zero, "--depth", 2)
    assert code == 2 and "trained no dynamics" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "bets"], "did you mean 'best'"),
        (["--checkpoint", "latest"], "holds no checkpoint"),
        (["--split", "vall"], "did you mean 'val'"),
        (["--scenarios", "vared"], "did you mean 'varied'"),
        (["--explore", "1.5"], "expected a share"),
        (["--depth", "0"], "at least 1"),
        (["--output", "nowhere/model.json"], "nowhere cannot be written to (No such"),
    ],
)
def test_mistakes_get_one_line(run: Path, say: Any, arguments: list[str], message: str) -> None:
    code, out, error = say(run, *arguments)
    assert (code, out) == (2, "")
    assert message in error and error.count("\n") == 1


def test_runs_without_a_model_are_refused(tmp_path: Path, say: Any) -> None:
    greedy = make_run(tmp_path / "greedy", "agent=greedy")
    code, _, error = say(greedy)
    assert code == 2 and "is a run of GreedyAgent, which has no model" in error
    code, _, error = say(tmp_path / "nothing")
    assert code == 2 and "is not the folder of a run" in error
    bare = make_run(tmp_path / "bare", "experiment=alphazero", "agent.model.guidance=none")
    code, _, error = say(bare)
    assert code == 2 and "without a network" in error
