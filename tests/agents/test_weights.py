"""Weights named one way: what ships, a file, a run's folder; to play, to train, for grid2op."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from agents import pretrained
from agents.commands import entry
from agents.configuration.composition import FROM_PROGRAM, check_environment
from agents.configuration.settings import TrainConfiguration
from agents.configuration.signatures import check_component, check_keywords
from agents.evaluation import EvaluationResult, read_results
from agents.grid2op_agent import read_submission
from agents.grid2op_agent.__main__ import main as grid2op_main
from agents.ppo import PPOAgent
from agents.ppo import trainer as ppo_trainer
from agents.runs.checkpoints import CheckpointFolder, read_checkpoint
from agents.runs.folder import RunFolder
from agents.runs.weights import find_weights
from tests.agents import test_baselines_ppo as ppo
from tests.agents.command_runs import trained_in
from tests.agents.test_commands import TINY
from tests.agents.test_evaluation import without_times

FEW = ("evaluation.episodes=3", "evaluation.max_steps=1200", "split=val", "evaluation.plots=false")
IDLE = (*TINY, "agent.plan.updates_per_decision=0.0001")  # learns nothing in so few decisions


def play(command: Any, folder: str, *arguments: str) -> tuple[EvaluationResult, ...]:
    outcome = command(entry.evaluate, *arguments, *FEW, f"folder={folder}")
    assert outcome.code == 0, outcome.error
    return read_results(Path(folder))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short, finished run, with a network that is nobody's default."""
    folder = tmp_path_factory.mktemp("trained")
    return trained_in(folder, *TINY, "agent.network.state_size=12")


# ---------------------------------------------------------------------------------------- playing


def test_those_that_ship_are_small_and_have_their_configuration() -> None:
    assert "case14" in pretrained.names()
    for name in pretrained.names():
        found = find_weights(name)
        assert found.run is not None and pretrained.ships(found.run.path)
        assert (found.run.checkpoints.folder / "best.pt").stat().st_size < 5 * 2**20
        config = found.run.load_config()
        check_keywords(TrainConfiguration, config, "")
        check_environment(config["env"], config["evaluation"]["env"])
        check_component(config["agent"], "agent", supplied=FROM_PROGRAM)
        assert found.name == found.reference == name


def test_they_keep_a_grid_that_is_lost_without_them(command: Any, working_folder: Path) -> None:
    """By the command of the README, and by the key of older commands: the same episodes."""
    all_of_them = play(
        command, "one", "agent=muzero", "agent.weights=case14", "evaluation.baselines=true"
    )
    (alone,) = play(command, "two", "weights=case14")
    nothing, trained = all_of_them[0], all_of_them[-1]
    assert (trained.agent, trained.conditions.weights) == ("muzero", "case14")
    assert sum(episode.completed for episode in nothing.episodes) < 3
    assert all(episode.completed for episode in trained.episodes)
    assert all(episode.simulator_calls == 0 for episode in trained.episodes)
    assert without_times(alone) == without_times(trained)


def test_those_that_plan_stand_attacks_that_end_the_game_without_a_search(
    command: Any, working_folder: Path
) -> None:
    """The first month that the network alone loses soon, and no power flow is solved."""
    few = ("evaluation.first=17", "evaluation.episodes=1", "evaluation.max_steps=440", *FEW[2:])
    attacked = ("opponent=rl4pnc", "evaluation.env.scenarios=recombined_more", *few)
    alone = ("search=gumbel", "agent/model=learned", "agent.search.num_simulations=1")
    found = {}
    for name, words in {"plans": (), "alone": alone}.items():
        outcome = command(
            entry.evaluate, "weights=case14_robust", *words, *attacked, f"folder={name}"
        )
        assert outcome.code == 0, outcome.error
        (result,) = read_results(Path(name))
        (found[name],) = result.episodes
    assert found["plans"].completed and found["plans"].attacks == 4
    assert not found["alone"].completed
    assert found["plans"].simulator_calls == found["alone"].simulator_calls == 0


def test_keys_of_their_search_are_set_with_a_plus(command: Any, working_folder: Path) -> None:
    """The command composes another search, and does not know them."""
    few = ("evaluation.episodes=1", "evaluation.max_steps=12", "evaluation.plots=false")
    words = ("weights=case14_robust", "opponent=rl4pnc", *few, "folder=played")
    outcome = command(entry.evaluate, *words, "agent.search.depth=2")
    assert outcome.code == 2 and not Path("played").exists()
    hint = "(if the configuration of weights=case14_robust has it, put + before it)"
    assert "unknown configuration key 'agent.search.depth'" in outcome.error
    assert hint in outcome.error
    outcome = command(entry.evaluate, *words, "+agent.search.depth=two")
    assert (outcome.code, "agent.search.depth" in outcome.error) == (2, True)
    outcome = command(entry.evaluate, *words, "+agent.search.depth=2")
    assert outcome.code == 0, outcome.error


def test_results_go_to_the_present_folder(command: Any, working_folder: Path) -> None:
    """Not into the package; the README's command, with a short episode."""
    package = sorted(Path(pretrained.__file__).parent.rglob("*"))
    few = ("evaluation.episodes=1", "evaluation.max_steps=20", "evaluation.plots=false")
    outcome = command(entry.evaluate, "weights=case14", *few)
    assert outcome.code == 0, outcome.error
    (folder,) = Path("runs/evaluation").iterdir()
    assert f"results go to {folder}\n" in outcome.out
    assert {path.name for path in folder.iterdir()} == {"evaluation.json", "evaluation.csv"}
    assert sorted(Path(pretrained.__file__).parent.rglob("*")) == package


@pytest.mark.parametrize("words", [["agent=muzero", "agent.weights=case14"], ["weights=case14"]])
def test_grid2ops_tools_take_what_ships(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid2op_main(["submit", str(tmp_path / "submission"), *words])
    assert "Wrote" in capsys.readouterr().out
    recipe = read_submission(tmp_path / "submission")
    saved = RunFolder.open_existing(pretrained.folder_of("case14")).load_config()
    assert (recipe.name, recipe.agent["network"]) == ("muzero", saved["agent"]["network"])
    assert recipe.idle_gate == saved["env"]["kwargs"]["idle_gate"]


def test_the_folder_of_a_run_is_the_same_as_its_checkpoint(
    command: Any, trained: Path, working_folder: Path
) -> None:
    found = []
    few = ("evaluation.episodes=2", "evaluation.plots=false")
    for number, words in enumerate(
        (
            (f"weights={trained}",),
            (f"weights={trained}", "agent=muzero"),  # of which it is anyway
            (f"weights={trained}/checkpoints/best.pt",),
            (f"run={trained}",),
            (f"weights={trained}", "checkpoint=latest"),
        )
    ):
        outcome = command(entry.evaluate, *words, *few, f"folder=out{number}")
        assert outcome.code == 0, outcome.error
        found.append(read_results(Path(f"out{number}"))[0].episodes)
    assert [len(one) for one in found] == [2] * 5
    rewards = [[episode.reward for episode in one] for one in found]
    assert rewards[0] == rewards[1] == rewards[2] == rewards[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("agent.weights=case41",), "unknown weights 'case41'; did you mean 'case14'"),
        (("weights=nowhere.pt",), "weights=nowhere.pt does not exist; .* ship: case14"),
        (("weights=.",), "weights=. is not the folder of a run; name a checkpoint's file, the f"),
        (("agent.weights=case14", "weights=case14"), "were given; name one of them"),
        (("weights=case14", "agent=greedy"), "agent greedy learns nothing"),
        (("weights=case14", "checkpoint=latest"), "weights=case14 is a checkpoint itself"),
        (("weights=case14", "network=mlp"), "the best checkpoint in .* is of another network"),
        (("agent=muzero",), "add run=FOLDER, weights=FILE or weights=case14"),
    ],
)
def test_wrong_names_are_told(
    command: Any, working_folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    outcome = command(entry.evaluate, *arguments)
    assert outcome.code == 2
    *told, last = outcome.error.strip().splitlines()
    assert re.search(message, last)
    assert told == ["agent.weights is deprecated: write weights=case41"] * ("41" in arguments[0])


# --------------------------------------------------------------------------------------- training


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


@pytest.mark.parametrize("word", ["weights={}", "weights={}/checkpoints/best.pt"])
def test_training_begins_with_them_and_with_their_network(
    command: Any, trained: Path, working_folder: Path, word: str
) -> None:
    given = word.format(os.path.relpath(trained))  # as a person types it
    outcome = command(entry.train, *IDLE, given, "agent.network.hidden_size=8", "folder=run")
    assert outcome.code == 0, outcome.error
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["agent"]["network"]["state_size"] == 12
    assert os.path.isabs(config["weights"])
    assert os.path.samefile(config["weights"], word.format(trained).partition("=")[2])
    theirs = read_checkpoint(trained / "checkpoints" / "best.pt")["network"]
    for name in ("initial", "best"):
        ours = read_checkpoint(Path(f"run/checkpoints/{name}.pt"))["network"]
        assert same(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*TINY, "weights={run}", "agent.network.state_size=13"), "is of another network"),
        (
            ("weights={run}", "agent=ppo", "env=cartpole"),
            "are of agents.muzero.agent.MuZeroAgent; this agent is",
        ),
        (("weights=cse14",), "unknown weights 'cse14'; did you mean 'case14'"),
        (("weights={run}", "resume={run}"), "weights={run}: a saved run is continued as it was"),
    ],
)
def test_weights_that_a_training_cannot_begin_with(
    command: Any, trained: Path, working_folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = sorted(trained.rglob("*"))
    outcome = command(entry.train, *(one.format(run=trained) for one in arguments))
    assert outcome.code == 2
    assert message.format(run=trained) in outcome.error
    assert len(outcome.error.strip().splitlines()) == 1
    assert not list(working_folder.iterdir()) and sorted(trained.rglob("*")) == before


def test_a_run_goes_on_when_the_file_that_it_began_with_is_gone(
    command: Any, trained: Path, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = working_folder / "begun"
    folder.mkdir()
    file = shutil.copy(trained / "checkpoints" / "best.pt", folder / "some.pt")
    sizes = ("agent.network.state_size=12",)  # a file by itself brings no configuration
    begun = command(entry.train, *IDLE, *sizes, "agent.weights=begun/some.pt", "folder=begun/run")
    assert begun.code == 0, begun.error
    theirs = read_checkpoint(Path(file))["network"]
    Path(file).unlink()
    shutil.copytree("begun/run", "killed")  # before its first checkpoint
    for state in Path("killed/checkpoints").glob("*"):
        if state.name != "initial.pt":
            state.unlink()
    elsewhere = working_folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in ("begun/run", "killed"):
        outcome = command(entry.train, f"resume=../{name}", "trainer.total_env_steps=240")
        assert outcome.code == 0, outcome.error
        latest = read_checkpoint(working_folder / name / "checkpoints" / "latest.pt")
        assert latest["progress"]["env_steps"] >= 240
        assert same(latest["agent"]["network"], theirs)


def test_ppo_begins_with_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, agent = (ppo.make_agent(ppo.CARTPOLE, seed=seed, total_decisions=1) for seed in (1, 5))
    CheckpointFolder(tmp_path).save_best(other.state_dict())
    find_weights(str(tmp_path / "best.pt")).restore(agent)
    begun: list[Any] = []
    monkeypatch.setattr(
        ppo_trainer.PPOTrainer, "_loop", lambda self: begun.append(self._model.policy)
    )
    agent.train(ppo.make_run(ppo.CARTPOLE, tmp_path / "run", ppo.cartpole_evaluator()))
    assert isinstance(other, PPOAgent)
    assert same(begun[0].state_dict(), ppo.weights(other))
