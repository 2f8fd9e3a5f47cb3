"""A --multirun: what its jobs write down, the table of its runs, and Hydra's plugins."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException

from agents.commands import entry, multirun
from agents.configuration.composed import own_configuration
from agents.configuration.override_errors import explain
from agents.runs.loggers.csv import best_logged
from tests.agents.test_commands import ROOT, TINY

SHORT = (*TINY, "trainer.total_env_steps=100", "trainer.evaluation_interval=50")
VALUES = "agent.search.num_simulations"


def table_of(command: Any, folder: Path | str) -> list[dict[str, str]]:
    """Return the rows of a multirun's table, by way of CSV."""
    outcome = command(entry.evaluate, "compare", str(folder), "--output", "table.csv")
    assert outcome.code == 0, outcome.error
    with Path("table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def in_processes(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``powergrid-train`` in a process of its own, as launchers that start more want it."""
    return subprocess.run(
        [sys.executable, "-m", "agents.commands.train", "--multirun", *SHORT, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_the_runs_of_a_multirun_make_a_table(command: Any, working_folder: Path) -> None:
    values = f"{VALUES}=2,-3,4"
    outcome = command(entry.train, "--multirun", *SHORT, values, "hydra.sweep.dir=many runs")
    assert outcome.code == 2
    assert outcome.error.splitlines()[-1] == "1 of 3 jobs failed."
    last = outcome.out.splitlines()[-1]
    assert last == "Table of the runs: powergrid-evaluate compare 'many runs'"

    rows = table_of(command, "many runs")
    assert [row[VALUES] for row in rows][-1] == "-3"
    assert {row[VALUES] for row in rows[:2]} == {"2", "4"}
    assert "must be a whole number of at least 1, got -3" in rows[-1]["run"]
    assert rows[-1]["run"].startswith("failed: ") and rows[-1]["score"] == "-"
    scores = [float(row["score"]) for row in rows[:2]]
    assert scores == sorted(scores, reverse=True)
    for row, score in zip(rows, scores, strict=False):
        best = best_logged(Path(row["run"]), "val/score")
        assert best is not None and score == pytest.approx(best, abs=5e-4)
        assert float(row["final reward"]) > 0.0
    assert "seed" not in rows[0] and "trainer.num_envs" not in rows[0]  # they do not differ

    printed = command(entry.evaluate, "compare", "many runs").out
    assert printed.startswith(f"| job | {VALUES} | score |") and rows[0]["run"] in printed


def test_the_score_is_the_best_of_the_validations(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("env_steps,val/score\n1,2.5\n2,\n3,-1.0\n")
    assert best_logged(tmp_path, "val/score") == 2.5
    assert best_logged(tmp_path, "val/reward") is None


def test_jobs_that_did_not_end_come_last(command: Any, working_folder: Path) -> None:
    begun = multirun.JobNote(working_folder, started="a", number=0, overrides=["seed=1"])
    begun.folder(working_folder / "runs" / "x")
    done = multirun.JobNote(working_folder, started="a", number=1, overrides=["++seed=2"])
    done.end(score=-5.0)
    rows = table_of(command, working_folder)
    assert [(row["job"], row["seed"], row["score"]) for row in rows] == [
        ("1", "2", "-5.000"),
        ("0", "1", "-"),
    ]
    assert rows[1]["run"] == "runs/x not ended"
    assert [job.number for job in multirun.read_jobs(working_folder, started="b")] == []


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        ("{", (), "is damaged: it is not the note of a job."),
        (json.dumps({"job": 1}), (), "is damaged: it is not the note of a job."),
        (None, (), "jobs holds no jobs."),
        (None, ("other",), "is compared alone"),
        (None, ("--across", "seed"), "is compared alone"),
    ],
)
def test_what_makes_no_table_is_one_line(
    command: Any, working_folder: Path, spoil: str | None, arguments: Any, message: str
) -> None:
    (working_folder / "m" / "jobs").mkdir(parents=True)
    if spoil is not None:
        (working_folder / "m" / "jobs" / "a_0.json").write_text(spoil)
    outcome = command(entry.evaluate, "compare", "m", *arguments)
    assert outcome.code == 2
    assert message in outcome.error and len(outcome.error.splitlines()) == 1


def test_a_sweep_is_of_several_runs(command: Any, working_folder: Path) -> None:
    outcome = command(entry.train, *SHORT, "sweep=joblib")
    assert outcome.code == 2
    assert (
        outcome.error == "sweep=joblib starts several runs: it needs powergrid-train --multirun.\n"
    )
    assert not list(working_folder.iterdir())


@pytest.mark.parametrize(
    ("option", "group", "plugin", "extra"),
    [
        ("optuna", "hydra/sweeper", "optuna", "sweeps"),
        ("joblib", "hydra/launcher", "joblib", "sweeps"),
        ("slurm", "hydra/launcher", "submitit_slurm", "slurm"),
    ],
)
def test_a_plugin_that_is_not_installed_is_named(
    option: str, group: str, plugin: str, extra: str
) -> None:
    missing = MissingConfigException("", f"{group}/{plugin}", ["basic"])
    assert explain(missing, "train", [f"sweep={option}"]) == (
        f"{group}={plugin} needs a plugin of Hydra that is not installed: "
        f"pip install 'powergrid-muzero[{extra}]'"
    )


def test_slurm_gets_what_it_is_asked_for() -> None:
    with own_configuration():
        overrides = [
            "sweep=slurm",
            "hydra.launcher.partition=gpu",
            "hydra.launcher.gpus_per_node=1",
        ]
        config = compose("train", overrides=overrides, return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.partition, launcher.gpus_per_node, launcher.timeout_min) == ("gpu", 1, 720)
    assert Plugins.instance().is_in_toplevel_plugins_module(launcher._target_)


STUDY = ("hydra.sweep.dir=study", "hydra.sweeper.n_trials=2", f"{VALUES}=choice(2,3)")


def check_study(rows: list[dict[str, str]]) -> None:
    """Compare a study's table with what Optuna wrote down."""
    assert [float(row["agent.optimizer.lr"]) > 0.0 for row in rows] == [True, True]
    best = Path("study", "optimization_results.yaml").read_text()
    assert f"best_value: {float(rows[0]['score'])}" in best
    assert f"agent.optimizer.lr: {rows[0]['agent.optimizer.lr']}" in best or (
        rows[0]["score"] == rows[1]["score"]
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Optuna loads sqlalchemy as of old
def test_optuna_makes_the_most_of_the_score(command: Any) -> None:
    done = command(entry.train, "--multirun", *SHORT, "sweep=optuna", *STUDY)
    assert done.code == 0, done.error
    check_study(table_of(command, "study"))


@pytest.mark.slow
def test_optuna_trains_several_at_a_time(command: Any) -> None:
    done = in_processes("sweep=[optuna,joblib]", "hydra.sweeper.n_jobs=2", *STUDY)
    assert done.returncode == 0, done.stderr
    check_study(table_of(command, "study"))


def test_optuna_and_joblib_are_chosen_together() -> None:
    with own_configuration():
        overrides = ["sweep=[optuna,joblib]", "hydra.sweeper.n_jobs=2"]
        config = compose("train", overrides=overrides, return_hydra_config=True)
    assert config.hydra.sweeper._target_.endswith("OptunaSweeper")
    assert config.hydra.launcher._target_.endswith("JoblibLauncher")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["sweep=joblib", "hydra/launcher=submitit_local"])
def test_jobs_of_other_processes_are_told_of(
    command: Any, working_folder: Path, launcher: str
) -> None:
    done = in_processes(launcher, "hydra.sweep.dir=many", f"{VALUES}=2,-3")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "1 of 2 jobs failed."
    assert "Traceback" not in done.stderr
    rows = table_of(command, "many")
    assert [row[VALUES] for row in rows] == ["2", "-3"]
    assert Path(rows[0]["run"], "evaluation.json").is_file()
    assert "got -3" in rows[1]["run"]


def test_slurm_is_not_here(
    command: Any, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    done = command(entry.train, "--multirun", *SHORT, "sweep=slurm", f"{VALUES}=2,3")
    assert done.code == 2
    assert done.error.splitlines()[-1] == (
        "SLURM is not here: there is no srun. Start the sweep on a node of the cluster."
    )
    assert not (working_folder / "runs").exists()
