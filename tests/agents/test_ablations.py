"""Ablations: every variant is one that can be trained or played, and rows are made of results."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

import agents
from agents.commands.command_line import run_guarded
from agents.configuration.composition import (
    build_agent,
    build_environment_factory,
    build_settings,
    probe_spaces,
)
from agents.evaluation import write_results
from agents.runs.saved_configs import plain
from benchmarks import ablations
from tests.agents.result_makers import result


@pytest.fixture(autouse=True)
def hydra_config() -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def spaces() -> dict[str, Any]:
    with initialize_config_module("conf", version_base="1.3"):
        env = plain(compose("train", overrides=["experiment=best"]))["env"]
    observation, action = probe_spaces(build_environment_factory(env))
    return {"observation_space": observation, "action_space": action}


@pytest.mark.parametrize("name", ablations.TRAINED)
def test_every_variant_can_be_built(name: str, spaces: dict[str, Any]) -> None:
    overrides = [*ablations.TRAINED[name], *ablations._ONE_CORE]
    config = plain(compose("train", overrides=overrides))
    build_settings(config["trainer"])
    agent = build_agent(config["agent"], **spaces, seed=0)
    assert agent.learns
    assert config["evaluation"]["interim"]["scenarios"] == "varied"


PARTS = {  # variant -> all that differs from the recipe in it
    "not_taught": {"agent.network", "agent.teacher", "agent.plan.taught_decisions"},
    "plain_months": {"env.kwargs.scenarios", "evaluation.env.scenarios"},
    "survival_reward": {
        *("env.kwargs.reward", "agent.network.value_codec", "agent.network.reward_codec"),
        "agent.search.normalization",
    },
    "little_decay": {"agent.optimizer.weight_decay"},
    "residual": {"agent.network"},
    "puct": {"agent.search"},
    "consistency": {
        *("agent.learning.consistency_weight", "agent.network.consistency_size"),
        "agent.replay.unroll_observations",
    },
    "fewer_updates": {
        *("agent.plan.updates_per_decision", "agent.plan.batch_size", "agent.unroll_steps"),
    },
    "reanalysis": {"agent.plan.reanalyse_every", "agent.plan.taught_decisions"},
    "taught_at_first": {"agent.plan.taught_decisions"},
    "per_decision": {"agent.discount", "agent.discount_unit"},
    "4_simulations": {"agent.search.num_simulations", "agent.search.max_considered"},
    "64_simulations": {"agent.search.num_simulations", "agent.search.max_considered"},
    "no_gate": {"env.kwargs.idle_gate", "evaluation.env.idle_gate"},
}
OTHER_RECIPES = {"ppo", "alphazero"}  # not the recipe with a part changed


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    """Return every value of a configuration by its dotted key."""
    if not isinstance(node, dict) or not node:
        return {path: node}
    return {
        key: value
        for name, one in node.items()
        for key, value in leaves(one, f"{path}.{name}" if path else str(name)).items()
    }


def test_each_variant_changes_the_part_it_is_named_after_and_no_other() -> None:
    def of(name: str) -> dict[str, Any]:
        return leaves(plain(compose("train", overrides=list(ablations.TRAINED[name]))))

    best = of("best")
    assert set(ablations.TRAINED) == {"best", *PARTS, *OTHER_RECIPES}
    for name, parts in PARTS.items():
        variant = of(name)
        keys = best.keys() | variant.keys()
        differing = {key for key in keys if best.get(key, "-") != variant.get(key, "-")}
        changed = {part for part in parts for key in differing if f"{key}.".startswith(f"{part}.")}
        assert changed == parts, name
        stray = {
            key for key in differing if not any(f"{key}.".startswith(f"{one}.") for one in parts)
        }
        assert not stray, name


@pytest.mark.parametrize(
    "name", [one for one in ablations.ATTACKED if not one.endswith(("_32", "_128"))]
)
def test_every_attacked_variant_decides(name: str) -> None:
    attacked = ("opponent=rte_case14", "wrappers=preventive")
    agent = agents.load("case14_robust", *attacked, *ablations.ATTACKED[name])
    env = agent.make_env(1)
    observations, infos = env.reset(seed=0)
    action = agent.act(observations, infos)
    assert infos["action_mask"][0, action[0]]
    env.close()


def test_rows_are_means_over_seeds(tmp_path: Path) -> None:
    folders = [tmp_path / "seed0", tmp_path / "seed1"]
    for folder, steps in zip(folders, [(100, 100, 100, 100), (50, 100, 100, 30)], strict=True):
        folder.mkdir()
        write_results(folder, [result(steps=steps)])
    row = ablations.decided_row("prior_alone", folders)
    assert (row["seeds"], row["steps_percent"], row["completed_percent"]) == ("2", "85.0", "75.0")
    assert float(row["mean_ms"]) > 0
    assert float(row["steps_percent_low"]) < 85.0 < float(row["steps_percent_high"])


def test_what_is_there_is_not_trained_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "puct" / "seed0").mkdir(parents=True)
    arguments = ["ablations", "train", "puct", "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        run_guarded(ablations.main)
    assert stopped.value.code == 2
    assert "exist; remove them, or keep them with --rest" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["ablations", "train", "pucs"])
    with pytest.raises(SystemExit):
        run_guarded(ablations.main)
    assert "did you mean 'puct'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_variant_is_trained_and_a_run_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From nothing to both tables, in the environment's real size but a minute of training."""
    shared = ["--results", str(tmp_path / "runs"), "--jobs", "1"]
    table = tmp_path / "trained.csv"
    monkeypatch.setattr(
        "sys.argv",
        ["ablations", "train", "best", "--minutes", "0.5", *shared, "--output", str(table)],
    )
    ablations.main()
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["variant"] == "best" and float(row["minutes"]) >= 0.5
    assert 0 < float(row["plain_steps_percent"]) <= 100
    run = str(tmp_path / "runs" / "best" / "seed0")
    table = tmp_path / "decided.csv"
    monkeypatch.setattr(
        "sys.argv",
        ["ablations", "decide", run, "--only", "prior_alone", *shared, "--output", str(table)],
    )
    ablations.main()
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["variant"] == "prior_alone" and row["seeds"] == "1"
