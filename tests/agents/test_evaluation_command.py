"""``powergrid-evaluate`` on the grid: from the command line to files, plots and W&B."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from agents.commands import entry
from agents.configuration.composition import (
    build_episode_list,
    build_evaluation_factory,
    evaluation_environment,
)
from agents.evaluation import read_results
from agents.runs.saved_configs import plain
from envs.fast.vector import PowerGridVectorEnv
from envs.scenarios import make_source, recombined
from tests.agents.wandb_records import artifacts


def test_everything_is_written_and_logged(command: Any, working_folder: Path) -> None:
    code, out, error = command(
        entry.evaluate,
        *("agent=greedy", "scenarios=recombined", "split=test", "folder=out", "logger=wandb"),
        *("evaluation.episodes=2", "evaluation.max_steps=650", "evaluation.baselines=true"),
        "evaluation.report=1",
    )
    assert code == 0, error
    assert "PowerGrid-v0: 2 scenarios of 650 steps, recombined, split test; idle gate at" in out
    assert "L2RPN reward" in out and "ms median" in out
    written = {path.name for path in (working_folder / "out").iterdir()}
    plots = {"survival.png", "actions.png", "reward_latency.png", "rho_1.png", "rho_2.png"}
    assert written >= {"evaluation.json", "evaluation.csv", "wandb", *plots}
    kept = artifacts(working_folder / "out")
    assert kept["evaluation"] == {"evaluation.json", "evaluation.csv"}
    assert kept["report"] == {"report.html"} and kept["run_table"] == {"test/episodes.table.json"}

    results = read_results(working_folder / "out")
    assert [result.agent for result in results] == ["do_nothing", "reconnect", "greedy"]
    assert len({result.protocol for result in results}) == 1
    nothing, _, greedy = results
    assert [one.scenario for one in nothing.episodes] == list(
        make_source("recombined").names("test")[:2]
    )
    ended = nothing.episodes[1]
    assert (ended.steps, ended.completed, ended.actions) == (509, False, ())
    assert "after line 4-5 (line 17) tripped" in ended.end
    assert (ended.mean_distance, ended.final_distance) == (0.0, 0)
    for episode in greedy.episodes:
        assert episode.completed and episode.end == "time limit" and episode.steps == 650
        assert len(episode.actions) == len(episode.action_steps) > 0
        legal = sum(episode.substation_actions) + sum(episode.line_actions)
        assert legal == len(episode.actions) - episode.illegal_actions
        assert len(episode.substation_actions) == 14 and len(episode.line_actions) == 20
        assert episode.final_distance is not None and episode.final_distance > 0
        assert episode.simulator_calls > 50 * len(episode.actions)
        assert 0 < episode.median_ms <= episode.p99_ms
    assert 0 < greedy.latency.median <= greedy.latency.p99
    rows = list(
        csv.DictReader((working_folder / "out" / "evaluation.csv").read_text().splitlines())
    )
    assert len(rows) == 6
    assert rows[5]["protocol_sha256"] == greedy.protocol.short_hash


def test_the_reward_that_scores_is_named_whatever_was_trained_with(command: Any) -> None:
    few = ("agent=do_nothing", "evaluation.episodes=1", "evaluation.max_steps=30")
    for folder, reward in (("one", "margin"), ("two", "l2rpn")):
        code, _, error = command(
            entry.evaluate, *few, f"reward={reward}", f"folder={folder}", "evaluation.plots=false"
        )
        assert code == 0, error
    (one,), (two,) = read_results(Path("one")), read_results(Path("two"))
    assert one.protocol.reward == "l2rpn"
    assert one.protocol == two.protocol
    assert one.episodes[0].reward == two.episodes[0].reward > 30 * 10


def test_an_agent_plans_by_the_reward_it_was_trained_with() -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("evaluate", overrides=["reward=survival"]))
    env = evaluation_environment(config["env"], config["evaluation"]["env"])
    factory = build_evaluation_factory(env, split="val")
    assert factory.kwargs["reward"] == "l2rpn"
    made = factory(1)
    assert isinstance(made, PowerGridVectorEnv)
    made.reset(seed=0)
    planner = made.planner()
    actions = made.action_space.sample() * 0
    assert planner.step(planner.begin(actions), actions).reward.tolist() == [1.0]
    made.close()


def test_all_weeks_are_a_list_of_their_own(command: Any) -> None:
    code, out, error = command(
        entry.evaluate,
        *("agent=do_nothing", "split=all", "evaluation.episodes=2", "evaluation.max_steps=20"),
        *("folder=out", "evaluation.plots=false"),
    )
    assert code == 0, error
    assert "split all" in out
    (result,) = read_results(Path("out"))
    names = recombined.RecombinedSource().names("all")
    assert len(names) == 40
    assert [one.scenario for one in result.episodes] == list(names[:2])


def test_the_test_list_is_long_enough_to_compare_on() -> None:
    names = make_source("recombined").names("test")
    assert len(names) == len(set(names)) >= 64


class EmptySource:
    """Scenarios that are not there."""

    def names(self, split: str) -> tuple[str, ...]:
        return ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("split=tst",), "unknown split 'tst'; did you mean 'test'?"),
        (("evaluation.rho_plots=-1",), "evaluation.rho_plots"),
        (("logger=wandb", "logger.mode=onlin"), "did you mean 'online'?"),
        (("env.kwargs.reward=l2rpm",), "unknown reward 'l2rpm'; did you mean 'l2rpn'?"),
        (("env.kwargs.max_steps=99",), "set evaluation.max_steps"),
        (("env.kwargs.split=val",), "has no effect in an evaluation; set evaluation.split"),
        (("+evaluation.env.max_steps=99",), "max_steps=99 has no effect; set evaluation.max_steps"),
    ],
)
def test_mistakes_leave_nothing(
    command: Any, working_folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, error = command(entry.evaluate, "agent=do_nothing", *arguments)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert list(working_folder.iterdir()) == []


def test_an_empty_split_is_named() -> None:
    with initialize_config_module("conf", version_base="1.3"):
        env = plain(compose("evaluate"))["env"]
    env["kwargs"]["scenarios"] = EmptySource()
    with pytest.raises(ValueError, match="split 'test' of scenarios=EmptySource is empty"):
        build_episode_list(env, split="test", episodes=None, seed=0)


def test_scenarios_of_ones_own_list_are_played(command: Any, working_folder: Path) -> None:
    source = make_source("recombined")
    names = [source.names("test")[3], source.names("val")[0]]
    few = ("agent=do_nothing", "evaluation.max_steps=30", "evaluation.plots=false")
    listed = f"evaluation.scenarios_list=[{','.join(names)}]"
    code, out, error = command(entry.evaluate, *few, listed, "folder=out")
    assert code == 0, error
    (result,) = read_results(Path("out"))
    assert [episode.scenario for episode in result.episodes] == names
    assert result.protocol.split == "listed" and "split listed" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluation.scenarios_list=[]"], "evaluation.scenarios_list is empty; expected names"),
        (
            ["evaluation.scenarios_list=[nowhere]"],
            "evaluation.scenarios_list: unknown recombined scenario",
        ),
        (["evaluation.scenarios_list=val"], "evaluation.scenarios_list='val'; expected a list"),
        (
            ["scenarios=bundled", "evaluation.scenarios_list=[sandbox-0000,sandbox-0000]"],
            "evaluation.scenarios_list names sandbox-0000 twice",
        ),
        (
            ["env=cartpole", "agent=random", "evaluation.scenarios_list=[a]"],
            "evaluation.scenarios_list: environment CartPole-v1 has no scenarios; leave it out.",
        ),
    ],
)
def test_a_wrong_list_is_refused(
    words: list[str], message: str, command: Any, working_folder: Path
) -> None:
    code, _, error = command(entry.evaluate, "agent=do_nothing", *words)
    assert code == 2 and message in error and error.count("\n") == 1
    assert not list(working_folder.iterdir())
