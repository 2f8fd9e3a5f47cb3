"""Folders of a command's output: none is shared, none has two writers, none is left empty."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.runs import output_folders as folders
from agents.runs.output_folders import only_writer, output_folder


def test_commands_of_one_second_get_a_folder_each(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def write(number: int) -> Path:
        together.wait()
        with output_folder(None, parent=tmp_path / "runs" / "x") as folder:
            (folder / "result").write_text(str(number))
            together.wait()
        return folder

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(write, range(8)))
    assert len(set(made)) == 8
    assert [(folder / "result").read_text() for folder in made] == [*map(str, range(8))]
    assert all(sorted(os.listdir(folder)) == ["result"] for folder in made)


def test_a_folder_that_is_asked_for_is_had_by_one(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    folder = tmp_path / "runs" / "x"

    def write(number: int) -> str:
        together.wait()
        try:
            with output_folder(folder, parent=tmp_path):
                (folder / "result").write_text(str(number))
                return "written"
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(write, range(8)))
    assert outcomes.count("written") == 1
    refused = f"{folder} is (being written to by|not empty)"
    assert all(re.search(refused, one) for one in outcomes if one != "written")


def test_what_is_in_the_way_is_told_and_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match="is a file"),
        output_folder(tmp_path / "file", parent=tmp_path),
    ):
        pass
    with pytest.raises(ValueError, match="is not empty"), output_folder(tmp_path, parent=tmp_path):
        pass
    assert os.listdir(tmp_path) == ["file"]


def test_a_command_that_writes_nothing_leaves_nothing(tmp_path: Path) -> None:
    for asked in (tmp_path / "a" / "b", None):
        with (
            pytest.raises(KeyboardInterrupt),
            output_folder(asked, parent=tmp_path / "runs" / "x"),
        ):
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_the_second_writer_is_told_of_the_first_until_that_is_dead(tmp_path: Path) -> None:
    hold = (  # without our packages, whose import takes seconds
        "import pathlib, runpy, sys, time\n"
        "only_writer = runpy.run_path(sys.argv[1])['only_writer']\n"
        "with only_writer(pathlib.Path(sys.argv[2])): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, folders.__file__, tmp_path], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        told = rf"process {process.pid} on {socket.gethostname()}, since 20\d\d-\d\d-\d\d \d\d:\d\d"
        with pytest.raises(ValueError, match=told), only_writer(tmp_path):
            pass
        process.kill()
    with only_writer(tmp_path):  # what it left behind holds no one up
        pass
    assert os.listdir(tmp_path) == []
