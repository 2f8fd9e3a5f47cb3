"""Saved configurations: of older runs, found from any folder, and partly those of another run."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from agents.configuration.arguments import _key_of, for_hydra, with_present_keys
from agents.runs.older_configs import of_today
from agents.runs.saved_configs import (
    adopt,
    change_saved,
    plain,
    with_absolute_paths,
)
from envs import make_source
from envs.scenarios import make_grid2op
from envs.scenarios.grid2op_grids import grid_folder

SANDBOX = "l2rpn_case14_sandbox"


def test_folders_of_grids_and_scenarios_are_found_from_elsewhere(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(grid_folder(SANDBOX), "mine")
    shutil.copytree(grid_folder(SANDBOX), SANDBOX)  # a name comes before a folder
    (working_folder / "elsewhere").mkdir()
    saved = with_absolute_paths(
        {
            "name": "mine",
            "env": {
                "kwargs": {"grid": "mine", "scenario_folder": "mine/chronics"},
            },
            "evaluation": {"env": {"grid": SANDBOX, "scenario_folder": None}},
            "list": [{"grid": "mine"}],
        }
    )
    monkeypatch.chdir("elsewhere")
    assert saved["name"] == "mine"
    assert saved["evaluation"]["env"] == {"grid": SANDBOX, "scenario_folder": None}
    kwargs = saved["env"]["kwargs"]
    assert saved["list"] == [{"grid": kwargs["grid"]}]
    make_grid2op(kwargs["grid"]).close()
    source = make_source("dataset", grid=kwargs["grid"], folder=kwargs["scenario_folder"])
    assert source.names("all")


def test_a_home_is_found_in_the_path_of_a_grid(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(working_folder))
    shutil.copytree(grid_folder(SANDBOX), "mine")
    assert grid_folder("~/mine") == working_folder / "mine"
    saved = with_absolute_paths({"grid": "~/mine", "scenario_folder": "~/months"})
    assert saved == {
        "grid": os.path.join(working_folder, "mine"),
        "scenario_folder": os.path.join(working_folder, "months"),
    }


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("agent.weights=case14", "weights=case14"),
        ("+env.evaluation_kwargs.scenarios=varied", "+evaluation.env.scenarios=varied"),
        ("env.evaluation_kwargs.reward=n1", "evaluation.env.reward=n1"),
        ("~env.evaluation_kwargs.reward", "~evaluation.env.reward"),
        ("agent.replay.discount_per_step=True", "agent.discount_unit=step"),
        ("agent.replay.discount_per_step=false,true", "agent.discount_unit=decision,step"),
        ("agent.replay.discount_per_step=3", "agent.discount_unit=3"),  # refused as today's is
        (
            "++evaluation.interim.kwargs.scenarios=varied",
            "evaluation.interim.scenarios=varied",
        ),
    ],
)
def test_keys_by_their_former_names_still_work(
    former: str, present: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["seed=3", "experiment=debug"]
    assert with_present_keys([*words, former]) == [*words, present]
    assert capsys.readouterr().err == f"{_key_of(former)} is deprecated: write {present}\n"
    assert with_present_keys([*words, present]) == [*words, present]
    assert capsys.readouterr().err == ""
    if "=" in former:
        with pytest.raises(ValueError, match="were given; name one of them"):
            with_present_keys([former, present])


@pytest.mark.parametrize("word", ["env.num_workers=0", "++env.num_workers=0", "~env.num_workers"])
def test_a_key_that_is_gone_is_left_out(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert with_present_keys(["seed=3", word, "experiment=debug"]) == ["seed=3", "experiment=debug"]
    assert capsys.readouterr().err == f"env.num_workers is gone: leave out {word}\n"


@pytest.mark.parametrize("value", ["2", "0,2", "null"])
def test_a_key_that_is_gone_takes_no_other_value(value: str) -> None:
    with pytest.raises(ValueError, match=f"env.num_workers={value}: .*with trainer.num_workers"):
        with_present_keys(["seed=3", f"env.num_workers={value}"])


def test_what_evaluation_changes_needs_no_plus() -> None:
    words = ["evaluation.env.scenarios=varied", "env.evaluation_kwargs.start=random", "seed=1"]
    assert for_hydra(words) == [
        "++evaluation.env.scenarios=varied",
        "++evaluation.env.start=random",
        "seed=1",
    ]
    assert for_hydra(["~evaluation.env.reward", "+evaluation.env.start=random"]) == [
        "~evaluation.env.reward",
        "+evaluation.env.start=random",
    ]


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("agents.baselines.GreedyAgent", "agents.power_grid.baselines.GreedyAgent"),
        ("agents.baselines.ppo.PPOAgent", "agents.ppo.PPOAgent"),
        ("agents.loggers.WandbLogger", "agents.runs.loggers.WandbLogger"),
        ("agents.muzero.networks.mlp.MLPNetwork", "agents.muzero.networks.mlp.MLPNetwork"),
        ("agents.muzero.networks.flow.FlowNetwork", "agents.power_grid.flow.FlowNetwork"),
        (
            "agents.muzero.simulator_model.SimulatorPlanning",
            "agents.power_grid.simulator_model.SimulatorPlanning",
        ),
    ],
)
def test_classes_of_older_runs_are_found_where_they_are_today(former: str, present: str) -> None:
    assert of_today({"any": [{"_target_": former}]}) == {"any": [{"_target_": present}]}
    module, _, name = present.rpartition(".")
    assert hasattr(importlib.import_module(module), name)


def test_options_of_older_runs_have_todays_names() -> None:
    saved = {
        "network": {"habit": 0.25, "caution": 30.0},
        "model": {"calm": "held", "guidance": "x"},
    }
    assert of_today({"agent": saved})["agent"] == {
        "network": {"prior_weight": 0.25, "termination_penalty": 30.0},
        "model": {"calm_values": "held_forecast", "guidance": "x"},
    }


def test_older_runs_name_their_wrappers() -> None:
    flatten = {"_target_": "gymnasium.wrappers.FlattenObservation", "_partial_": True}
    limit = {"_target_": "gymnasium.wrappers.TimeLimit", "_partial_": True}
    found = of_today({"env": {"wrappers": [flatten, limit]}})
    assert found == {"env": {"wrappers": {"observation": flatten, "wrapper1": limit}}}
    assert of_today(found) == found


@pytest.mark.parametrize("num_workers", [0, 2])
def test_older_runs_may_have_shared_out_their_grids(num_workers: int) -> None:
    env = {"id": "x", "kwargs": {"start": "random"}}
    assert of_today({"env": {**env, "num_workers": num_workers}}) == {"env": env}


@pytest.mark.parametrize(("per_step", "unit"), [(True, "step"), (False, "decision")])
def test_older_runs_say_what_their_discount_is_of(per_step: bool, unit: str) -> None:
    saved = {"discount": 0.9, "replay": {"capacity": 7, "discount_per_step": per_step}}
    found = of_today({"agent": saved})["agent"]
    assert found == {"discount": 0.9, "discount_unit": unit, "replay": {"capacity": 7}}
    assert of_today({"agent": found})["agent"] == found


def test_older_runs_are_read_by_todays_names() -> None:
    saved = {
        "agent": {"_target_": "agents.muzero.agent.MuZeroAgent", "weights": "some.pt"},
        "logger": {"_target_": "agents.logging.CsvLogger"},
    }
    assert of_today(saved) == {
        "agent": {"_target_": "agents.muzero.agent.MuZeroAgent"},
        "logger": {"_target_": "agents.runs.loggers.CsvLogger"},
        "weights": "some.pt",
    }


def test_older_runs_are_evaluated_in_the_environment_that_they_were() -> None:
    env = {"id": "x", "kwargs": {"start": "random"}}
    former = {
        "evaluation_kwargs": {"start": "beginning"},
        "plain_kwargs": {"reconnect_lines": False},
    }
    interim = {"episodes": 4, "kwargs": {"scenarios": "varied"}}
    found = of_today(
        {"env": {**env, **former, "plain_agents": ["x"]}, "evaluation": {"interim": interim}}
    )
    evaluation = {"interim": {"episodes": 4, "scenarios": "varied"}, "env": {"start": "beginning"}}
    assert found == {"env": env, "evaluation": evaluation}
    assert of_today(found) == found
    interim["kwargs"]["reward"] = "margin"  # only matters, and is refused, where it is resumed
    found = of_today({"env": env, "evaluation": {"interim": interim}})
    assert found["evaluation"]["interim"]["kwargs"] == {"reward": "margin"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], ("mlp", 33, "full")),
        (["experiment=quickstart"], ("mlp", 33, "full")),  # what was trained comes before a recipe
        (["network=residual"], ("residual", 256, "full")),  # and what is asked for before both
        (["agent.network.hidden_size=7"], ("mlp", 7, "full")),
        (["observation=features", "agent.discount=0.5"], ("mlp", 33, "features")),
    ],
)
def test_a_group_is_taken_from_another_run(
    overrides: list[str], expected: tuple[str, int, str]
) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        trained = ["network=mlp", "agent.network.hidden_size=33", "observation=full"]
        saved = plain(compose("train", overrides=trained))
        composed = compose("train", overrides=overrides)
    config = plain(composed)
    found = adopt(config, saved, ("network", "observation"), composed, overrides)
    network = found["agent"].pop("network")
    kind = str(network["_target_"]).split(".")[-2]
    observation = found["env"]["kwargs"]["observation"]
    assert (kind, network["hidden_size"], observation) == expected
    del config["agent"]["network"]
    assert found["agent"] == config["agent"]  # all else is the new run's own


@pytest.mark.parametrize(
    ("typed", "start", "reward"),
    [
        ("evaluation.num_envs=3", "random", "n1"),  # the command's own
        ("evaluation.env.start=beginning", "beginning", "n1"),
        ("evaluation={num_envs: 3, env: {start: beginning}}", "beginning", "l2rpn"),
    ],
)
def test_an_evaluation_changes_the_environment_as_the_run_did_unless_told(
    typed: str, start: str, reward: str
) -> None:
    trained = ["evaluation.env.start=random", "evaluation.env.reward=n1"]
    with initialize_config_module("conf", version_base="1.3"):
        saved = plain(compose("train", overrides=trained))
        composed = compose("evaluate", overrides=[typed])
    changeable, ignored = ("env", "evaluation.env"), ("evaluation",)
    found = change_saved(saved, composed, [typed], changeable=changeable, ignored=ignored)
    assert found["evaluation"]["env"] == {"start": start, "reward": reward}
    assert found["evaluation"]["num_envs"] == saved["evaluation"]["num_envs"]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("wrappers=gated", {"observation"}),
        ("observation=features", {"mine"}),
        ("env.kwargs.idle_gate=0.9", {"observation", "mine"}),
    ],
)
def test_wrappers_go_with_what_they_are_of(typed: str, kept: set[str]) -> None:
    wrapper = "+env.wrappers.mine={_target_: gymnasium.wrappers.TimeAwareObservation}"
    with initialize_config_module("conf", version_base="1.3"):
        saved = plain(compose("train", overrides=["observation=graph", wrapper]))
        composed = compose("evaluate", overrides=[typed])
    found = change_saved(saved, composed, [typed], changeable=("env",), ignored=())
    assert set(found["env"]["wrappers"]) == kept


def test_what_is_typed_changes_all_that_it_stands_for_and_no_more() -> None:
    typed = ["trainer.device=cuda", "env.kwargs.ask_every=6", "+agent@env.baselines.random=random"]
    with initialize_config_module("conf", version_base="1.3"):
        saved = plain(compose("train", overrides=["trainer.device=cpu"]))
        composed = compose("evaluate", overrides=typed)
    del saved["env"]["kwargs"]["ask_every"]  # as in older runs

    def changed() -> dict[str, Any]:
        changeable = ("env", "agent", "trainer")
        return change_saved(saved, composed, typed, changeable=changeable, ignored=())

    found = changed()
    assert found["env"]["kwargs"]["ask_every"] == 6
    assert found["env"]["baselines"]["random"]["_target_"].endswith("RandomAgent")
    assert found["trainer"]["device"] == found["agent"]["device"] == "cuda"
    assert found["agent"] == {**saved["agent"], "device": "cuda"}
    saved["agent"]["device"] = "cuda:1"  # one of its own
    assert changed()["agent"] == saved["agent"]
