"""Agents, protocols and commands on a grid with an action set."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import agents
import envs
from agents.commands import entry
from agents.environments import EnvironmentFactory
from agents.evaluation import list_episodes, read_results
from agents.evaluation.protocol import Protocol, describe_protocol
from agents.power_grid.grid_tables import GridTables
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


@pytest.mark.slow
def test_a_training_on_a_set_is_evaluated_from_elsewhere(
    actions: envs.ActionSet, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("experiment=debug", "env.kwargs.actions=mine.json", "folder=run", "logger=csv")
    assert run_main(entry.train, *words, *TAUGHT, "evaluation.final.baselines=false") == 0
    saved = yaml.safe_load(Path("run/config.yaml").read_text())
    assert saved["env"]["kwargs"]["actions"] == str(working_folder / "mine.json")
    assert saved["agent"]["network"]["actions"] == str(working_folder / "mine.json")
    (working_folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run_main(entry.evaluate, "run=../run", "evaluation.episodes=1", "folder=found") == 0
    (result,) = read_results(Path("found"))
    assert result.protocol.options[0].value == f'"{actions.sha256}"'
