"""Checkpoints: whole or not there, plain, and clear about what is wrong."""

from __future__ import annotations

import logging
import os
import resource
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.agent import Agent, Infos
from agents.runs.checkpoints import (
    BEST,
    LATEST,
    PREVIOUS,
    CheckpointFolder,
    DamagedCheckpointError,
    read_checkpoint,
    restore_agent,
    write_checkpoint,
)


def state(number: float, size: int = 1000) -> dict[str, Any]:
    return {
        "agent": {"w": torch.full((size,), number)},
        "progress": {"env_steps": int(number), "name": "a", "none": None},
        "random": {"state": 2**120 + 1, "bytes": b"ab", "pair": (1, 2.5), "list": [True]},
    }


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "new" / "checkpoints")
    assert folder.load_latest() is None
    folder.save_latest(state(1))
    folder.save_latest(state(2))
    folder.save_best({"w": torch.ones(2)})
    loaded = folder.load_latest()
    assert loaded is not None
    assert loaded["random"] == state(2)["random"]
    assert loaded["progress"] == state(2)["progress"]
    assert torch.equal(loaded["agent"]["w"], state(2)["agent"]["w"])
    assert torch.equal(folder.load_weights("best")["w"], torch.ones(2))
    assert torch.equal(folder.load_weights("latest")["w"], loaded["agent"]["w"])
    assert sorted(path.name for path in folder.folder.iterdir()) == [BEST, PREVIOUS, LATEST]


def test_peeking_reads_once(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save_latest(state(1))
    peeked = folder.peek_latest()
    assert folder.load_latest() is peeked
    assert folder.load_latest() is not peeked


@pytest.mark.parametrize("damage", ["cut", "cut to nothing", "flipped", "other bytes"])
def test_a_damaged_newest_is_named_and_the_one_before_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save_latest(state(1))
    folder.save_latest(state(2))
    path = tmp_path / LATEST
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "cut to nothing":
        content = content[:0]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content = bytearray(b"not a checkpoint at all")
    path.unlink()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        loaded = folder.load_latest()
    assert loaded is not None
    assert loaded["progress"]["env_steps"] == 1
    assert str(path) in caplog.text
    assert "Taking the checkpoint before it" in caplog.text
    (tmp_path / PREVIOUS).unlink()
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        folder.load_latest()


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(ValueError, match=r"x\.pt does not exist"):
        read_checkpoint(path)
    torch.save({"w": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="not a checkpoint of this project"):
        read_checkpoint(path)
    torch.save(np.float64, path)  # a global that weights_only refuses to import
    with pytest.raises(ValueError, match="not a checkpoint of this project"):
        read_checkpoint(path)
    torch.save({"format": "powergrid-muzero checkpoint", "version": 99, "state": {}}, path)
    with pytest.raises(ValueError, match="checkpoint format 99"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match="was never evaluated"):
        CheckpointFolder(tmp_path).load_weights("best")


def test_whatever_is_damaged_is_named(tmp_path: Path) -> None:
    """Bytes changed anywhere: harmless, or told as what they are, never another exception."""
    path = tmp_path / "x.pt"
    write_checkpoint(path, state(1))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = np.frombuffer(whole, dtype=np.uint8).copy()
        # the directory at the end is read first, and fails in more ways
        first = rng.choice([0, len(content) - 700])
        content[rng.integers(first, len(content), size=3)] = rng.integers(256, size=3)
        path.write_bytes(content.tobytes())
        try:
            read_checkpoint(path)
        except DamagedCheckpointError as error:
            assert str(error).startswith(f"{path} is ")
            refused += 1
    assert refused > 200


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"state\['a'\]\[1\] is a numpy\.float64"):
        write_checkpoint(tmp_path / "x.pt", {"a": [1, np.float64(2.0)]})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_former_one(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save_latest(state(1))
    folder.save_latest(state(2))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    child = os.fork()
    if child == 0:  # the limit is for ever, so it is set in a process that ends
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
            try:
                folder.save_latest(state(3, size=1_000_000))
            except OSError as error:
                named = str(tmp_path / LATEST) in str(error)
                clear = "File too large" in str(error) and "untouched" in str(error)
                code = 0 if named and clear else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    loaded = folder.load_latest()
    assert loaded is not None
    assert loaded["progress"]["env_steps"] == 2


class Linear(Agent):
    """An agent with one layer."""

    def __init__(self, size: int, *, bias: bool = True) -> None:
        self.layer = torch.nn.Linear(size, 2, bias=bias)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        return np.zeros(len(observations), np.int64)

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.layer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.layer.load_state_dict(state["network"])


def test_weights_of_another_network_are_named() -> None:
    agent = Linear(3)
    restore_agent(agent, Linear(3).state_dict(), origin="it")
    with pytest.raises(
        ValueError,
        match=r"it is of another network: network\.weight is \[2, 4\] there and \[2, 3\] here",
    ):
        restore_agent(agent, Linear(4).state_dict(), origin="it")
    with pytest.raises(ValueError, match=r"network\.bias is absent there"):
        restore_agent(agent, Linear(3, bias=False).state_dict(), origin="it")
    with pytest.raises(ValueError, match=r"network\.bias is absent here"):
        restore_agent(Linear(3, bias=False), agent.state_dict(), origin="it")
