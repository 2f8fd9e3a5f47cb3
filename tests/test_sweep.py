"""The W&B sweep: wandb's own agent builds the command from conf/wandb_sweep.yaml and runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SWEEP: dict[str, Any] = yaml.safe_load((ROOT / "conf" / "wandb_sweep.yaml").read_text())


def first_values() -> dict[str, Any]:
    """Return one value of each parameter of the sweep."""
    values = {}
    for name, parameter in SWEEP["parameters"].items():
        options = parameter.get("values") or [parameter.get("value", parameter.get("min"))]
        values[name] = options[0]
    return values


@pytest.mark.skipif(os.name != "posix", reason="wandb starts runs by /usr/bin/env elsewhere not")
def test_wandbs_agent_builds_and_runs_the_command(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.wandb_agent import Agent as SweepAgent  # slow to import

    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "WANDB_DIR": str(working_folder),
        "WANDB_PROJECT": "swept",
        "WANDB_RUN_ID": "",  # the agent sets these two; named here so that they are put back
        "WANDB_SWEEP_PARAM_PATH": "",
        "WANDB_SWEEP_ID": "abcdefgh",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    parameters = {**first_values(), "experiment": "debug", "logger.mode": "offline"}
    parameters["trainer.total_env_steps"] = 100

    agent: Any = SweepAgent(api=None, queue=None, sweep_id="abcdefgh")
    agent._sweep_command = list(SWEEP["command"])
    agent._command_run(
        {
            "type": "run",
            "run_id": "run12345",
            "program": SWEEP["program"],
            "args": {name: {"value": value} for name, value in parameters.items()},
        }
    )
    process: subprocess.Popen = agent._run_processes["run12345"]._popen
    assert process.wait(timeout=300) == 0
    assert isinstance(process.args, list)
    assert process.args[:4] == ["/usr/bin/env", "python", "-m", "agents.commands.train"]
    assert process.args[4:] == [f"{name}={value}" for name, value in parameters.items()]

    (run,) = (working_folder / "runs" / "debug").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["agent"]["discount"] == parameters["agent.discount"]
    assert config["agent"]["optimizer"]["lr"] == parameters["agent.optimizer.lr"]
    assert config["agent"]["network"]["_target_"].endswith("MLPNetwork")
    assert list(run.glob("wandb/offline-run-*/run-run12345.wandb"))
    metric = SWEEP["metric"]["name"]
    assert metric in (run / "metrics.csv").read_text().splitlines()[0].split(",")
