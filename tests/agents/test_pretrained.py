"""Weights that ship: found by name, played by the command, and what training begins with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agents import evaluate
from agents import pretrained
from agents.checkpoints import BEST
from agents.checkpoints import CheckpointFolder
from agents.results import EvaluationResult
from agents.results import read_results
from tests.agents.test_evaluation import without_times
from tests.muzero.cartpole import assert_same_weights
from tests.muzero.cartpole import make_agent
from tests.muzero.cartpole import make_run

FEW = ("evaluation.episodes=3", "evaluation.max_steps=1200", "split=val", "evaluation.plots=false")


def play(command: Any, folder: str, *arguments: str) -> tuple[EvaluationResult, ...]:
    outcome = command(evaluate.main, *arguments, *FEW, f"folder={folder}")
    assert outcome.code == 0, outcome.error
    return read_results(Path(folder))


def test_those_that_ship_are_small_and_have_their_configuration() -> None:
    assert "case14" in pretrained.names()
    for name in pretrained.names():
        path = pretrained.locate(name)
        assert path.stat().st_size < 5 * 2**20
        assert (path.parents[1] / "config.yaml").is_file()
        assert pretrained.ships(path)


def test_they_keep_a_grid_that_is_lost_without_them(command: Any, working_folder: Path) -> None:
    """By the command of the README, and as weights of their own: the same episodes."""
    by_agent = play(
        command, "one", "agent=muzero", "agent.weights=case14", "evaluation.baselines=true"
    )
    (by_file,) = play(command, "two", "weights=case14")
    nothing, trained = by_agent[0], by_agent[-1]
    assert (trained.agent, trained.conditions.weights) == ("muzero", "case14")
    assert sum(episode.completed for episode in nothing.episodes) < 3
    assert all(episode.completed for episode in trained.episodes)
    assert all(episode.simulator_calls == 0 for episode in trained.episodes)
    assert without_times(by_file) == without_times(trained)


def test_results_go_to_the_present_folder(command: Any, working_folder: Path) -> None:
    """Not into the package; the README's command, with a short episode."""
    package = sorted(Path(pretrained.__file__).parent.rglob("*"))
    few = ("evaluation.episodes=1", "evaluation.max_steps=20", "evaluation.plots=false")
    outcome = command(evaluate.main, "agent=muzero", "agent.weights=case14", *few)
    assert outcome.code == 0, outcome.error
    (folder,) = Path("runs/evaluation").iterdir()
    assert f"results go to {folder}\n" in outcome.out
    assert {path.name for path in folder.iterdir()} == {"evaluation.json", "evaluation.csv"}
    assert sorted(Path(pretrained.__file__).parent.rglob("*")) == package


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("agent.weights=case41",), "unknown weights 'case41'; did you mean 'case14'"),
        (("agent.weights=nowhere.pt",), "weights=nowhere.pt does not exist; .* ship: case14"),
        (("agent.weights=case14", "weights=case14"), "were given; name one of them"),
        (("weights=case14", "agent=greedy"), "agent greedy learns nothing"),
    ],
)
def test_wrong_names_are_told(
    command: Any, working_folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    outcome = command(evaluate.main, "agent=muzero", *arguments)
    assert outcome.code == 2
    assert re.search(message, outcome.error)


def test_training_begins_with_them(tmp_path: Path) -> None:
    other = make_agent(seed=5)
    CheckpointFolder(tmp_path).save_best(other.state_dict())
    file = tmp_path / BEST
    agent = make_agent(seed=0, weights=str(file))
    assert_same_weights(agent, other)
    agent.train(make_run(tmp_path, total_env_steps=16))  # over before the first update
    assert_same_weights(agent, other)
    with pytest.raises(AssertionError):
        assert_same_weights(make_agent(seed=0), other)
