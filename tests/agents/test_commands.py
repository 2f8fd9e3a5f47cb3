"""The two commands: from the command line to the table, and one clear line for each mistake."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.commands import entry
from agents.evaluation import read_results
from agents.runs.checkpoints import CheckpointFolder, read_checkpoint
from agents.runs.output_folders import only_writer
from tests.agents.command_runs import trained_in

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "experiment=cartpole",
    "logger=csv",
    "trainer.total_env_steps=200",
    "trainer.num_envs=2",
    "trainer.envs_per_group=2",
    "trainer.evaluation_interval=100",
    "trainer.checkpoint_interval=100",
    "trainer.log_interval=50",
    "evaluation.num_envs=2",
    "evaluation.interim.episodes=2",
    "evaluation.final.episodes=2",
    "agent.search.num_simulations=2",
    "agent.network.hidden_size=8",
    "agent.plan.batch_size=8",
    "agent.plan.learning_starts=20",
    "agent.plan.updates_per_decision=0.1",
)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# mistakes ------------------------------------------------------------------------------------

MISTAKES = [
    (("agent=muzeroo",), "unknown agent 'muzeroo'; did you mean 'muzero'?"),
    (("network=mpl",), "unknown network 'mpl'; did you mean 'mlp'?"),
    (("search=gumble",), "unknown search 'gumble'; did you mean 'gumbel'?"),
    (("scenarios=recombine",), "unknown scenarios 'recombine'; did you mean 'recombined'?"),
    (("reward=l2rpm",), "unknown reward 'l2rpm'; did you mean 'l2rpn'?"),
    (("observation=feature",), "unknown observation 'feature'; did you mean 'features'?"),
    (("experiment=quikstart",), "unknown experiment 'quikstart'; did you mean 'quickstart'?"),
    (("agnt=muzero",), "unknown configuration key 'agnt'; did you mean 'agent'?"),
    (("actions=case36",), "key 'actions'; did you mean 'env.kwargs.actions'?"),
    (("agent.num_envs=3",), "'trainer.num_envs'? One of: trainer.num_envs, evaluation.num_envs"),
    (("trainer.total_env_step=3",), "did you mean 'trainer.total_env_steps'?"),
    (("env.kwargs.idle_gat=3",), "did you mean 'env.kwargs.idle_gate'?"),
    (("agent@env.baselines.expert=expert",), "put + before it to add it"),
    (("env.kwargs.reward=l2rpm",), "unknown reward 'l2rpm'; did you mean 'l2rpn'?"),
    (("env.kwargs.observation=ful",), "unknown observation 'ful'; did you mean 'full'?"),
    (("+env.kwargs.colour=red",), "colour"),
    (("env.wrappers={mine: 3}",), "env.wrappers has no such entries: put + before it to add them"),
    (("agent.search.num_simulations=0",), "num_simulations"),
    (("agent/teacher=lookahed",), "unknown agent/teacher 'lookahed'; did you mean 'lookahead'?"),
    (("experiment=cartpole", "network=flow"), "has none; choose network=residual or network=mlp"),
    (("agent/teacher=lookahead",), "nothing to teach with agent.plan.taught_decisions=0"),
    (("agent.plan.taught_decisions=9",), "taught_decisions=9 needs a teacher: set agent/teacher="),
    (
        ("experiment=cartpole", "agent/teacher=lookahead", "agent.plan.taught_decisions=9"),
        "looks ahead in PowerGrid-v0 only; this environment is CartPoleEnv: set agent/teacher=none",
    ),
    (
        ("agent/teacher=lookahead", "agent.plan.taught_decisions=9", "agent.teacher.lead=1.5"),
        "agent.teacher.lead must be 0 to 1, got 1.5",
    ),
    (
        ("agent/teacher=lookahead", "agent.plan.taught_decisions=9", "agent.teacher.leed=1"),
        "did you mean 'agent.teacher.lead'?",
    ),
    (("trainer.num_envs=0",), "trainer.num_envs=0"),
    (
        ("experiment=alphazero", "evaluation.final.gif=true"),
        "evaluation.final.gif=true draws a single environment",
    ),
    (("agent.learning.batch_size=8", "seed=1"), "did you mean 'agent.plan.batch_size'?"),
    (("trainer.total_env_steps=many",), "trainer.total_env_steps='many'"),
    (("trainer.device=gpu",), "device"),
    (("agent=greedy",), "agent greedy learns nothing: play it with powergrid-evaluate"),
    (("env=cartpole", "agent=random"), "agent random learns nothing"),
    (("evaluation.split=validation",), "did you mean 'val'?"),
    (("evaluation.num_envs=0",), "evaluation.num_envs=0; expected a whole number of at least 1"),
    (("agent._target_=agents.muzero.Agent",), "agents.muzero.Agent"),
    (("scenarios=dataset", "env.kwargs.scenario_folder=nowhere"), "nowhere"),
    (("resume=nowhere",), "nowhere is not the folder of a run"),
    (("logger.mode=onlin",), "did you mean 'online'?"),
    (("logger.mode=online",), "logger.mode=online needs a W&B key"),
    (("seed",), "cannot read the argument 'seed'"),
    (("seed=${nothing}",), "seed: Interpolation key 'nothing' not found"),
    (("trainer.num_envs=${oc.env:NOT_SET}",), "trainer.num_envs: "),
    (("trainer.max_minutes=null", "logger=null"), "logger=null: expected an option of this group"),
    (("opponent={kind:random}",), "opponent={kind:random}: expected an option of this group"),
    (
        ("experiment=cartpole", "+env.simulator=lightsim2grid"),
        "plays PowerGrid-v0, not CartPole-v1",
    ),
    (("search=3",), "search=3: expected an option of this group"),
    (("=3",), "cannot read the argument '=3': expected key=value"),
    ((f"resume={__file__}",), "is not the folder of a run: it is a file"),
    (("experiment=debug", "~agent"), "~agent takes away what network is part of; leave it out."),
    (
        ("trainer.num_envs=${evaluation.num_envs}", "trainer.envs_per_group=3"),
        "trainer.num_envs=4 is not a multiple of trainer.envs_per_group=3",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_gets_one_line_and_leaves_nothing(
    command: Any,
    working_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    for variable in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NETRC", str(working_folder / "no-netrc"))
    outcome = command(entry.train, *arguments)
    assert outcome.code == 2
    assert message in outcome.error
    assert len(outcome.error.strip().splitlines()) == 1
    assert "Traceback" not in outcome.out
    assert files(working_folder) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "agent muzero needs weights: add run=FOLDER"),
        (("agent=gredy",), "unknown agent 'gredy'; did you mean 'greedy'?"),
        (("agent=random", "checkpoint=newest"), "checkpoint='newest'; expected best or latest"),
        (("run=nowhere",), "nowhere is not the folder of a run"),
        (("agent=random", "checkpoint=latest"), "checkpoint=latest is one of the folder of a run"),
        (("agent=random", "+trainer.num_envs=3"), "unknown configuration key 'trainer.num_envs'"),
        (("agent=random", "evaluation.episode=1"), "did you mean 'evaluation.episodes'?"),
        (
            ("agent=greedy2", "evaluation.gif=true", "evaluation.episodes=1"),
            "evaluation.gif=true draws a single environment, which does not go here",
        ),
        (("agent=greedy", "env=cartpole", "evaluation.episodes=1"), "plays PowerGrid-v0 only"),
        (
            ("agent=random", "env=cartpole"),
            "evaluation.episodes=null: environment CartPole-v1 has no",
        ),
    ],
)
def test_mistakes_of_the_evaluation(
    command: Any, working_folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    outcome = command(entry.evaluate, *arguments)
    assert outcome.code == 2
    assert message in outcome.error
    assert len(outcome.error.strip().splitlines()) == 1
    assert files(working_folder) == []


def test_the_traceback_is_there_when_asked_for(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match=r"trainer\.num_envs=0"):
        command(entry.train, "trainer.num_envs=0")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


@pytest.mark.parametrize(
    "name", ["agents", *(pytest.param(one, marks=pytest.mark.slow) for one in ("envs", "conf"))]
)
def test_another_projects_packages_are_named(working_folder: Path, name: str) -> None:
    shadow = working_folder / name / "__init__.py"
    shadow.parent.mkdir()
    shadow.write_text("")
    starts = [
        f"import sys; sys.path.append({str(ROOT)!r}); from powergrid_muzero import train; train()"
    ]
    if name != "agents":  # else Python starts the other project's
        starts.append(
            f"import sys; sys.path.append({str(ROOT)!r}); "
            "from agents.commands import entry; entry.train()"
        )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for start in starts:
        result = subprocess.run(
            [sys.executable, "-c", start], capture_output=True, text=True, env=environment
        )
        assert result.returncode != 0
        last = result.stderr.strip().splitlines()[-1]
        assert f"the name {name!r} is taken by {shadow}" in last
        assert str(ROOT / name) in last
    assert files(working_folder) == [name, f"{name}/__init__.py"]


# the whole way -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short, finished run."""
    return trained_in(tmp_path_factory.mktemp("trained"), *TINY)


def test_a_run_writes_everything(trained: Path) -> None:
    for name in (
        "config.yaml",
        "run.json",
        "metrics.csv",
        "histograms.csv",
        "evaluation.json",
        "evaluation.csv",
        "train.log",
        "checkpoints/latest.pt",
        "checkpoints/best.pt",
    ):
        assert (trained / name).is_file(), name
    assert not (trained / "wandb").exists()
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    assert any(row["val/score"] for row in rows)
    assert any(row["train/total"] for row in rows)
    assert any(row["final/random/reward"] for row in rows)
    assert files(trained.parent)[0] == "run"  # nothing beside the run's own folder


def test_evaluations_may_play_another_environment(command: Any, working_folder: Path) -> None:
    only_there = "+evaluation.env.max_episode_steps=5"
    outcome = command(entry.train, *TINY, only_there, "folder=run")
    assert outcome.code == 0, outcome.error
    text = (working_folder / "run" / "metrics.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    interim = [float(row["val/episode_steps"]) for row in rows if row["val/episode_steps"]]
    final = [float(row[key]) for row in rows if row[key := "final/muzero/episode_steps"]]
    played = [float(row[key]) for row in rows if row[key := "self_play/episode_steps"]]
    assert interim and final and max(interim + final) == 5.0
    assert max(played) > 5.0


def test_a_full_folder_is_refused(command: Any, trained: Path) -> None:
    before = files(trained)
    outcome = command(entry.train, *TINY, f"folder={trained}")
    assert outcome.code == 2
    assert "is not empty. Name another with folder=..." in outcome.error
    assert f"continue the run in it with resume={trained}" in outcome.error
    outcome = command(entry.train, *TINY, f"hydra.run.dir={trained}")
    assert outcome.code == 2
    assert "is not empty" in outcome.error
    assert files(trained) == before


def test_a_run_in_use_is_read_but_not_written_to(
    command: Any, trained: Path, working_folder: Path
) -> None:
    shutil.copytree(trained, working_folder / "run")
    before = files(working_folder / "run")
    with only_writer(working_folder / "run"):
        outcome = command(entry.train, "resume=run", "trainer.total_env_steps=400")
        assert outcome.code == 2
        assert f"run is being written to by process {os.getpid()} on" in outcome.error
        assert len(outcome.error.strip().splitlines()) == 1
        outcome = command(entry.evaluate, "run=run", "evaluation.episodes=1")
        assert outcome.code == 0, outcome.error
    shutil.rmtree(working_folder / "run" / "evaluation")
    assert files(working_folder / "run") == before


def test_hydras_folder_is_the_commands_own(command: Any, working_folder: Path) -> None:
    play = ("env=cartpole", "agent=random", "evaluation.plots=false")
    outcome = command(entry.evaluate, *play, "evaluation.episodes=0", "hydra.run.dir=out")
    assert outcome.code == 2, outcome.error
    assert files(working_folder) == []
    outcome = command(entry.evaluate, *play, "evaluation.episodes=1", "hydra.run.dir=out")
    assert outcome.code == 0, outcome.error
    assert files(working_folder) == ["out", "out/evaluation.csv", "out/evaluation.json"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no terminal to lose elsewhere")
def test_a_run_whose_terminal_is_lost_continues_as_if_nothing_had_been(
    trained: Path, tmp_path: Path
) -> None:
    """As when ssh breaks off: a hangup, told twice, and nowhere to write to."""
    arguments = [sys.executable, "-m", "agents.commands.train", *TINY, "folder=run"]
    arguments += ["trainer.num_workers=1"]  # which gets the signal, too, and changes no result
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ours, terminal = os.openpty()
    with subprocess.Popen(
        arguments,
        cwd=tmp_path,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # not as under nohup
    ) as process:
        os.close(terminal)
        metrics = tmp_path / "run" / "metrics.csv"
        deadline = time.monotonic() + 120
        while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.close(ours)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGHUP)
        process.wait(timeout=120)
    assert process.returncode == 130
    assert "interrupted: writing a last checkpoint" in (tmp_path / "run" / "train.log").read_text()
    latest = tmp_path / "run" / "checkpoints" / "latest.pt"
    stopped = read_checkpoint(latest)["progress"]["env_steps"]
    assert stopped < 200
    subprocess.run(
        [sys.executable, "-m", "agents.commands.train", "resume=run", "trainer.num_workers=0"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )
    assert_same_weights(trained / "checkpoints" / "latest.pt", latest)
    columns = ("env_steps", "train/total", "val/score")
    ours, theirs = (
        [
            [row[name] for name in columns]
            for row in csv.DictReader(path.read_text().splitlines())
            if row["val/score"]
        ]
        for path in (metrics, trained / "metrics.csv")
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_run_with_a_checkpoint(
    command: Any, working_folder: Path, name: str
) -> None:
    folder = working_folder / "my run"

    def send() -> None:
        while not (folder / "metrics.csv").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.Signals[name])

    threading.Thread(target=send, daemon=True).start()
    endless = ("trainer.total_env_steps=1_000_000", "trainer.evaluation_interval=1_000_000")
    outcome = command(entry.train, *TINY, *endless, 'folder="my run"')
    assert outcome.code == 130
    told = "interrupted. Continue with: powergrid-train 'resume=my run'"
    assert outcome.error.splitlines()[-1] == told
    assert read_checkpoint(folder / "checkpoints" / "latest.pt")["progress"]["env_steps"] > 0


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = (read_checkpoint(path)["agent"]["network"] for path in (first, second))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_resume_changes_only_what_may_change(
    command: Any, trained: Path, working_folder: Path
) -> None:
    shutil.copytree(trained, working_folder / "run")
    outcome = command(entry.train, "resume=run", "agent.discount=0.5")
    assert outcome.code == 2
    assert "agent.discount=0.5: a saved run is continued as it was" in outcome.error
    outcome = command(entry.train, "resume=run", "trainer.num_envs=4")
    assert outcome.code == 2
    assert "trainer.num_envs=4: a saved run is continued as it was" in outcome.error
    outcome = command(entry.train, "resume=run", "trainer.total_env_steps=260")
    assert outcome.code == 0, outcome.error
    state = CheckpointFolder(working_folder / "run" / "checkpoints").load_latest()
    assert state is not None
    assert state["progress"]["env_steps"] >= 260


def test_a_finished_run_stays_as_it_is(command: Any, trained: Path, working_folder: Path) -> None:
    shutil.copytree(trained, working_folder / "run")
    contents = {name: Path("run", name).read_bytes() for name in ("metrics.csv", "histograms.csv")}
    before = files(working_folder)
    outcome = command(entry.train, "resume=run", "logger=wandb")
    assert outcome.code == 0, outcome.error
    assert "run is finished: trainer.total_env_steps is used up" in outcome.out
    assert "powergrid-train resume=run trainer.total_env_steps=..." in outcome.out
    assert files(working_folder) == before  # no W&B run either
    assert contents == {name: Path("run", name).read_bytes() for name in contents}
    # A kill between the training and the final evaluation: only that is made up for.
    metrics = Path("run/metrics.csv")
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:-1]))
    outcome = command(entry.train, "resume=run")
    assert outcome.code == 0, outcome.error
    assert metrics.read_text().splitlines()[-1].split(",")[0] == lines[-1].split(",")[0]
    assert len(metrics.read_text().splitlines()) == len(lines)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "metrics.csv").write_bytes(b"\x80\n"), "run/metrics.csv is damaged"),
        (lambda run: (run / "config.yaml").write_text("name: x"), "run/config.yaml is cut short"),
        (
            lambda run: shutil.copy(run / "checkpoints/best.pt", run / "checkpoints/latest.pt"),
            "is not the state of such a training: it lacks progress, learner",
        ),
    ],
    ids=["metrics.csv", "config.yaml", "weights alone"],
)
def test_a_refused_resume_has_opened_nothing(
    command: Any, trained: Path, working_folder: Path, spoil: Any, message: str
) -> None:
    shutil.copytree(trained, working_folder / "run")
    spoil(Path("run"))
    before = files(working_folder)
    outcome = command(entry.train, "resume=run", "trainer.total_env_steps=400", "logger=wandb")
    assert outcome.code == 2, outcome.error
    assert message in outcome.error
    assert len(outcome.error.strip().splitlines()) == 1
    assert files(working_folder) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_full_disk_is_told_with_the_file(
    command: Any, trained: Path, working_folder: Path
) -> None:
    shutil.copytree(trained, working_folder / "run")
    Path("run/train.log").unlink()
    Path("run/train.log").symlink_to("/dev/full")
    outcome = command(entry.train, "resume=run", "trainer.total_env_steps=400")
    assert outcome.code == 1
    log = working_folder / "run" / "train.log"
    assert outcome.error == f"[Errno 28] No space left on device: '{log}'\n"


def test_evaluation_of_a_run(command: Any, trained: Path, working_folder: Path) -> None:
    arguments = (f"run={trained}", "folder=out", "evaluation.episodes=2")
    outcome = command(entry.evaluate, *arguments, "evaluation.baselines=true")
    assert outcome.code == 0, outcome.error
    table = outcome.out
    assert "CartPole-v1: 2 episodes of 500 steps" in table
    assert [line.split()[0] for line in table.splitlines() if line.startswith(("ran", "muz"))] == [
        *("random", "muzero"),
        *("random", "muzero"),  # what does not fit 100 columns
    ]
    assert [path for path in files(working_folder) if "png" not in path] == [
        *("out", "out/evaluation.csv", "out/evaluation.json"),
    ]
    outcome = command(entry.evaluate, *arguments)
    assert outcome.code == 2
    assert "out is not empty" in outcome.error


def test_results_of_a_run_that_is_read_only_go_elsewhere(
    command: Any, trained: Path, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, make = files(trained), os.mkdir

    def refuse(path: Any, *arguments: Any, **options: Any) -> None:
        if Path(path).is_relative_to(trained):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        make(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", refuse)
    outcome = command(entry.evaluate, f"run={trained}", "evaluation.episodes=1")
    assert outcome.code == 0, outcome.error
    assert f"{trained / 'evaluation'} cannot be written to (Read-only file system)" in outcome.out
    (folder,) = Path("runs/evaluation").iterdir()
    assert f"results go to {folder}\n" in outcome.out
    assert (folder / "evaluation.json").is_file()
    assert files(trained) == before
    outcome = command(entry.train, *TINY, f"folder={trained / 'other'}")
    assert outcome.code == 2
    assert "other cannot be written to (Read-only file system). Name another" in outcome.error


def test_a_weights_file_stands_for_its_run(
    command: Any, trained: Path, working_folder: Path
) -> None:
    few = ("evaluation.episodes=2", "evaluation.plots=false", "name=one")
    best, latest = (trained / "checkpoints" / name for name in ("best.pt", "latest.pt"))
    results = []
    for number, source in enumerate((f"run={trained}", f"weights={best}", f"weights={latest}")):
        outcome = command(entry.evaluate, source, *few, f"folder=out{number}")
        assert outcome.code == 0, outcome.error
        results += read_results(Path(f"out{number}"))
    of_run, of_file, of_training = results
    assert of_run.agent == "one"
    assert [one.steps for one in of_run.episodes] == [one.steps for one in of_file.episodes]
    assert of_run.protocol == of_file.protocol == of_training.protocol
    assert [one.conditions.weights for one in results] == [str(trained), str(best), str(latest)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("weights=nowhere.pt",), "weights=nowhere.pt does not exist"),
        (("weights={best}", "run={run}"), "were given; name one of them"),
        (("weights={alone}", "agent=greedy"), "agent greedy learns nothing: leave out weights="),
        (("weights={alone}",), "alone.pt is of another network"),
        (("weights={cut}",), "cut.pt is damaged: it is cut short"),
    ],
)
def test_wrong_weights_are_named(
    command: Any,
    trained: Path,
    working_folder: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    best = trained / "checkpoints" / "best.pt"
    alone, cut = working_folder / "files" / "a" / "alone.pt", working_folder / "cut.pt"
    alone.parent.mkdir(parents=True)
    shutil.copy(best, alone)
    cut.write_bytes(best.read_bytes()[:500])
    before = files(working_folder)
    filled = [one.format(best=best, run=trained, alone=alone, cut=cut) for one in arguments]
    outcome = command(entry.evaluate, *filled, "evaluation.episodes=1")
    assert outcome.code == 2
    assert message in outcome.error
    assert len(outcome.error.strip().splitlines()) == 1
    assert files(working_folder) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "best.pt is damaged"),
        (lambda path: path.write_text("hello"), "best.pt is not a checkpoint"),
        (lambda path: path.unlink(), "best.pt does not exist"),
    ],
    ids=["cut short", "not a checkpoint", "absent"],
)
def test_spoilt_checkpoints_are_named(
    command: Any, trained: Path, working_folder: Path, spoil: Any, message: str
) -> None:
    shutil.copytree(trained, working_folder / "run")
    spoil(working_folder / "run" / "checkpoints" / "best.pt")
    outcome = command(entry.evaluate, "run=run", "evaluation.episodes=1")
    assert outcome.code == 2
    assert message in outcome.error
    assert len(outcome.error.strip().splitlines()) == 1


def test_a_checkpoint_of_another_network_is_named(
    command: Any, trained: Path, working_folder: Path
) -> None:
    outcome = command(
        entry.evaluate, f"run={trained}", "agent.network.hidden_size=16", "evaluation.episodes=1"
    )
    assert outcome.code == 2
    assert "is of another network: network." in outcome.error
    assert len(outcome.error.strip().splitlines()) == 1


def test_multirun_makes_a_run_each(command: Any, working_folder: Path) -> None:
    outcome = command(entry.train, "--multirun", *TINY, "trainer.total_env_steps=20", "seed=1,2")
    assert outcome.code == 0, outcome.error
    runs = sorted((working_folder / "runs" / "cartpole").iterdir())
    assert len(runs) == 2
    assert all((run / "evaluation.json").is_file() for run in runs)


def test_a_wrong_job_does_not_take_the_later_ones_along(command: Any, working_folder: Path) -> None:
    seeds = ("trainer.total_env_steps=20", "seed=1,-2,3")
    outcome = command(entry.train, "--multirun", *TINY, *seeds)
    assert outcome.code == 2
    *_, told, summary = [line for line in outcome.error.splitlines() if "job" in line]
    assert "seed=-2" in outcome.error and "job 1 (" in outcome.error
    assert "seed=-2; expected a whole number of at least 0" in outcome.error
    assert summary == "1 of 3 jobs failed."
    assert "Traceback" not in outcome.error
    runs = sorted((working_folder / "runs" / "cartpole").iterdir())
    assert len(runs) == 2
    assert all((run / "evaluation.json").is_file() for run in runs)


@pytest.mark.parametrize("start", [entry.train, entry.evaluate])
def test_help_lists_the_groups_there_are(command: Any, start: Any) -> None:
    outcome = command(start, "--help")
    assert outcome.code == 0
    listed = outcome.out.partition("== Configuration groups ==")[2].partition("== Config ==")[0]
    groups = [line.partition(":")[0] for line in listed.splitlines() if ": " in line]
    assert {"agent", "agent/model", "agent/teacher", "network", "scenarios", "sweep"} <= set(groups)
    assert "wandb_sweep" not in outcome.out
