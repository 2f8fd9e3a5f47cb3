"""Commands without Hydra, and flags of those with it: one line with the nearest right option."""

from __future__ import annotations

import importlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.commands import entry
from agents.commands.command_line import run_guarded
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("benchmarks.grid", ["--secnods", "1"], "'--secnods'; did you mean '--seconds'?"),
        ("benchmarks.grid", ["--seconds", "0"], "--seconds: '0'; expected a finite number above 0"),
        ("benchmarks.grid", ["--seconds", "nan"], "'nan'; expected a finite number above 0"),
        ("benchmarks.grid", ["seed=1"], "unrecognized arguments: seed=1. See"),
        ("benchmarks.search", ["--batch", "0"], "'0'; expected a whole number of at least 1"),
        ("benchmarks.search", ["--threads", "9999"], "at least 1 and below 1025"),
        ("benchmarks.search", ["--with-mctx"], "did you mean '--without-mctx'?"),
        ("benchmarks.self_play", ["--envs", "3"], "--envs 3: expected an even number"),
        ("benchmarks.self_play", ["--envs", "1.5"], "'1.5'; expected a whole number of at least 2"),
        ("benchmarks.self_play", ["--experiment", "sead"], "did you mean 'seed'?"),
        ("benchmarks.self_play", ["trainer.num_env=4"], "did you mean 'trainer.num_envs'?"),
        (
            "benchmarks.self_play",
            ["trainer.num_envs=4"],
            "num_envs=4 is not used by this benchmark",
        ),
        ("benchmarks.scaling", ["--secnods", "1"], "did you mean '--seconds'?"),
        ("benchmarks.scaling", ["--experiment", "sead"], "did you mean 'seed'?"),
        ("benchmarks.scaling", ["--experiment", "ppo"], "experiment=ppo trains no MuZero"),
        ("benchmarks.curves", ["--outputt", "x"], "did you mean '--output'?"),
        ("benchmarks.curves", [], "the following arguments are required: RUN. See"),
        ("benchmarks.curves", [""], "path=''; expected some text. See"),
        ("benchmarks.seeds", ["x", "--agianst", "y"], "did you mean '--against'?"),
        ("benchmarks.ladder", ["--split", "tset"], "--split: invalid choice: 'tset'"),
        (
            "benchmarks.ladder",
            ["--agents", "gredy"],
            "unknown agent 'gredy'; did you mean 'greedy'?",
        ),
        ("benchmarks.ladder", ["--opponents", "rl4pn"], "did you mean 'rl4pnc'?"),
        ("benchmarks.ladder", ["--piece", "0"], "'0'; expected a whole number of at least 1"),
        ("benchmarks.ladder", ["--episodes", "999"], "--episodes 999: expected at most 64"),
        ("benchmarks.ladder", ["--weights", "case15"], "did you mean 'case14'?"),
        ("benchmarks.ladder", ["--runs", "nowhere"], "nowhere is not the folder of a run"),
        ("benchmarks.ladder", ["--workers", "-1"], "'-1'; expected a whole number of at least 0"),
        ("benchmarks.planner_curve", ["--opponent", "rl4pn"], "did you mean 'rl4pnc'?"),
        (
            "benchmarks.planner_curve",
            ["--first", "999999"],
            "months together, those that",
        ),
        ("benchmarks.ablations", ["trian"], "invalid choice: 'trian'"),
        ("benchmarks.ablations", ["train", "--minuts", "3"], "did you mean '--minutes'?"),
        ("benchmarks.ablations", ["train", "--minutes", "inf"], "expected a finite number above 0"),
        (
            "benchmarks.ablations",
            ["train", "pucct"],
            "unknown ablation 'pucct'; did you mean 'puct'?",
        ),
        ("benchmarks.model", ["x", "--explor", "2", "--foo"], "unknown option '--foo'"),
        (
            "benchmarks.model",
            ["x", "--episodes", "0"],
            "'0'; expected a whole number of at least 1",
        ),
        (
            "tests.envs.nightly",
            ["--state", "none"],
            "'none'; expected a whole number of at least 1",
        ),
    ],
)
def test_a_tools_mistake_is_one_line(
    module: str,
    arguments: list[str],
    message: str,
    working_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (working_folder / "docs").mkdir()  # where one of them writes
    main = importlib.import_module(module).main
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as ended:
        run_guarded(main)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert os.listdir(working_folder) == ["docs"] and not os.listdir("docs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--foo"], "unknown option '--foo'; did you mean '--info'? One of: --help"),
        (["seed=1", "--multirunn", "seed=2"], "did you mean '--multirun'?"),
        (["--cfg", "jobs"], "argument --cfg/-c: invalid choice: 'jobs'"),
        (["--cfg"], "argument --cfg/-c: expected one argument. See powergrid-"),
        (["-x", "seed=1"], "unknown option '-x'"),
        (["--config-name", "evalute"], "evalute"),
        (["seed=1", "--multirun", "seed=2"], "unrecognized arguments: seed=2. See powergrid-"),
    ],
)
def test_a_flag_that_hydra_does_not_have_is_one_line(
    command: Any, working_folder: Path, arguments: list[str], message: str
) -> None:
    for main in (entry.train, entry.evaluate):
        outcome = command(main, *arguments)
        assert outcome.code == 2
        assert message in outcome.error and outcome.error.count("\n") == 1
        assert outcome.out == "" and not os.listdir(working_folder)


def test_flags_that_hydra_has_still_work(command: Any) -> None:
    outcome = command(entry.evaluate, "--cfg", "job", "--package", "evaluation", "agent=greedy")
    assert outcome.code == 0 and "num_envs: 16" in outcome.out and outcome.error == ""


@pytest.mark.skipif(not hasattr(select, "poll"), reason="pipes are broken otherwise on Windows")
@pytest.mark.parametrize(
    ("task", "code", "said"),
    [
        ("lambda: print('x' * 1_000_000)", 141, ""),  # at the print, which fills the pipe
        ("lambda: print('x')", 141, ""),  # at the end
        ("lambda: (print('x'), sys.exit(0))", 141, ""),
        ("lambda: os.write(other, b'x')", 1, "[Errno 32] Broken pipe\n"),  # not what is printed to
    ],
)
def test_a_reader_that_leaves_ends_a_command_silently(task: str, code: int, said: str) -> None:
    reads, writes = os.pipe()
    if leaves := "other" not in task:
        os.close(reads)
    program = (
        "import os, sys; from agents.commands.command_line import run_guarded; "
        "read, other = os.pipe(); os.close(read); "
        f"run_guarded({task})"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writes,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writes)
    if not leaves:
        os.close(reads)
    assert (ended.returncode, ended.stderr) == (code, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_output_that_cannot_be_written_is_one_line() -> None:
    program = (
        "from agents.commands.command_line import run_guarded; run_guarded(lambda: print('x'))"
    )
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (ended.returncode, ended.stderr) == (1, "[Errno 28] No space left on device\n")
