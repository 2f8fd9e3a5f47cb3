"""``python -m benchmarks.model`` on the grid, and what it refuses."""

from __future__ import annotations

import csv
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

NO_ATTACKS = ("--attacked-states", 0)


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
    arguments += ("--opponents", "rte_case14", "--attacked-states", 1, "--folder", tmp_path)
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
    (attacked,) = found["attacked"]
    assert (
        f"opponent rte_case14, 1 validation states of 1 episodes, list {attacked['sha256'][:12]}"
        in out
    )
    assert "loadings foreseen: n/a" in out and "endings of reckless plans" in out
    assert [one["name"] for one in attacked["ranks"]] == [
        *("look-ahead", "prior", "model", "search"),
    ]
    assert attacked["ranks"][0]["lookahead"]["median"] == pytest.approx(1.0)
    assert {one.name for one in tmp_path.iterdir()} == {
        *("attacked.csv", "endings.png", "model.json", "ranks.png"),
    }
    rows = list(csv.DictReader((tmp_path / "attacked.csv").read_text().splitlines()))
    first = rows[0]
    assert (first["measure"], first["of"]) == ("spearman_planned", "look-ahead")
    planned = attacked["ranks"][0]["planned"]["median"]
    assert float(first["value"]) == pytest.approx(planned, abs=1e-4)


def test_weights_that_ship(say: Any) -> None:
    code, out, error = say("case14", "--episodes", 1, "--max-steps", 100, *NO_ATTACKS)
    assert code == 0, error
    assert out.startswith("case14, best: ") and json.loads(out.splitlines()[-1])["attacked"] == []


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
    code, _, error = say(cart, "--only-attacked")
    assert code == 2 and "plays no power grids" in error

    zero = make_run(tmp_path / "zero", "experiment=alphazero", "agent.search.num_simulations=2")
    code, out, error = say(zero, "--episodes", 1, "--max-steps", 600, "--decisions", 2, *NO_ATTACKS)
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
        (["--folder", "nowhere"], "nowhere cannot be written to (No such"),
        (["--opponents", "rl4pcn"], "did you mean 'rl4pnc'"),
        (["--only-attacked", *map(str, NO_ATTACKS)], "which --only-attacked asks for"),
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
    assert code == 2 and "does not exist" in error and "case14" in error
    alone = tmp_path / "alone.pt"
    alone.write_bytes((greedy / "checkpoints" / "best.pt").read_bytes())
    code, _, error = say(alone)
    assert code == 2 and "is a checkpoint by itself" in error
    bare = make_run(tmp_path / "bare", "experiment=alphazero", "agent.model.guidance=none")
    code, _, error = say(bare)
    assert code == 2 and "without a network" in error
