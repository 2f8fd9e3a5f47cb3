"""The searches behind an episode's decisions, from the command line, on the real grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from agents.agent import Agent
from agents.commands import entry
from agents.configuration.composition import (
    build_agent,
    build_episode_list,
    build_evaluation_factory,
    evaluation_environment,
    probe_spaces,
)
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeSpec
from agents.pictures.search_trees import action_texts, record_searches
from agents.power_grid.baselines import DoNothingAgent
from agents.runs.folder import RunFolder
from agents.runs.saved_configs import plain

OVERRIDES = (
    "network=mlp",
    "agent.network.hidden_size=16",
    "agent.network.state_size=16",
    "agent.search.num_simulations=12",
    "agent.search.max_considered=4",
    "wrappers=gated",
    "env.kwargs.idle_gate=0.85",
    "trainer.device=cpu",
)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """Of an agent with a small network and search, on the grid that it is evaluated on."""
    with initialize_config_module("conf", version_base="1.3"):
        composed = plain(compose("train", overrides=list(OVERRIDES)))
    env = evaluation_environment(composed["env"], composed["evaluation"]["env"])
    return {**composed, "env": env}


@pytest.fixture(scope="module")
def factory(config: dict[str, Any]) -> EnvironmentFactory:
    return build_evaluation_factory(config["env"], split="val", max_steps=600)


@pytest.fixture(scope="module")
def agent(config: dict[str, Any], factory: EnvironmentFactory) -> Agent:
    observation, action = probe_spaces(factory)
    return build_agent(config["agent"], observation_space=observation, action_space=action, seed=3)


@pytest.fixture(scope="module")
def plan(config: dict[str, Any]) -> EpisodeSpec:
    return build_episode_list(config["env"], split="val", episodes=1, seed=20190106)[0]


@pytest.fixture(scope="module")
def run(config: dict[str, Any], agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose agent has learned nothing yet."""
    with RunFolder.create(tmp_path_factory.mktemp("search") / "run", config) as folder:
        folder.checkpoints.save_best(agent.state_dict())
    return folder.path


def test_the_command_writes_trees_and_pictures(
    command: Any, run: Path, factory: EnvironmentFactory, working_folder: Path
) -> None:
    code, out, error = command(
        entry.evaluate,
        f"run={run}",
        "folder=out",
        "evaluation.episodes=1",
        "evaluation.max_steps=600",
        "evaluation.trees=2",
    )
    assert code == 0, error
    assert "Drew the searches of 2 decisions into out/trees" in out
    written = sorted((working_folder / "out" / "trees").iterdir())
    assert [path.suffix for path in written] == [".json", ".svg"] * 2
    assert written[0].name.startswith("decision_001_step_")
    env = factory(1)
    texts = action_texts(env)
    env.close()
    assert texts is not None
    for path in written:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            tree = json.loads(text)
            assert tree["num_simulations"] == 12
            assert tree["summary"]["width"] == 4
            assert tree["text"] == texts[tree["action"]]
            assert all(one["text"] == texts[one["action"]] for one in tree["candidates"])
        else:
            words = "".join(ElementTree.fromstring(text).itertext())
            assert f"after {path.stem.rpartition('_')[2]} steps" in words
            assert texts[int(tree["action"])] in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("agent=greedy", "evaluation.trees=2"),
            "GreedyAgent searches no tree that could be shown; choose an agent that plans",
        ),
        (("agent=random", "evaluation.trees=-1"), "evaluation.trees=-1; expected a whole"),
        (
            ("agent=random", "evaluation.trees=true"),
            "evaluation.trees=true; expected a whole",
        ),
        (("agent=random", "evaluation.tree=1"), "did you mean 'evaluation.trees'?"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(
    command: Any, working_folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, error = command(entry.evaluate, *arguments)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert list(working_folder.iterdir()) == []


def test_decisions_are_those_of_the_episode(
    agent: Agent, factory: EnvironmentFactory, plan: EpisodeSpec
) -> None:
    searched = record_searches(agent, factory, plan, decisions=3)
    assert [one.number for one in searched] == [1, 2, 3]
    env = factory(1, autoreset="disabled")
    observations, infos = env.reset(seed=[plan.seed], options={"scenario": [plan.scenario]})
    step = int(infos["duration"][0])
    for one in searched:
        actions = agent.act(observations, infos)
        assert (one.step, one.tree.action) == (step, actions[0])
        observations, *_, infos = env.step(actions)
        step += int(infos["duration"][0])
    env.close()


def test_an_episode_that_ends_sooner_has_fewer(
    config: dict[str, Any], agent: Agent, plan: EpisodeSpec
) -> None:
    short = build_evaluation_factory(config["env"], split="val", max_steps=3)
    searched = record_searches(agent, short, plan, decisions=1000)
    assert 1 <= len(searched) <= 3


def test_searches_are_named_by_environment(agent: Agent, factory: EnvironmentFactory) -> None:
    env = factory(3, autoreset="disabled")
    observations, infos = env.reset(seed=0)
    texts = action_texts(env)
    agent.act(observations, infos)
    everywhere = agent.explain(texts)
    assert list(everywhere) == [0, 1, 2]
    actions = agent.act(observations, infos, np.array([True, False, True]))
    somewhere = agent.explain(texts)
    assert list(somewhere) == [0, 2]
    assert all(tree.action == actions[index] for index, tree in somewhere.items())
    assert somewhere[2].candidates[0].action == everywhere[2].candidates[0].action
    agent.act(observations, infos, np.zeros(3, dtype=bool))
    assert agent.explain(texts) == {}
    env.close()


def test_environments_without_words_have_none() -> None:
    env = EnvironmentFactory("CartPole-v1")(1)
    assert action_texts(env) is None
    env.close()
    grids = EnvironmentFactory("PowerGrid-v0", {"max_steps": 3})(1)
    texts = action_texts(grids)
    grids.close()
    assert texts is not None
    assert texts[0] == "do nothing"


def test_agents_without_a_search_say_so(agent: Agent, factory: EnvironmentFactory) -> None:
    observation, action = probe_spaces(factory)
    idle = DoNothingAgent(observation_space=observation, action_space=action)
    assert agent.explains
    assert not idle.explains
    with pytest.raises(ValueError, match="DoNothingAgent searches no tree"):
        idle.explain()
