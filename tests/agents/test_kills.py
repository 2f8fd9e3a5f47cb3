"""Kills at random times: of workers, of Ray's node, of the connection, of the command itself."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.runs.checkpoints import read_checkpoint
from tests.agents.test_commands import TINY, assert_same_weights

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20_000
LATEST = Path("checkpoints", "latest.pt")
TRAINING = (*TINY, "trainer.num_envs=4", f"trainer.total_env_steps={STEPS}")
KILLS = {  # part of a command line -> how often a process with it is killed
    "ray::_Host": 10,
    "raylet/raylet": 2,
    "gcs/gcs_server": 2,
    "agents.commands.train": 6,
}


def descendants(pid: int) -> Iterator[int]:
    """Return a process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:  # gone meanwhile
            continue
        for child in children:
            yield from descendants(int(child))


def command_line(pid: int) -> str:
    """Return a process's command line, "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def start(*words: str) -> subprocess.Popen[bytes]:
    """Start a training in this folder."""
    with Path("told.txt").open("ab") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "agents.commands.train", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=told,
            stderr=told,
            start_new_session=True,
        )


def there(process: subprocess.Popen[bytes], target: str, number: int) -> list[int]:
    """Return the processes of a training to choose from, once there is one and a checkpoint."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        told = Path("told.txt").read_text()[-3000:]
        assert process.poll() is None, f"ended before kill {number} of {target}:\n{told}"
        found = [pid for pid in descendants(process.pid) if target in command_line(pid)]
        if found and (Path("killed") / LATEST).exists():
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {target} to kill, kill {number}:\n{told}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc")
def test_twenty_kills_lose_nothing(working_folder: Path) -> None:
    alone = start(*TRAINING, "folder=alone")
    assert alone.wait(timeout=900) == 0
    rng = random.Random(0)
    targets = [target for target, times in KILLS.items() for _ in range(times)]
    rng.shuffle(targets)
    process = start(*TRAINING, "folder=killed", "trainer.num_workers=2")
    for number, target in enumerate(targets):
        time.sleep(rng.uniform(1.0, 6.0))
        os.kill(rng.choice(there(process, target, number)), signal.SIGKILL)
        if target == "agents.commands.train":
            process.wait()
            process = start("resume=killed")
    assert process.wait(timeout=900) == 0, Path("told.txt").read_text()[-3000:]
    assert read_checkpoint(Path("killed") / LATEST)["progress"]["env_steps"] >= STEPS
    assert_same_weights(Path("alone") / LATEST, Path("killed") / LATEST)
    assert not [pid for pid in descendants(process.pid) if "ray::" in command_line(pid)]
