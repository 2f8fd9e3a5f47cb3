"""Agents, protocols and commands on a grid with an action set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import agents
import envs
from agents.commands import entry
from agents.commands.actions import run
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeSpec, list_episodes, read_results
from agents.evaluation.protocol import Protocol, describe_protocol
from agents.grid2op_agent import recipe_from
from agents.grid2op_agent.submission import read_submission, write_submission
from agents.pictures.report.page import page_data
from agents.pictures.report.recorder import record_episodes
from agents.power_grid.baselines import ExpertAgent, GreedyAgent
from agents.power_grid.baselines.base import BaselineAgent
from agents.power_grid.grid_tables import GridTables
from agents.power_grid.n1 import N1Agent
from agents.runs.action_sets import kept_action_sets
from agents.runs.folder import RunFolder
from agents.runs.saved_configs import with_absolute_paths
from tests.agents.command_runs import run_main

GRID = "l2rpn_case14_sandbox"
SHORT = (
    "scenarios=bundled",
    "wrappers=gated",
    "evaluation.episodes=1",
    "evaluation.baselines=false",
)


TAUGHT = ("network=flow", "agent/teacher=lookahead", "agent.plan.taught_decisions=20")


@pytest.fixture
def actions(working_folder: Path) -> envs.ActionSet:
    """A set, also in the file ``mine.json`` of the working folder."""
    wiring = envs.grid_wiring(GRID)
    some = envs.substation_splits(wiring).subset(range(60, 80))
    chosen = envs.merge_action_sets([envs.line_switches(wiring, grid=GRID), some])
    with open("mine.json", "wb") as file:
        envs.write_action_set(file, chosen, binary=False)
    return chosen


@pytest.fixture
def powers(working_folder: Path) -> envs.ActionSet:
    """Steps of redispatching and a curtailment, also in the file ``powers.json``."""
    wiring = envs.grid_wiring(GRID)
    settings = envs.PowerSettings.none(5, wiring)
    settings.redispatch[:4, 0] = (5, -5, 2.5, -2.5)
    settings.curtail[4, 2] = 0.2
    nothing = [np.zeros_like(table[:5]) for table in envs.line_switches(wiring).tables]
    chosen = envs.ActionSet(wiring, *nothing, grid=GRID, powers=settings)
    with open("powers.json", "wb") as file:
        envs.write_action_set(file, chosen, binary=False)
    return chosen


def protocol_of(**kwargs: object) -> Protocol:
    factory = EnvironmentFactory("envs:PowerGrid-v0", {"split": "test", **kwargs}, vector=True)
    names = envs.make_source("recombined").names("test")[:1]
    return describe_protocol(factory, list_episodes(names))


def test_the_protocol_tells_the_set_and_not_its_name(actions: envs.ActionSet) -> None:
    assert protocol_of(actions="all").sha256 == protocol_of().sha256
    told = protocol_of(actions="mine.json")
    assert [setting.name for setting in told.options] == ["actions"]
    assert told.options[0].value == f'"{actions.sha256}"'
    Path("mine.json").rename("moved.json")
    assert protocol_of(actions="moved.json").sha256 == told.sha256


def test_saved_configurations_find_a_set_from_elsewhere(working_folder: Path) -> None:
    assert with_absolute_paths({"grid": GRID, "actions": "mine.json"}) == {
        "grid": GRID,
        "actions": str(working_folder / "mine.json"),
    }
    for kept in ({"grid": GRID, "actions": "all"}, {"actions": "mine.json"}):
        assert with_absolute_paths(kept) == kept


def test_the_flow_network_knows_the_set(actions: envs.ActionSet) -> None:
    tables = GridTables(GRID, observation_size=417, num_actions=41, actions="mine.json")
    assert tables.set_busbar.numpy().tolist() == actions.set_busbar.tolist()
    with pytest.raises(ValueError, match="chooses of its 41 actions, but was given 417 and 487"):
        GridTables(GRID, observation_size=417, num_actions=487, actions="mine.json")


@pytest.mark.parametrize("agent", ["greedy", "n1", "reconnect"])
def test_agents_choose_from_the_set(agent: str, actions: envs.ActionSet) -> None:
    found = agents.evaluate(agent, "env.kwargs.actions=mine.json", *SHORT)
    assert found.episodes[0].steps > 0 and not found.episodes[0].illegal_actions
    assert found.protocol.options[0].name == "actions"
    with pytest.raises(ValueError, match="there is no file absent.json with an action set"):
        agents.evaluate(agent, "env.kwargs.actions=absent.json", *SHORT)


@pytest.mark.parametrize("kind", [GreedyAgent, N1Agent, ExpertAgent])
def test_agents_tell_redispatching_apart(kind: Any, powers: envs.ActionSet) -> None:
    factory = EnvironmentFactory(
        "envs:PowerGrid-v0", {"actions": "powers.json", "scenarios": "bundled"}
    )
    env = factory(1, autoreset="disabled")
    observations, infos = env.reset(seed=0)
    agent = kind(
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        threshold=0.0,  # it always looks
        safe=0.0,  # and nothing is safe: the least loading
    )
    agent.bind(env)
    (outlook,) = env.simulate([np.arange(len(powers))])
    assert outlook is not None
    assert agent.act(observations, infos).tolist() == [outlook.rho_max.argmin()] != [0]


def test_an_evaluation_with_redispatching(powers: envs.ActionSet) -> None:
    words = ("env.kwargs.actions=powers.json", *SHORT)
    with pytest.raises(ValueError, match="lines and substations only, and action 1 of the set"):
        agents.evaluate("greedy", *words)
    found = agents.evaluate("greedy", *words, "env.simulator=grid2op")
    assert found.episodes[0].steps > 0 and not found.episodes[0].illegal_actions
    assert set(found.episodes[0].actions) <= set(range(len(powers)))


def test_the_flow_network_foresees_no_redispatching(powers: envs.ActionSet) -> None:
    with pytest.raises(ValueError, match=r"network=flow foresees .* .redispatch gen_0 .*=residual"):
        GridTables(GRID, observation_size=417, num_actions=6, actions="powers.json")


class _Always(BaselineAgent):
    def act(self, observations: Any, infos: Any, active: Any = None) -> np.ndarray:
        return np.ones(len(observations), dtype=np.int64)


def test_a_report_says_what_was_redispatched(powers: envs.ActionSet) -> None:
    kwargs = {"actions": "powers.json", "scenarios": "bundled", "max_steps": 2}
    factory = EnvironmentFactory("envs:PowerGrid-v0", kwargs)
    env = factory(1)
    spaces: Any = {
        "observation_space": env.single_observation_space,
        "action_space": env.single_action_space,
    }
    episode = EpisodeSpec(scenario="sandbox-0000", seed=0)
    recording = record_episodes(_Always(**spaces), factory, [episode], num_envs=1)
    document = page_data(recording, agent="a", facts={}, idle_gate=None)
    assert document["actions"]["1"] == {
        "text": "redispatch gen_0 (substation 1) by +5 MW",
        "short": "redispatch gen_0 (sub 1) by +5 MW",
        "lines": [],
        "substations": [],
        "powers": [1],
    }
    assert document["episodes"][0]["decisions"]["actions"] == [1, 1]


def test_the_commands_tell_of_powers(
    powers: envs.ActionSet, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["show", "powers.json"])
    assert "   5  curtail gen_2 (substation 5) to 20 % of its maximum" in capsys.readouterr().out
    run(["merge", "powers.json", "--line-switches", "--output", "more.npz"])
    assert capsys.readouterr().out == "26 actions written to more.npz\n"
    run(["check", "more.npz", "--grid", GRID])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "5 of them, from 1 on, redispatch, curtail or use storage: only the reference environment "
        "plays the set (env.simulator=grid2op)."
    ]


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_run_keeps_the_set_that_was_given_as_a_file(
    suffix: str, actions: envs.ActionSet, working_folder: Path
) -> None:
    """So it is loaded after both have moved; what is damaged there is named."""
    given = working_folder / f"given{suffix}"
    with given.open("wb") as file:
        envs.write_action_set(file, actions, binary=suffix == ".npz")
    about = {"grid": GRID, "actions": str(given)}
    config = dict.fromkeys(("name", "seed", "trainer", "evaluation", "logger"), {})
    config |= {"name": "kept", "env": {"kwargs": about}, "agent": {"network": about}}
    with RunFolder.create(working_folder / "run", config):
        pass
    given.unlink()
    moved = (working_folder / "run").rename(working_folder / "moved")
    loaded = RunFolder.open_existing(moved).load_config()
    (kept,) = kept_action_sets(moved)
    assert loaded["env"]["kwargs"] == loaded["agent"]["network"] == {**about, "actions": str(kept)}
    found = envs.find_action_set(str(kept), GRID)
    assert found is not None and found.sha256 == actions.sha256
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{kept.name} has changed. Copy it again"):
        RunFolder.open_existing(moved).load_config()
    kept.unlink()
    with pytest.raises(ValueError, match=f"{kept.name} is missing. Copy it again"):
        RunFolder.open_existing(moved).load_config()


def test_a_run_of_a_set_that_ships_names_it(working_folder: Path) -> None:
    config = dict.fromkeys(("name", "seed", "trainer", "evaluation", "logger", "agent"), {})
    config |= {"name": "run", "env": {"kwargs": {"grid": GRID, "actions": "all"}}}
    with RunFolder.create(Path("run"), config) as run:
        assert run.load_config()["env"]["kwargs"]["actions"] == "all"
        assert not kept_action_sets(run.path)


def test_a_submission_keeps_the_set(actions: envs.ActionSet, working_folder: Path) -> None:
    recipe = recipe_from(["agent=greedy", "env.kwargs.actions=mine.json"])
    written = write_submission(recipe, "submission")
    (working_folder / "mine.json").unlink()
    read = read_submission(written.rename(working_folder / "elsewhere"))
    found = envs.find_action_set(read.grid_options["actions"], GRID)
    assert found is not None and found.sha256 == actions.sha256


@pytest.mark.slow
def test_a_training_on_a_set_is_evaluated_and_resumed_without_the_file(
    actions: envs.ActionSet, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("experiment=debug", "env.kwargs.actions=mine.json", "folder=run", "logger=csv")
    assert run_main(entry.train, *words, *TAUGHT, "evaluation.final.baselines=false") == 0
    saved = yaml.safe_load(Path("run/config.yaml").read_text())
    (kept,) = kept_action_sets(Path("run"))
    assert saved["env"]["kwargs"]["actions"] == saved["agent"]["network"]["actions"] == kept.name
    Path("mine.json").unlink()
    (working_folder / "elsewhere").mkdir()
    Path("run").rename("elsewhere/run")
    monkeypatch.chdir("elsewhere")
    assert run_main(entry.evaluate, "run=run", "evaluation.episodes=1", "folder=found") == 0
    (result,) = read_results(Path("found"))
    assert result.protocol.options[0].value == f'"{actions.sha256}"'
    more = ("trainer.total_env_steps=500", "evaluation.final.baselines=false")
    assert run_main(entry.train, "resume=run", *more) == 0
