"""Every file of conf/ composes, and what it names can be built."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_module

from agents.agent import Agent
from agents.commands.side_by_side import baseline_entries
from agents.commands.train import prepare
from agents.configuration.composition import (
    build_agent,
    build_environment_factory,
    build_episode_list,
    build_evaluation_factory,
    build_logger,
    build_settings,
    evaluation_environment,
    instantiate,
    preflight_logger,
    probe_spaces,
)
from agents.configuration.extensions import PACKAGES
from agents.evaluation.protocol import describe_protocol
from agents.runs.loggers import RunInfo
from agents.runs.saved_configs import change_saved, plain
from envs.scenarios import make_source

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted(
    path.relative_to(CONF).with_suffix("") for path in CONF.rglob("*.yaml") if path.parent != CONF
)
EXPERIMENTS = [path.name for path in FILES if path.parent.name == "experiment"]
MONTHS = ("recombined", "recombined_more", "varied", "varied_more")


def test_files_without_a_header_go_where_those_of_the_group_do() -> None:
    """Packages of others need no ``# @package``: ``extensions`` knows the group's place."""
    groups = {str(path.parent) for path in FILES} - {"env"}  # env/*.yaml set other groups, too
    for group in groups:
        files = [CONF / f"{path}.yaml" for path in FILES if str(path.parent) == group]
        headers = [re.match(r"# @package (\S+)", file.read_text()) for file in files]
        ours = {group if header is None else header[1] for header in headers}
        assert PACKAGES.get(group, group.replace("/", ".")) in ours, group


@pytest.fixture(autouse=True)
def hydra_config() -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


def make(config_name: str, *overrides: str) -> dict[str, Any]:
    return plain(compose(config_name, overrides=list(overrides)))


def spaces_of(env: dict[str, Any]) -> dict[str, Any]:
    made = build_environment_factory(env).make()
    made.close()
    return {"observation_space": made.observation_space, "action_space": made.action_space}


@pytest.fixture(scope="module")
def grid_spaces() -> dict[str, Any]:
    with initialize_config_module("conf", version_base="1.3"):
        return spaces_of(make("train")["env"])


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_option_composes(file: Path) -> None:
    config = make("train", f"{file.parent}={file.name}")
    build_settings(config["trainer"])
    if str(file.parent) in ("env", "agent", "scenarios", "observation", "reward", "wrappers"):
        make("evaluate", f"{file.parent}={file.name}")


def test_all_groups_of_the_house_are_there() -> None:
    groups = {str(file.parent) for file in FILES}
    assert groups == {
        "agent",
        "agent/model",
        "agent/teacher",
        "cluster",
        "env",
        "experiment",
        "logger",
        "network",
        "observation",
        "opponent",
        "optimizer",
        "replay",
        "reward",
        "scenarios",
        "search",
        "sweep",
        "wrappers",
    }


def test_every_value_has_a_comment() -> None:
    for path in CONF.rglob("*.yaml"):
        if (
            path.parent.name == "experiment" or path.stem == "wandb_sweep"
        ):  # they set what is explained elsewhere
            continue
        lines = path.read_text().partition("\nhydra:")[0].partition("\nprogress:")[0].splitlines()
        for line in lines:
            value = re.match(r"^\s*(?!_target_|_partial_)\w+:\s+[^#\s].*$", line)
            assert value is None or "#" in line, f"{path.name}: {line}"


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(one, marks=pytest.mark.slow) if one == "case118" else one  # as case36
        for one in EXPERIMENTS
    ],
)
def test_every_experiment_is_built(experiment: str) -> None:
    config = make("train", f"experiment={experiment}")
    assert config["name"] == experiment
    agent = build_agent(config["agent"], **spaces_of(config["env"]), seed=config["seed"])
    assert agent.learns
    split = config["evaluation"]["split"]
    for kind in ("interim", "final"):
        settings = config["evaluation"][kind]
        env = evaluation_environment(config["env"], config["evaluation"]["env"])
        plan = build_episode_list(env, split=split, episodes=settings["episodes"], seed=1)
        assert len(plan) >= 1
        build_evaluation_factory(env, split=split, max_steps=settings["max_steps"])
    preflight_logger(config["logger"])


@pytest.mark.parametrize("agent", [p.name for p in FILES if str(p.parent) == "agent"])
def test_every_agent_is_built(agent: str, grid_spaces: dict[str, Any]) -> None:
    config = make("evaluate", f"agent={agent}")
    assert isinstance(build_agent(config["agent"], **grid_spaces, seed=0), Agent)


@pytest.mark.parametrize(
    "override",
    [
        f"{path.parent}={path.name}"
        for path in FILES
        if path.parent.name in ("network", "search", "replay", "optimizer")
        or str(path) in ("agent/model/learned", "agent/teacher/none")
    ],
)
def test_every_part_of_muzero_is_built_and_acts(override: str, grid_spaces: dict[str, Any]) -> None:
    if override == "search=planner":
        pytest.skip("plans in grids: test_planner_search")
    config = make("train", override, "agent.search.num_simulations=2")
    agent = build_agent(config["agent"], **grid_spaces, seed=0)
    observations = np.stack([grid_spaces["observation_space"].sample() for _ in range(2)])
    mask = np.zeros((2, int(grid_spaces["action_space"].n)), np.int8)
    mask[0, 3] = mask[1, 5] = 1
    actions = agent.act(np.nan_to_num(observations) * 0, {"action_mask": mask})
    assert actions.tolist() == [3, 5]


@pytest.mark.parametrize(
    "override",
    [
        f"{path.parent}={path.name}"
        for path in FILES
        if path.parent.name in ("observation", "reward", "wrappers")
        or path.name in ("bundled", *MONTHS)
    ],
)
def test_every_environment_option_is_played(override: str) -> None:
    attacked = ["opponent=rl4pnc"] if override == "wrappers=preventive" else []  # asked at attacks
    config = make("train", override, *attacked, "env.kwargs.max_steps=3")
    factory = build_environment_factory(config["env"])
    env = factory(1)
    assert isinstance(env, gym.vector.VectorEnv)
    observations, _ = env.reset(seed=0)
    assert env.observation_space.contains(observations)
    env.step(np.array([0]))
    env.close()


def test_parts_of_an_environment_may_be_components() -> None:
    """What others bring: played as what is named, and pickled for worker processes."""
    reward = "{_target_: envs.grid.rewards.MarginReward, _partial_: true, blackout: -3.0}"
    months = "{_target_: envs.scenarios.VariedSource, grid: '${env.kwargs.grid}', more: true}"
    own = [f"env.kwargs.reward={reward}", f"evaluation.env.scenarios={months}"]
    own += ["env.kwargs.observation={_target_: envs.FeaturesEncoder, _partial_: true}"]
    config = make("train", "scenarios=varied", *own)
    env = evaluation_environment(config["env"], config["evaluation"]["env"])
    plan = build_episode_list(env, split="val", episodes=1, seed=7)
    assert plan[0].scenario == make_source("varied_more").names("val")[0]
    factory = pickle.loads(pickle.dumps(build_evaluation_factory(env, split="val", max_steps=3)))
    assert factory.kwargs["reward"] == "l2rpn"
    assert factory.kwargs["planning_reward"].keywords == {"blackout": -3.0}
    grids = factory(1)
    observations, _ = grids.reset(seed=0, options={"scenario": plan[0].scenario})
    named, _ = replace(
        factory, kwargs={**factory.kwargs, "scenarios": "varied_more", "observation": "features"}
    )(1).reset(seed=0, options={"scenario": plan[0].scenario})
    np.testing.assert_array_equal(observations, named)


@pytest.mark.parametrize("logger", [p.name for p in FILES if p.parent.name == "logger"])
def test_every_logger_is_built(logger: str, tmp_path: Path) -> None:
    config = make("train", f"logger={logger}")
    run = RunInfo(name="x", folder=tmp_path, config=config, total_env_steps=10)
    built = build_logger(config["logger"], run=run, show=config["progress"])
    built.log({"a": 1.0}, env_steps=1)
    built.close()
    assert (tmp_path / "metrics.csv").exists()
    assert (tmp_path / "wandb").exists() == (logger == "wandb")


def test_the_sweep_only_sets_what_there_is() -> None:
    sweep = yaml.safe_load((CONF / "wandb_sweep.yaml").read_text())
    overrides = []
    for name, parameter in sweep["parameters"].items():
        value = parameter.get("value", (parameter.get("values") or [parameter.get("min")])[0])
        overrides.append(f"{name}={value}")
    config = make("train", *overrides)
    assert config["logger"]["mode"] == "online"


def test_what_cannot_be_built_is_named(grid_spaces: dict[str, Any], working_folder: Path) -> None:
    with pytest.raises(ValueError, match="logger={}; expected a mapping with _target_"):
        instantiate({}, "logger")
    with pytest.raises(ValueError, match=r"agent\._target_=nowhere\.Agent cannot be imported"):
        instantiate({"_target_": "nowhere.Agent"}, "agent", partially=True)
    Path("mine.py").touch()
    with pytest.raises(ValueError, match=r"mine\.py lies in the present folder: start with PYTHON"):
        instantiate({"_target_": "mine.Agent"}, "agent", partially=True)
    with pytest.raises(ValueError, match="makes a dict; expected a subclass"):
        build_agent({"_target_": "builtins.dict"}, **grid_spaces, seed=0)
    with pytest.raises(ValueError, match=r"unknown configuration key 'agent\.colour'"):
        build_agent(
            {"_target_": "agents.power_grid.baselines.RandomAgent", "colour": 1},
            **grid_spaces,
            seed=0,
        )
    with pytest.raises(ValueError, match="num_simulations"):
        make_config = make("train", "agent.search.num_simulations=0")
        build_agent(make_config["agent"], **grid_spaces, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_env_step": 1}, "did you mean 'trainer.total_env_steps'"),
        (
            {"total_env_steps": 0},
            r"trainer\.total_env_steps=0; expected a whole number of at least 1\.",
        ),
        ({"num_envs": "many"}, r"trainer\.num_envs='many'"),
        ({"num_workers": -1}, r"trainer\.num_workers=-1"),
        ({"synchronous": "yes please"}, "expected true or false"),
        ({"max_minutes": -3}, r"trainer\.max_minutes=-3; expected a finite number above 0 or null"),
    ],
)
def test_wrong_trainer_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_settings({"total_env_steps": 10, **changes})


def test_environments_without_scenarios_are_planned_by_number() -> None:
    env = make("train", "env=cartpole")["env"]
    assert [one.seed for one in build_episode_list(env, split="val", episodes=2, seed=7)] == [7, 8]
    with pytest.raises(ValueError, match="has no list of scenarios"):
        build_episode_list(env, split="val", episodes=None, seed=7)
    with pytest.raises(ValueError, match="takes no max_steps"):
        build_evaluation_factory(env, split="val", max_steps=5)
    assert isinstance(build_environment_factory(env).make().action_space, gym.spaces.Discrete)


def test_fewer_episodes_than_asked_for_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    env = make("train", "experiment=debug")["env"]
    names = make_source("recombined").names("val")
    for asked in (2, len(names)):
        options = {"split": "val", "episodes": asked, "seed": 7}
        assert len(build_episode_list(env, **options, at_most="evaluation.final.episodes")) == asked
    assert not caplog.records
    plan = build_episode_list(
        env, split="val", episodes=99, seed=7, at_most="evaluation.final.episodes"
    )
    assert [one.scenario for one in plan] == list(names)
    [said] = caplog.messages
    assert said.startswith("evaluation.final.episodes=99, but split 'val' of scenarios=recombined")
    assert f"has {len(names)}:" in said


def evaluated(config: dict[str, Any]) -> tuple[list[str], str]:
    """Return the first scenarios that an evaluation on val plays, and its protocol's hash."""
    env = evaluation_environment(config["env"], config["evaluation"]["env"])
    plan = build_episode_list(env, split="val", episodes=2, seed=7)
    factory = build_evaluation_factory(env, split="val")
    return [one.scenario for one in plan], describe_protocol(factory, plan).sha256


def test_episodes_are_those_of_the_source_that_evaluation_plays() -> None:
    plain_names = list(make_source("recombined").names("val")[:2])
    varied_names = list(make_source("varied").names("val")[:2])
    trained = make("train", "scenarios=varied")
    assert trained["env"]["kwargs"]["scenarios"] == "varied"
    assert evaluated(trained) == evaluated(make("train"))
    assert evaluated(trained)[0] == plain_names
    asked = make("train", "scenarios=varied", "evaluation.env.scenarios=varied")
    assert evaluated(asked)[0] == varied_names
    assert evaluated(asked)[1] != evaluated(trained)[1]
    added = make("evaluate", "+evaluation.env.scenarios=varied")
    assert evaluated(added)[0] == varied_names


def test_interim_evaluations_may_play_harder_months() -> None:
    prepared = prepare(make("train", "experiment=debug", "evaluation.interim.scenarios=varied"))
    plans = prepared.evaluator._episode_list, prepared.final._episode_list
    names = [make_source(name).names("val")[0] for name in ("varied", "recombined")]
    assert [plan[0].scenario for plan in plans] == names


def baselines(*overrides: str) -> dict[str, Mapping[str, Any]]:
    """Return each baseline's options of the environment, by its name."""
    config = make("evaluate", *overrides)
    env = evaluation_environment(config["env"], config["evaluation"]["env"])
    observation_space, action_space = probe_spaces(build_environment_factory(env))
    entries = baseline_entries(
        env,
        split="val",
        max_steps=None,
        observation_space=observation_space,
        action_space=action_space,
        seed=0,
    )
    return {one.name: one.make_environment.kwargs for one in entries}


def test_do_nothing_is_a_baseline_on_the_bare_grid() -> None:
    of_grid = baselines("wrappers=gated_reconnect")
    kept = {name: options["reconnect_lines"] for name, options in of_grid.items()}
    assert kept == {"do_nothing": False, "reconnect": True, "greedy": True}
    added = "+agent@env.baselines.do_nothing=do_nothing"
    assert baselines("env=cartpole", added) == {
        "random": {},
        "do_nothing": {},
    }  # has no such option


@pytest.mark.parametrize("trained", ["recombined", "varied"])
@pytest.mark.parametrize(
    ("overrides", "first"),
    [
        (["scenarios=bundled"], make_source("bundled").names("val")[0]),
        (["scenarios=varied"], make_source("recombined").names("val")[0]),
        (["+evaluation.env.scenarios=varied"], make_source("varied").names("val")[0]),
    ],
)
def test_a_run_is_evaluated_on_other_scenarios(
    trained: str, overrides: list[str], first: str
) -> None:
    changed = change_saved(
        make("train", f"scenarios={trained}"),
        compose("evaluate", overrides=overrides),
        overrides,
        changeable=("env", "evaluation.env"),
        ignored=("evaluation",),
    )
    assert evaluated(changed)[0][0] == first
    assert changed["env"]["kwargs"]["scenario_folder"] is None
