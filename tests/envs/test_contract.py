"""PowerGrid-v0 as a Gymnasium environment: checker, registry, spec, pickle."""

from __future__ import annotations

import importlib
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import envs
from envs.reference.wrappers import IdleGate, ReconnectLines


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"observation": "full", "reward": "survival", "start": "random", "max_steps": 50},
        {"observation": "graph", "render_mode": "rgb_array", "action_mask": "distinct"},
    ],
)
def test_passes_gymnasiums_checker(arguments: dict[str, Any]):
    env = gym.make("PowerGrid-v0", disable_env_checker=True, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check="render_mode" not in arguments)
    env.close()


def test_passes_the_passive_checker():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("PowerGrid-v0", idle_gate=0.8, reconnect_lines=True)
        env.reset(seed=0)
        for _ in range(5):
            _, _, terminated, truncated, _ = env.step(0)
            if terminated or truncated:
                env.reset()
    env.close()


def test_wrappers_by_keyword():
    env = gym.make("PowerGrid-v0", idle_gate=0.9, reconnect_lines=True, disable_env_checker=True)
    assert isinstance(env, gym.Wrapper)
    gate = env.env
    assert isinstance(gate, IdleGate) and gate.threshold == 0.9
    assert isinstance(gate.env, ReconnectLines)
    assert env.has_wrapper_attr("simulate") and env.has_wrapper_attr("action_masks")
    env.close()


@pytest.mark.parametrize(
    "arguments",
    [
        {"split": "val", "parameters": {"NB_TIMESTEP_COOLDOWN_SUB": 3}, "text_infos": True},
        {"idle_gate": 0.8, "reconnect_lines": True, "observation": "full", "max_steps": 100},
        {"reconnect_lines": True},
    ],
)
def test_spec_makes_the_same_again(arguments: dict[str, Any]):
    env = gym.make("PowerGrid-v0", **arguments)
    assert env.spec is not None
    written = env.spec.to_json()
    again = gym.make(EnvSpec.from_json(written))
    assert str(again) == str(env) and again.spec == env.spec
    first, info = env.reset(seed=1)
    second, same = again.reset(seed=1)
    assert np.array_equal(first, second) and info.keys() == same.keys()
    names = [one.get_wrapper_attr("info_texts")()["scenario"] for one in (env, again)]
    assert names[0] == names[1]
    gym.make(env.spec).close()
    env.close()
    again.close()


def test_pickles():
    env = gym.make("PowerGrid-v0", split="val", idle_gate=0.8)
    twin = pickle.loads(pickle.dumps(env))
    first, _ = env.reset(seed=2)
    second, _ = twin.reset(seed=2)
    assert np.array_equal(first, second)
    for _ in range(3):
        assert np.array_equal(env.step(0)[0], twin.step(0)[0])
    env.close()
    twin.close()


def test_import_registers_once():
    importlib.reload(envs)  # a second registration would warn
    assert gym.spec("PowerGrid-v0").entry_point == "envs.make:make_power_grid"
    assert sorted(envs.__all__, key=str.lower) == sorted(set(envs.__all__), key=str.lower)
    assert all(hasattr(envs, name) for name in envs.__all__)


def test_docstring_has_gymnasiums_sections():
    sections = [
        "Description",
        "Action Space",
        "Observation Space",
        "Rewards",
        "Starting State",
        "Episode End",
        "Information",
        "Arguments",
        "Version History",
    ]
    doc = envs.PowerGridEnv.__doc__ or ""
    places = [doc.index(f"## {section}") for section in sections]
    assert places == sorted(places)


def test_several_side_by_side_do_not_meet():
    vector: Any = gym.make_vec(
        "PowerGrid-v0", num_envs=3, vectorization_mode="sync", split="val", text_infos=True
    )
    observations, infos = vector.reset(seed=[1, 1, 2])
    assert infos["action_mask"].shape == (3, 487)
    for _ in range(20):
        observations, *_, infos = vector.step(np.array([0, 0, 396]))
        if infos["end"][2]:
            break
    assert np.array_equal(observations[0], observations[1])
    assert not np.array_equal(observations[0], observations[2])
    vector.close()
