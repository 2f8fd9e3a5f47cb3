"""Learning curves read from what a run logged."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from agents.runs.loggers import RunInfo
from agents.runs.loggers.csv import CsvLogger
from benchmarks import curves


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder: rows of training, and two evaluations between them."""
    folder = tmp_path / "runs" / "seed0"
    folder.mkdir(parents=True)
    logger = CsvLogger(run=RunInfo(name="x", folder=folder, config={}, total_env_steps=2000))
    for round_, survived in ((1, 62.5), (2, 100.0)):
        progress = {"progress/decisions": 64 * round_, "progress/minutes": 0.5 * round_}
        logger.log(progress, env_steps=1000 * round_)
        evaluation = {
            "val/steps_percent": survived,
            "val/completed_percent": survived / 2,
            "val/decisions": 7.25,
            "val/mean_distance": 2.0,
        }
        logger.log(evaluation, env_steps=1000 * round_ + 100)
    logger.close()
    return folder


def test_each_evaluation_has_the_decisions_and_minutes_before_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curves.read_curve(run) == [
        curves.Point(1100, 64, 0.5, 62.5, 31.25, 7.25, 2.0),
        curves.Point(2100, 128, 1.0, 100.0, 50.0, 7.25, 2.0),
    ]
    monkeypatch.setattr("sys.argv", ["curves", str(run), "--output", str(tmp_path / "out")])
    curves.main()
    with (tmp_path / "out" / "validation_seed0.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["steps_percent"] for row in rows] == ["62.5", "100.0"]
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary == {
        "runs": 1,
        "last_steps_percent": 100.0,
        "last_completed_percent": 50.0,
        "minutes": 1.0,
    }


def test_what_is_missing_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metrics.csv does not exist"):
        curves.read_curve(tmp_path)
    (run / "metrics.csv").write_text("env_steps,progress/minutes\n5,0.1\n")
    with pytest.raises(ValueError, match="no evaluation yet"):
        curves.read_curve(run)
