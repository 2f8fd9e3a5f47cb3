"""Run folders and loggers: nothing overwritten, nothing lost, nothing twice after a resume."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.loggers import CompositeLogger
from agents.loggers import CsvLogger
from agents.loggers import ProgressLogger
from agents.loggers import RunInfo
from agents.loggers import WandbLogger
from agents.runs import RunFolder


def info(folder: Path, *, resumed_at: int | None = None) -> RunInfo:
    return RunInfo(
        name="test", folder=folder, config={"a": 1}, total_env_steps=100, resumed_at=resumed_at
    )


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_run_folder_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "x"
    config = {"name": "test", "seed": 3, "nested": {"list": [1, None]}}
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
    (path / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="not readable as YAML"):
        RunFolder.open_existing(path).load_config()


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


def test_wandb_writes_offline_without_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")  # what is configured counts
    for _ in range(2):  # a resumed run keeps its id
        logger = WandbLogger(run=info(tmp_path), mode="offline")
        logger.log({"train/loss": 1.0}, env_steps=10)
        logger.log_histogram("actions", np.arange(1000), env_steps=10)
        logger.close()
        logger.close()
    name = (tmp_path / "wandb_id.txt").read_text().strip()
    assert list((tmp_path / "wandb").glob(f"offline-run-*/run-{name}.wandb"))


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
    with pytest.raises(ValueError, match="did you mean 'offline'"):
        WandbLogger.preflight(mode="ofline")


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
