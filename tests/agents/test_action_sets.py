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
from agents.grid2op_agent import recipe_from
from agents.grid2op_agent.submission import read_submission, write_submission
from agents.power_grid.grid_tables import GridTables
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
