"""``agents.load``, ``agents.evaluate`` and ``agents.train``: the commands, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import agents
from agents.commands import entry
from agents.evaluation import read_results
from agents.pictures.search_trees import action_texts
from tests.agents.command_runs import run_main
from tests.agents.test_commands import TINY as CARTPOLE
from tests.agents.test_evaluation import without_times
from tests.agents.wandb_records import artifacts

SHORT = ("evaluation.episodes=2", "evaluation.max_steps=300", "evaluation.plots=false")
TINY = ("cartpole", *CARTPOLE[1:])
UNTYPED: Any = agents  # as a notebook sees it


class LastLegal(agents.Agent):
    """An agent of somebody's own."""

    def act(self, observations: Any, infos: Any, active: np.ndarray | None = None) -> np.ndarray:
        masks = np.asarray(infos["action_mask"])
        return masks.shape[1] - 1 - masks[:, ::-1].argmax(axis=1)


def test_a_loaded_agent_plays_and_explains() -> None:
    agent = agents.load("case14", "seed=3")
    assert agent.name == "muzero" and repr(agent) == "LoadedAgent('weights=case14', 'seed=3')"
    env = agent.make_env(num_envs=2)
    observations, infos = env.reset(seed=[0, 1])
    actions = agent.act(observations, infos)
    assert actions.shape == (2,) and set(agent.explain()) == {0, 1}
    words = action_texts(env)  # those of its environment, unless others are given
    assert words is not None
    assert [tree.text for tree in agent.explain().values()] == [words[one] for one in actions]
    assert agent.explain([str(one) for one in range(len(words))])[1].text == str(actions[1])
    twin = agents.load("case14")
    twin.make_env(num_envs=2)
    np.testing.assert_array_equal(twin.act(observations, infos), actions)
    env.close()


@pytest.mark.parametrize("agent", ["greedy", "case14"])  # case14 was scored on recombined months
@pytest.mark.parametrize(
    ("words", "played"),
    [
        ((), {"scenarios": "recombined", "reward": "l2rpn", "start": "beginning"}),
        (("scenarios=varied",), {"scenarios": "varied", "reward": "l2rpn"}),
        (("reward=survival",), {"reward": "l2rpn"}),  # it is what an agent plans by
        (("env.kwargs.start=random",), {"start": "random"}),
        (("evaluation.env.scenarios=varied",), {"scenarios": "varied"}),
        (("scenarios=varied", "evaluation.env.scenarios=bundled"), {"scenarios": "bundled"}),
    ],
)
def test_what_is_typed_for_an_evaluation_is_played(
    agent: str, words: tuple[str, ...], played: dict[str, str]
) -> None:
    kwargs = agents.load(agent, *words).make_environment.kwargs
    assert {name: kwargs[name] for name in played} == played


def test_evaluate_returns_what_the_command_writes(working_folder: Path) -> None:
    words = ("wrappers=gated", "opponent=rl4pnc", *SHORT)
    found = agents.evaluate("greedy", *words)
    assert not list(working_folder.iterdir())  # nothing is written unless it is asked for
    assert run_main(entry.evaluate, "agent=greedy", *words, "folder=command") == 0
    (written,) = read_results(Path("command"))
    assert without_times(found) == without_times(written)
    again = agents.evaluate(agents.load("greedy", *words), folder="a folder")
    assert without_times(again) == without_times(found)
    assert without_times(read_results(Path("a folder"))[0]) == without_times(found)


def test_an_agent_of_ones_own_is_evaluated() -> None:
    env = agents.load("do_nothing").make_env()
    agent = LastLegal()
    found = agents.evaluate(agent, "name=mine", *SHORT)
    assert found.agent == "mine" and agents.evaluate(agent, *SHORT).agent == "LastLegal"
    assert all(episode.actions for episode in found.episodes)
    env.close()


def test_a_trained_run_is_loaded_and_gone_on_with(working_folder: Path) -> None:
    logged = ("logger=wandb" if word == "logger=csv" else word for word in TINY)
    run = agents.train(*logged, folder="a run")
    kept = artifacts(run.folder)
    assert kept["model"] == {"best.pt", "config.yaml"}
    assert kept["evaluation"] == {"evaluation.json", "evaluation.csv"}
    assert (run.folder / "config.yaml").is_file() and run.results[-1].agent == "muzero"
    assert (run.folder / "learning_curve.png").is_file()
    shown = ElementTree.fromstring(run._repr_html_())  # well-formed, with a table and the curve
    assert "muzero" in [cell.text for cell in shown.iter("td")]
    assert [one.attrib["src"][:22] for one in shown.iter("img")] == ["data:image/png;base64,"]
    assert '"agents.train"' in (run.folder / "run.json").read_text()
    again = agents.evaluate(run.load("evaluation.episodes=2"))
    rewards = [episode.reward for episode in run.results[-1].episodes]
    assert [episode.reward for episode in again.episodes] == rewards
    longer = agents.train(f"resume={run.folder}", "trainer.total_env_steps=400")
    assert longer.folder == run.folder
    rows = (run.folder / "metrics.csv").read_text().splitlines()
    assert int(rows[-1].partition(",")[0]) >= 400


def test_another_program_s_hydra_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("a: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert agents.load("greedy").name == "greedy"
        with pytest.raises(ValueError, match="did you mean 'rl4pnc'"):
            agents.load("greedy", "opponent=rl4")
        assert compose("theirs").a == 1
    assert not GlobalHydra.instance().is_initialized()


def test_a_folder_may_be_called_as_an_agent(working_folder: Path) -> None:
    Path("greedy").mkdir()
    assert agents.load("greedy").name == "greedy"
    found = agents.evaluate("greedy", *SHORT, "folder=greedy")  # as a word, it is written as well
    assert without_times(read_results(Path("greedy"))[0]) == without_times(found)


def test_weights_are_found_from_another_folder_later(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = ("logger=wandb" if word == "logger=csv" else word for word in TINY)
    run = agents.train(*logged, folder="a run")
    kept = artifacts(run.folder)
    assert kept["model"] == {"best.pt", "config.yaml"}
    assert kept["evaluation"] == {"evaluation.json", "evaluation.csv"}
    agent = agents.load("a run")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert agents.evaluate(agent, "evaluation.episodes=2").agent == run.results[-1].agent


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: agents.load("case41"), "unknown agent 'case41'; did you mean 'case14'"),
        (lambda: agents.load("runs/none"), "weights=runs/none does not exist"),
        (lambda: agents.load(Path("none.pt")), "weights=none.pt does not exist"),
        (lambda: agents.load("muzero"), "agent muzero needs weights"),
        (lambda: agents.load("a" * 5000), "unknown agent 'aaa"),
        (lambda: agents.load("greedy", "agent=planner"), "agent=planner: the agent is given"),
        (lambda: agents.evaluate(LastLegal(), "weights=case14"), "weights=case14: the agent is"),
        (
            lambda: agents.evaluate("greedy", "evaluation.report=1"),
            "evaluation.report draws into a folder: add folder=",
        ),
        (lambda: agents.load("greedy", "opponent=rl4"), "did you mean 'rl4pnc'"),
        (lambda: agents.load("greedy", "gated"), "expected key=value"),
        (lambda: agents.evaluate("greedy", "evaluation.episods=1"), "evaluation.episodes"),
        (lambda: agents.evaluate("greedy", "evaluation.episodes=99"), "expected 1 to 32"),
        (lambda: UNTYPED.load(None), "agent is None; expected a name such as 'case14'"),
        (lambda: UNTYPED.evaluate(LastLegal), "agent is the class LastLegal; expected one of its"),
        (lambda: UNTYPED.load("greedy", 3), "override 3: expected text"),
        (
            lambda: agents.evaluate("greedy", "folder=a", folder="b"),
            "folder=a and folder='b' were given; name one of them",
        ),
        (lambda: agents.load("greedy").act(None, {}), "call bind(env) before act()"),
        (
            lambda: agents.load("case14_robust").act(np.zeros((1, 417), np.float32), {}),
            "call bind(env) before act()",
        ),
        (lambda: agents.train("quickstrat"), "did you mean 'quickstart'"),
        (lambda: agents.train("cartpole", "sweep=optuna"), "sweep=optuna starts several runs: it"),
        (lambda: agents.train("agent=greedy"), "agent greedy learns nothing"),
    ],
)
def test_mistakes_are_told_in_a_line(call: Any, message: str, working_folder: Path) -> None:
    with pytest.raises(ValueError) as told:
        call()
    assert message in str(told.value) and "\n" not in str(told.value)
    assert not list(working_folder.iterdir())
