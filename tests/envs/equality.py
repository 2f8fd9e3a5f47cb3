"""Playing the reference and the fast simulator side by side, and comparing everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from envs import ActionSet
from envs.fast.vector import PowerGridVectorEnv
from envs.grid.state import GridState, Lookahead
from envs.reference.power_grid import PowerGridEnv

RELATIVE = 1e-4  # of flows, voltages, angles
LEAST = 1e-2  # below it a number counts as this much: MW, MVAr, kV, A, degrees
DIFFERENCES = 1.0  # the same of some powers on large grids, MW, MVAr
SMALL = 20  # lines of a grid whose topologies are solved one by one
ROUNDING = 1e-6  # of loadings of one simulator, solved beside others
OBSERVATION = 1e-5  # of observations and rewards, scaled to order 1
_POWERS = ("p_or", "p_ex", "q_or", "q_ex", "gen_p", "gen_q")
LOSSES = 4  # lines whose loss is compared, of two of them
SOME = 12  # actions of a look-ahead that is compared; all distinct ones in one of twenty


# ----------------------------------------------------------------------------------- policies
# A policy decides on what the reference shows; greedy looks ahead on the fast one, for speed.

Policy = Callable[["np.random.Generator", dict[str, Any], PowerGridEnv, PowerGridVectorEnv], int]


def nothing(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv, fast: Any) -> int:
    return 0


def legal(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv, fast: Any) -> int:
    return int(rng.choice(np.flatnonzero(info["action_mask"])))


def anything(rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv, fast: Any) -> int:
    return int(rng.integers(env.catalogue.num_actions))


def now_and_then(
    rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv, fast: Any
) -> int:
    return anything(rng, info, env, fast) if rng.random() < 0.1 else 0


def about_lines(
    rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv, fast: Any
) -> int:
    """Open lines, close them at any busbar, and act on the substations beside them."""
    draw = rng.random()
    if draw < 0.25:  # actions on lines are the catalogue's last
        lines = (env.catalogue.set_line != 0).any(axis=1)
        return int(rng.choice(np.flatnonzero(lines)))
    return anything(rng, info, env, fast) if draw < 0.35 else 0


def lines_kept_out(
    rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv, fast: Any
) -> int:
    """Open a line or two and leave them open; act on what is left now and then."""
    draw = rng.random()
    if draw < 0.1 and (~env.state.line_status[0]).sum() < 2:
        opens = (env.catalogue.set_line < 0).any(axis=1)
        return int(rng.choice(np.flatnonzero(opens)))
    return anything(rng, info, env, fast) if draw > 0.97 else 0


def greedy(
    rng: np.random.Generator, info: dict[str, Any], env: PowerGridEnv, fast: PowerGridVectorEnv
) -> int:
    if info["rho_max"] < 0.9:
        return 0
    candidates = np.flatnonzero(env.catalogue.distinct(env.state)[0])
    found = fast.simulate([candidates])[0]
    assert found is not None
    return int(candidates[found.rho_max.argmin()])


# --------------------------------------------------------------------------------- comparison


@dataclass
class Compared:
    """How much was compared, and what differed."""

    states: int = 0  # compared number by number, one after each decision and reset
    steps: int = 0  # grid steps played; more than states under an idle gate
    episodes: int = 0
    illegal: int = 0  # refused actions
    blackouts: int = 0
    attacks: int = 0  # lines taken out by an opponent
    lookaheads: int = 0  # actions looked ahead at
    disagreements: list[str] = field(default_factory=list)

    def __iadd__(self, other: Compared) -> Compared:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


def compare(
    policy: Policy,
    states: int,
    *,
    seed: int = 0,
    looking: float = 0.02,
    stop: bool = True,
    **options: Any,
) -> Compared:
    """Play ``policy`` on both until as many states are compared.

    Args:
        policy: decides.
        states: at least as many are compared.
        seed: of the first episode; each next one has the next seed.
        looking: share of decisions at which actions are looked ahead at.
        stop: raise AssertionError at the first disagreement; else go on with the next episode.
        options: of both environments.
    """
    shown, options = options, {**options, "text_infos": True}
    shown = {key: value for key, value in shown.items() if not isinstance(value, ActionSet)}
    reference: gym.Env[Any, Any] = gym.make("PowerGrid-v0", disable_env_checker=True, **options)
    fast = PowerGridVectorEnv(1, autoreset="disabled", **options)
    env = reference.unwrapped
    assert isinstance(env, PowerGridEnv)
    assert env.catalogue.sha256 == fast.catalogue.sha256
    rng = np.random.default_rng(seed)
    compared = Compared()
    while compared.states < states:
        try:
            _play(policy, reference, fast, rng, seed, states, looking, compared)
        except AssertionError as difference:
            if stop:
                raise AssertionError(f"{policy.__name__} {shown}: {difference}") from None
            compared.disagreements.append(f"{policy.__name__} {shown}: {difference}")
        seed += 1
        compared.episodes += 1
    reference.close()
    fast.close()
    return compared


def _play(
    policy: Policy,
    reference: gym.Env[Any, Any],
    fast: PowerGridVectorEnv,
    rng: np.random.Generator,
    seed: int,
    states: int,
    looking: float,
    compared: Compared,
) -> None:
    """Play one episode."""
    env = reference.unwrapped
    assert isinstance(env, PowerGridEnv)
    observation, info = reference.reset(seed=seed)
    observations, infos = fast.reset(seed=seed)
    where = f"seed {seed}, {info['scenario']}, reset"
    _same(env, fast, (observation, 0.0, info), (observations, [0.0], infos), where)
    compared.states += 1
    compared.steps += info["duration"]
    over = False
    while not over and compared.states < states:
        where = f"seed {seed}, {info['scenario']}, step {info['step']}"
        if rng.random() < looking:
            compared.lookaheads += _same_lookahead(env, fast, rng, where)
        action = policy(rng, info, env, fast)
        where += f", action {action}"
        observation, reward, terminated, truncated, info = reference.step(action)
        observations, rewards, terminations, truncations, infos = fast.step(np.array([action]))
        assert (terminated, truncated) == (terminations[0], truncations[0]), where
        _same(env, fast, (observation, reward, info), (observations, rewards, infos), where)
        compared.states += 1
        compared.steps += info["duration"]
        compared.illegal += info["illegal"]
        compared.blackouts += terminated
        over = terminated or truncated
    compared.attacks += info.get("attacks", 0)


def _same(
    env: PowerGridEnv, fast: PowerGridVectorEnv, expected: Any, given: Any, where: str
) -> None:
    """Compare all that both show after the same action."""
    _same_state(env.state, fast.state, where)
    grids: Any = fast._grids
    protections = env.grid2op_observation.timestep_protection_engaged
    same = np.array_equal(protections, grids.simulator.protection_steps[0])
    assert same, f"{where}: steps above the soft limit are not {protections}"
    observation, reward, info = expected
    observations, rewards, infos = given
    _same_info(info, infos, where)
    parts = observation if isinstance(observation, dict) else {"": observation}
    others = observations if isinstance(observation, dict) else {"": observations}
    for name, part in parts.items():
        _close(part, others[name][0], OBSERVATION, 1, f"{where}: observation {name}")
    _close(np.array(reward), rewards[0], OBSERVATION, 1, f"{where}: reward")


def _close(expected: np.ndarray, given: Any, tolerance: float, least: float, where: str) -> None:
    error = np.abs(np.asarray(expected, np.float64) - given)
    limit = np.maximum(np.abs(expected), least) * tolerance
    assert (error <= limit).all(), f"{where}: off by {np.max(error)}"


def _same_state(expected: GridState, given: GridState, where: str) -> None:
    pairs = list(zip(expected._fields, expected, given, strict=True))
    real = [pair for pair in pairs if pair[1].dtype.kind == "f"]
    ours, theirs = (np.concatenate([pair[i] for pair in real], axis=1) for i in (1, 2))
    error = np.abs(ours - theirs.astype(np.float64))
    if not (error <= np.maximum(np.abs(ours), LEAST) * RELATIVE).all():
        small = expected.rho.shape[1] <= SMALL
        for name, one, two in real:
            # there some powers are small differences of large numbers: of what flows at the bus of
            # a generator (what it feeds in at the slack is one, too), of the voltages at both ends
            # of a short line
            differences = not small and name in _POWERS
            least = DIFFERENCES if differences else LEAST
            _close(one, two, RELATIVE, least, f"{where}: {name}")
    for name, one, two in pairs:
        if one.dtype.kind != "f":
            assert np.array_equal(one, two), f"{where}: {name} is {two}, not {one}"


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
            assert np.array_equal(expected, given), f"{where}: {key} is {given!r}, not {expected!r}"


def _same_lookahead(
    env: PowerGridEnv, fast: PowerGridVectorEnv, rng: np.random.Generator, where: str
) -> int:
    """Look ahead on both; return at how many actions."""
    actions = rng.integers(env.catalogue.num_actions, size=SOME)
    if rng.random() < 0.05:
        actions = np.flatnonzero(env.catalogue.distinct(env.state)[0])
    expected, given = env.simulate(actions), fast.simulate([actions])[0]
    assert given is not None
    differ = actions[expected.game_over != given.game_over]
    assert not len(differ), f"{where}: ends of the game foreseen after actions {differ}"
    survived = ~expected.game_over
    where = f"{where}: looking ahead at {actions[survived]}"
    _close(expected.rho_max[survived], given.rho_max[survived], RELATIVE, LEAST, where)
    assert np.isinf(given.rho_max[~survived]).all(), where
    return len(actions) + _same_losses(env, fast, actions[:2], given, rng, where)


def _same_losses(
    env: PowerGridEnv,
    fast: PowerGridVectorEnv,
    actions: np.ndarray,
    plain: Lookahead,
    rng: np.random.Generator,
    where: str,
) -> int:
    """Look at the loss of lines on both; return at how many."""
    lines = rng.choice(env.layout.num_lines, size=LOSSES, replace=False)
    expected, given = env.simulate(actions, lines), fast.simulate([actions], lines)[0]
    assert given is not None
    where = f"{where}: looking at {actions} and the loss of {lines}"
    assert given.rho.shape == (len(actions), 1 + LOSSES, env.layout.num_lines), where
    _same_without_loss(plain.rho[: len(actions)], given.rho[:, 0], where)
    assert np.array_equal(expected.game_over, given.game_over), where
    survived = ~expected.game_over
    _close(expected.rho[survived], given.rho[survived], RELATIVE, LEAST, where)
    _close(expected.rho_max[survived], given.rho_max[survived], RELATIVE, LEAST, where)
    assert np.isinf(given.rho[~survived]).all(), where
    return given.game_over.size


def _same_without_loss(expected: np.ndarray, given: np.ndarray, where: str) -> None:
    """What is solved beside others differs by rounding, where C++ solves it."""
    if expected.shape[1] <= SMALL:
        assert np.array_equal(expected, given), where
        return
    finite = np.isfinite(expected)
    assert np.array_equal(finite, np.isfinite(given)), where
    _close(expected[finite], given[finite], ROUNDING, LEAST, where)


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
