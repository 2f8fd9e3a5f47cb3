"""Playing the reference and the fast simulator side by side, and comparing everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import gymnasium as gym
import numpy as np

from envs.power_grid import PowerGridEnv
from envs.vector import PowerGridVectorEnv

Policy = Callable[[np.random.Generator, dict[str, Any], PowerGridEnv], int]

RELATIVE = 1e-4  # of flows, voltages, angles
LEAST = 1e-2  # below it a number counts as this much: MW, MVAr, kV, A, degrees
OBSERVATION = 1e-5  # of observations and rewards, scaled to order 1


class Compared(NamedTuple):
    """How much was compared."""

    steps: int  # grid steps
    episodes: int
    illegal: int  # refused actions
    blackouts: int
    lookaheads: int  # actions looked ahead at


def nothing(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv) -> int:
    return 0


def legal(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv) -> int:
    return int(rng.choice(np.flatnonzero(info["action_mask"])))


def anything(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv) -> int:
    return int(rng.integers(env.catalogue.num_actions))


def now_and_then(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv) -> int:
    return anything(rng, info, env) if rng.random() < 0.1 else 0


def about_lines(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv) -> int:
    """Open lines, close them at any busbar, and act on the substations beside them."""
    draw = rng.random()
    if draw < 0.25:
        return int(rng.integers(env.catalogue.num_actions - 100, env.catalogue.num_actions))
    return anything(rng, info, env) if draw < 0.35 else 0


def greedy(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv) -> int:
    if info["rho_max"] < 0.9:
        return 0
    candidates = rng.permutation(np.flatnonzero(env.catalogue.distinct(env.state)[0]))[:40]
    candidates = np.append(candidates, 0)
    return int(candidates[env.simulate(candidates).rho_max.argmin()])


def compare(
    policy: Policy, steps: int, *, seed: int = 0, looking: float = 0.02, **options: Any
) -> Compared:
    """Play ``policy`` on both for ``steps`` grid steps; raise AssertionError where they differ.

    Args:
        policy: decides on what the reference shows.
        steps: at least as many grid steps are compared.
        seed: of the first episode; each next one has the next seed.
        looking: share of decisions at which twelve actions are looked ahead at.
        options: of both environments.
    """
    reference: gym.Env[Any, Any] = gym.make("PowerGrid-v0", disable_env_checker=True, **options)
    fast = PowerGridVectorEnv(1, autoreset="disabled", **options)
    env = reference.unwrapped
    assert isinstance(env, PowerGridEnv)
    rng = np.random.default_rng(seed)
    played = episodes = illegal = blackouts = lookaheads = 0
    while played < steps:
        where = f"seed {seed}, reset"
        observation, info = reference.reset(seed=seed)
        observations, infos = fast.reset(seed=seed)
        _same_state(env, fast, where)
        _same_info(info, infos, where)
        _close(observation, observations[0], OBSERVATION, 1, f"{where}: observation")
        played += info["duration"]
        over = False
        while not over and played < steps:
            where = f"{policy.__name__} {options}, seed {seed}, step {info['step']}"
            if rng.random() < looking:
                _same_lookahead(env, fast, rng, where)
                lookaheads += 12
            action = policy(rng, info, env)
            where += f", action {action}"
            observation, reward, terminated, truncated, info = reference.step(action)
            observations, rewards, terminations, truncations, infos = fast.step(np.array([action]))
            assert (terminated, truncated) == (terminations[0], truncations[0]), where
            _same_state(env, fast, where)
            _same_info(info, infos, where)
            _close(observation, observations[0], OBSERVATION, 1, f"{where}: observation")
            _close(np.array(reward), rewards[0], OBSERVATION, 1, f"{where}: reward")
            played += info["duration"]
            illegal += info["illegal"]
            blackouts += terminated
            over = terminated or truncated
        seed += 1
        episodes += 1
    reference.close()
    fast.close()
    return Compared(played, episodes, illegal, blackouts, lookaheads)


def _close(expected: np.ndarray, given: Any, tolerance: float, least: float, where: str) -> None:
    error = np.abs(np.asarray(expected, np.float64) - given) / np.maximum(np.abs(expected), least)
    assert np.all(error <= tolerance), f"{where}: off by {np.max(error)}"


def _same_state(env: PowerGridEnv, fast: PowerGridVectorEnv, where: str) -> None:
    for name, expected, given in zip(env.state._fields, env.state, fast.state, strict=True):
        if expected.dtype.kind == "f":
            _close(expected, given, RELATIVE, LEAST, f"{where}: {name}")
        else:
            assert np.array_equal(expected, given), f"{where}: {name}"


def _same_info(info: dict[str, Any], infos: dict[str, Any], where: str) -> None:
    there = {key for key in infos if not key.startswith("_") and infos[f"_{key}"][0]}
    assert there == set(info), where
    for key, expected in info.items():
        given = infos[key][0]
        if key in ("rho_max", "reset_reward"):
            _close(np.array(expected), given, OBSERVATION, 1, f"{where}: {key}")
        elif key == "action_mask":
            differ = np.flatnonzero(expected != given)
            assert not len(differ), f"{where}: masks of actions {differ}"
        else:
            assert expected == given, f"{where}: {key} is {given!r}, not {expected!r}"


def _same_lookahead(
    env: PowerGridEnv, fast: PowerGridVectorEnv, rng: np.random.Generator, where: str
) -> None:
    actions = rng.integers(env.catalogue.num_actions, size=12)
    expected, given = env.simulate(actions), fast.simulate([actions])[0]
    assert given is not None
    where = f"{where}: looking ahead at {actions}"
    assert np.array_equal(expected.game_over, given.game_over), where
    survived = ~expected.game_over
    _close(expected.rho_max[survived], given.rho_max[survived], RELATIVE, LEAST, where)
    assert np.isinf(given.rho_max[~survived]).all(), where


def assert_identical(expected: Any, given: Any) -> None:
    """The same to the last bit, whatever they are made of."""
    if isinstance(expected, dict):
        assert expected.keys() == given.keys()
        for key, value in expected.items():
            assert_identical(value, given[key])
    elif isinstance(expected, list | tuple):
        assert len(expected) == len(given)
        for one, two in zip(expected, given, strict=True):
            assert_identical(one, two)
    elif isinstance(expected, np.ndarray) and expected.dtype == object:
        assert given.dtype == object
        assert_identical(expected.tolist(), given.tolist())
    elif isinstance(expected, np.ndarray):
        assert expected.dtype == given.dtype and np.array_equal(expected, given)
    else:
        assert expected == given
