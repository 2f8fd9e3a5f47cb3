"""Run folders and loggers: nothing overwritten, nothing lost, nothing twice after a resume."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from agents.commands.wandb_agent import environment_of_runs
from agents.runs.folder import RunFolder
from agents.runs.loggers import CompositeLogger, CsvLogger, ProgressLogger, RunInfo, WandbLogger
from agents.runs.saved_configs import plain
from tests.agents.wandb_records import artifacts, summary


def info(folder: Path, *, resumed_at: int | None = None) -> RunInfo:
    return RunInfo(
        name="test", folder=folder, config={"a": 1}, total_env_steps=100, resumed_at=resumed_at
    )


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_run_folder_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "x"
    parts = ("trainer", "evaluation", "env", "agent", "logger")
    config = {"name": "test", "seed": 3, **{part: {"list": [1, None]} for part in parts}}
    with RunFolder.create(path, config, command=["powergrid-train"]) as run:
        assert run.path == path
    assert {one.name for one in path.iterdir()} == {"config.yaml", "run.json"}
    assert RunFolder.open_existing(path).load_config() == config
    with pytest.raises(ValueError, match=f"not empty.*resume={path}"), RunFolder.create(path, {}):
        pass
    with pytest.raises(ValueError, match="does not exist"):
        RunFolder.open_existing(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"holds no config\.yaml"):
        RunFolder.open_existing(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: "a: [", "not readable as YAML"),
        (lambda text: "\x80" + text, "not readable as YAML"),
        (lambda text: "- 1", "not the configuration of a run"),
        (lambda text: "", "not the configuration of a run"),
        (lambda text: text[: text.index("evaluation")], "cut short: it lacks evaluation, env"),
        (lambda text: text[: text.rindex("list")], "cut short: its last line, '...', is absent"),
    ],
)
def test_a_damaged_configuration_is_told(tmp_path: Path, spoil: Any, message: str) -> None:
    parts = {part: {"list": 1} for part in ("trainer", "evaluation", "env", "agent", "logger")}
    with RunFolder.create(tmp_path / "run", {"name": "test", "seed": 0, **parts}) as run:
        path = run.path / "config.yaml"
        path.write_text(spoil(path.read_text()), encoding="latin-1")
        with pytest.raises(ValueError, match=f"^{path} is .*{message}"):
            run.load_config()


def test_a_resume_sweeps_what_a_kill_left(tmp_path: Path) -> None:
    parts = (tmp_path / ".config.yaml.x.part", tmp_path / "checkpoints" / ".latest.pt.y.part")
    link = tmp_path / "checkpoints" / ".link.z.part" / "latest.previous.pt"
    evaluated = tmp_path / "evaluation" / "today" / ".evaluation.json.x.part"  # by another command
    for path in (*parts, link, evaluated):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    (tmp_path / "checkpoints" / "latest.pt").write_text("whole")
    with RunFolder(tmp_path).resume():
        left = sorted(
            str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()
        )
    assert left == [
        *(".writer.json", ".writer.lock", "checkpoints/latest.pt"),
        str(evaluated.relative_to(tmp_path)),
    ]


def test_a_configuration_of_an_older_release_loses_what_is_gone(tmp_path: Path) -> None:
    network = {"_target_": "agents.muzero.networks.residual.ResidualNetwork", "hidden_size": 8}
    search = {"_target_": "agents.muzero.search.puct.PUCTSearch"}
    agent = {
        "network": {**network, "symlog_observations": False},
        "search": {**search, "reuse_subtree": False},
    }
    config = {"name": "old", "seed": 0, "trainer": {}, "evaluation": {}, "env": {}, "logger": {}}
    with RunFolder.create(tmp_path / "old", {**config, "agent": agent}) as run:
        assert run.load_config() == {**config, "agent": {"network": network, "search": search}}
    agent["network"]["symlog_observations"] = True
    with (
        RunFolder.create(tmp_path / "unlike", {**config, "agent": agent}) as run,
        pytest.raises(ValueError, match=r"config\.yaml: agent\.network\.symlog_\w+=True: "),
    ):
        run.load_config()


@pytest.mark.parametrize("flow", [True, False])
def test_options_that_became_the_networks_own_move_there(tmp_path: Path, flow: bool) -> None:
    former = "agents.muzero.networks." + ("flow.FlowNetwork" if flow else "mlp.MLPNetwork")
    agent = {
        "network": {"_target_": former, "hidden_size": 8},
        "plan": {"outlooks": 8, "batch_size": 4},
        "learning": {"outlook_weight": 0.5, "l2": 0.0},
        "teacher": {"_target_": "agents.muzero.teacher.LookaheadTeacher", "lead": 0.5},
    }
    moved = {"lookaheads": 8, "lookahead_weight": 0.5} if flow else {}
    present = "agents.power_grid.flow.FlowNetwork" if flow else former
    config = {"name": "old", "seed": 0, "trainer": {}, "evaluation": {}, "env": {}, "logger": {}}
    with RunFolder.create(tmp_path / "old", {**config, "agent": agent}) as run:
        assert run.load_config()["agent"] == {
            "network": {"_target_": present, "hidden_size": 8, **moved},
            "plan": {"batch_size": 4},
            "learning": {"l2": 0.0},
            "teacher": {
                "_target_": "agents.power_grid.lookahead_teacher.LookaheadTeacher",
                "lead": 0.5,
            },
        }


def test_csv_columns_grow_and_a_resume_cuts(tmp_path: Path) -> None:
    logger = CsvLogger(run=info(tmp_path))
    logger.log({"a": 1.5}, env_steps=10)
    logger.log({"b": 2}, env_steps=20)
    logger.log_histogram("h", np.array([0, 3, 0, 1]), env_steps=20)
    logger.log({"a": 3, "c": float("nan")}, env_steps=30)
    logger.log_histogram("h", np.array([1]), env_steps=30)
    found = rows(tmp_path / "metrics.csv")
    assert found[0] == {"env_steps": "10", "a": "1.5", "b": "", "c": ""}
    assert found[1] == {"env_steps": "20", "a": "", "b": "2", "c": ""}
    assert found[2] == {"env_steps": "30", "a": "3", "b": "", "c": "nan"}

    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("40,")  # cut short by a kill
    logger = CsvLogger(run=info(tmp_path, resumed_at=20))
    assert [row["env_steps"] for row in rows(tmp_path / "metrics.csv")] == ["10", "20"]
    assert [row["bin"] for row in rows(tmp_path / "histograms.csv")] == ["1", "3"]
    logger.log({"c": 4}, env_steps=30)
    assert rows(tmp_path / "metrics.csv")[2] == {"env_steps": "30", "a": "", "b": "", "c": "4"}


@pytest.mark.parametrize("name", ["metrics.csv", "histograms.csv"])
@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        (b"10,1.5\n20,2.5\n", "its first line names no column env_steps"),
        (bytes(range(256)), "codec can't decode"),
        (b"\0\0\n\0", "is damaged"),
        (b"env_steps,a\n10,1.5\nten,1\n", "'ten,1' is no row of 2 figures"),
        (b"env_steps,a\n10\n20,1\n", "'10,None' is no row of 2 figures"),
        (b"env_steps,a\n10,1,2\n20,1\n", "is no row of 2 figures"),
    ],
)
def test_a_damaged_log_is_told_and_kept(
    tmp_path: Path, name: str, spoilt: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(spoilt)
    with pytest.raises(ValueError, match=f"^{tmp_path / name} is damaged: .*Move it away") as told:
        CsvLogger(run=info(tmp_path, resumed_at=20))
    assert problem in str(told.value)
    assert (tmp_path / name).read_bytes() == spoilt


@pytest.mark.parametrize("name", ["metrics.csv", "histograms.csv"])
def test_a_log_that_cannot_be_written_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = CsvLogger(run=info(tmp_path))
    logger.log({"a": 1}, env_steps=1)
    logger.log_histogram("h", np.array([1]), env_steps=1)
    open_file = Path.open

    def on_a_full_disk(path: Path, *arguments: Any, **options: Any) -> Any:
        return open_file(Path("/dev/full") if path.name == name else path, *arguments, **options)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / name}'"):
        logger.log({"a": 2}, env_steps=2)
        logger.log_histogram("h", np.array([1]), env_steps=2)


@pytest.mark.parametrize(
    ("shell", "overrides", "mode"),
    [
        (None, [], "offline"),
        ("disabled", [], "disabled"),
        ("disabled", ["logger.mode=online"], "online"),
    ],
)
def test_the_shells_wandb_mode_counts_unless_one_is_set(
    monkeypatch: pytest.MonkeyPatch, shell: str | None, overrides: list[str], mode: str
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    if shell is not None:
        monkeypatch.setenv("WANDB_MODE", shell)
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("train", ["logger=wandb", *overrides]))
    assert config["logger"]["mode"] == mode


def test_wandb_writes_offline_without_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")  # what is configured counts
    for _ in range(2):  # a resumed run keeps its id
        logger = WandbLogger(run=info(tmp_path), mode="offline")
        logger.log({"train/loss": 1.0}, env_steps=10)
        logger.log_histogram("actions", np.arange(1000), env_steps=10)
        logger.close()
        logger.close()
    assert "logger.mode=offline is used, not WANDB_MODE=online of the shell" in caplog.text
    name = (tmp_path / "wandb_id.txt").read_text().strip()
    assert list((tmp_path / "wandb").glob(f"offline-run-*/run-{name}.wandb"))


def test_wandb_keeps_the_best_score_tables_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    weights = tmp_path / "best.pt"
    weights.write_text("weights")
    logger = CompositeLogger([WandbLogger(run=info(tmp_path))])
    for step, score in enumerate((0.1, 0.9, 0.4)):
        logger.log({"val/score": score, "other": score}, env_steps=step)
    logger.log_table("val/episodes", ("agent", "attacks"), [("a", 1), ("b", None)], env_steps=2)
    logger.keep_files("best", [weights], kind="model")
    logger.close()
    found = summary(tmp_path)
    assert found["val/score|max"] == 0.9
    assert found["other"] == 0.4
    assert found["val/episodes|nrows"] == 2
    kept = artifacts(tmp_path)
    assert kept["model"] == {"best.pt"} and kept["run_table"] == {"val/episodes.table.json"}


def test_runs_of_a_sweep_use_the_interpreter_of_its_agent(tmp_path: Path) -> None:
    environment = environment_of_runs({"PATH": os.defpath}, Path(sys.executable))
    asked = ["/usr/bin/env", "python", "-c", "import sys; print(sys.prefix)"]
    told = subprocess.run(asked, env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == sys.prefix
    with pytest.raises(ValueError, match="none beside"):
        environment_of_runs({}, tmp_path / "python3.11")


def test_wandb_online_without_a_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_IDENTITY_TOKEN_FILE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ValueError, match="wandb login"):
        WandbLogger.preflight(mode="online")
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0123\n")
    WandbLogger.preflight(mode="online")
    with pytest.raises(ValueError, match=r"logger\.mode .*WANDB_MODE.* did you mean 'offline'"):
        WandbLogger.preflight(mode="ofline")
    WandbLogger.preflight(mode="dryrun")  # as W&B's own mode was called


def test_progress_shows_what_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = ProgressLogger(run=info(tmp_path), show={"loss": "train/total", "alive": "survived"})
    with caplog.at_level("INFO"):
        logger.log({"train/total": 0.123456, "other": 1}, env_steps=10)
        logger.log({"other": 1}, env_steps=20)
        logger.log({"survived": 1.0}, env_steps=30)
    assert caplog.messages == [
        "10 of 100 steps: loss 0.1235",
        "30 of 100 steps: loss 0.1235, alive 1",
    ]


@pytest.mark.parametrize(
    ("max_minutes", "minutes", "told"),
    [
        (None, 5.0, "20,000 of 100,000 steps, about 20 min left"),
        (8.0, 0.5, "20,000 of 100,000 steps, about 2 min left"),  # 20 % of the steps, 6 % of both
        (8.0, 7.5, "7.5 of 8 minutes, 30 s left"),
        (240.0, 60.0, "60.0 of 240 minutes, 3 h 00 min left"),
    ],
)
def test_progress_counts_what_ends_the_run(
    max_minutes: float | None,
    minutes: float,
    told: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = replace(info(tmp_path), total_env_steps=100_000, max_minutes=max_minutes)
    logger = ProgressLogger(run=run, show={"loss": "loss"})
    with caplog.at_level("INFO"):
        logger.log({"loss": 1.0, "progress/minutes": minutes}, env_steps=20_000)
    assert caplog.messages == [f"{told}: loss 1"]
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = ProgressLogger(run=run, show={"loss": "loss"})
    bar.log({"loss": 1.0, "progress/minutes": minutes}, env_steps=20_000)
    bar.close()
    assert f"| {told}, loss=1" in terminal.getvalue()


def test_a_composite_passes_on_and_closes_all(tmp_path: Path) -> None:
    class Broken(CsvLogger):
        def close(self, *, failed: bool = False) -> None:
            raise OSError("disk full")

    closed: list[Any] = []

    class Last(CsvLogger):
        def close(self, *, failed: bool = False) -> None:
            closed.append(failed)

    logger = CompositeLogger([Last(run=info(tmp_path)), Broken(run=info(tmp_path))])
    logger.log({"a": 1}, env_steps=5)
    logger.log({"a": 1}, env_steps=3)
    assert logger.env_steps == 5
    with pytest.raises(OSError, match="disk full"):
        logger.close(failed=True)
    assert closed == [True]
