"""Copies of environments in mid-episode: they go on as the original does, and leave it alone."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from grid2op.Action import PowerlineSetAction
from grid2op.Opponent import BaseActionBudget, RandomLineOpponent
from gymnasium.wrappers import vector as wrappers

from envs.fast import grid_template
from envs.fast.vector import PowerGridVectorEnv
from envs.make import make_power_grid
from envs.reference.observed_grid import ObservedPowerGrid
from envs.reference.power_grid import PARAMETERS, PowerGridEnv
from envs.scenarios import make_source
from tests.conftest import ROOT
from tests.copies import WAYS, same

B = 4
OPTIONS: dict[str, Any] = {"scenarios": "bundled", "start": "random"}
GATED: dict[str, Any] = {**OPTIONS, "idle_gate": 0.9, "reconnect_lines": True}
LOOKS = np.arange(0, 487, 20)  # actions that are looked ahead at
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def make_vec(**options: Any) -> Any:
    options = {"num_envs": B, "vectorization_mode": "vector_entry_point", **options}
    return gym.make_vec("PowerGrid-v0", **options)


def play(env: Any, infos: Any, steps: int, *, seed: int) -> tuple[list[Any], int]:
    """Play legal actions; return all that is seen on the way, and how many episodes end."""
    rng = np.random.default_rng(seed)
    seen: list[Any] = []
    ended = 0
    for _ in range(steps):
        actions = [rng.choice(np.flatnonzero(mask)) for mask in infos["action_mask"]]
        seen.append(env.step(np.array(actions)))
        *_, terminations, truncations, infos = seen[-1]
        ended += int((terminations | truncations).sum())
    grids = env.unwrapped
    active = [None if over else LOOKS for over in grids.over]
    seen += [grids.simulate(active), grids.simulator_calls.copy(), grids.state_dict()]
    return seen, ended


def plan(env: Any) -> list[Any]:
    """Plan three steps ahead on each grid that plays; return what is foreseen."""
    planner = env.unwrapped.planner()
    grids = np.flatnonzero(~env.unwrapped.over)
    slots = planner.begin(grids)
    seen = []
    for actions in ([0, 5, 200, 300], [7, 0, 1, 450], [0, 0, 0, 0]):
        found = planner.step(slots, np.array(actions)[grids])
        seen.append(found)
        slots = found.slots
    return seen


# ------------------------------------------------------------------------- the vector environment


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        {**GATED, "reward": "survival"},
        {"observation": "graph", "action_mask": "distinct", "autoreset": "next_step"},
    ],
    ids=["plain", "gated", "graph"],
)
def test_copies_of_the_vector_environment_go_on_like_the_original(options: dict[str, Any]):
    env = make_vec(**options)
    _, infos = env.reset(seed=3)
    env.action_space.seed(4)
    play(env, infos, 25, seed=5)
    twins = {name: way(env) for name, way in WAYS.items()}
    infos = env.step(np.zeros(B, dtype=np.int64))[-1]
    for twin in twins.values():
        twin.step(np.zeros(B, dtype=np.int64))
    # the copies first, so that the original shows whether they touched it
    found = {name: (play(twin, infos, 25, seed=6), plan(twin)) for name, twin in twins.items()}
    expected, ended = play(env, infos, 25, seed=6)
    planned = plan(env)
    sample = env.action_space.sample()
    assert ended > B  # generators choose what follows
    for name, twin in twins.items():
        (seen, count), foreseen = found[name]
        assert count == ended and same(seen, expected), name
        assert same(foreseen, planned), name
        assert same(twin.action_space.sample(), sample), name
        twin.close()
    env.close()


@every_way
def test_doing_nothing_in_a_copy_ends_when_it_does_in_a_fresh_one(way: Callable[[Any], Any]):
    def end(env: PowerGridVectorEnv) -> tuple[int, str]:
        *_, infos = env.step([0])
        while not env.over[0]:
            *_, infos = env.step([0])
        return int(infos["step"][0]), str(env.info_texts()["end"][0])

    env, fresh = (PowerGridVectorEnv(1, autoreset="disabled") for _ in range(2))
    env.reset(seed=0)
    fresh.reset(seed=0)
    expected = end(fresh)
    assert expected[0] < 8064 and expected[1].startswith("blackout")
    assert end(way(env)) == expected
    assert end(env) == expected


@every_way
def test_planners_are_copied_with_their_environment(way: Callable[[Any], Any]):
    env = PowerGridVectorEnv(2, **GATED)
    env.reset(seed=2)
    planner = env.planner()
    before = planner.step(planner.begin(np.array([0, 1])), np.array([0, 7]))
    if way is copy.copy:
        twin = way(planner)  # brings an environment of its own
        assert twin._played is not env
    else:
        twin_env, twin = way((env, planner))
        assert twin._played is twin_env
        calls = twin_env.simulator_calls.copy()
    # the plan under way, and one that begins
    expected = planner.step(before.slots, np.array([3, 300]))
    assert same(twin.step(before.slots, np.array([3, 300])), expected)
    assert same(twin.state(expected.slots), planner.state(expected.slots))
    one = np.array([1])
    env.step([0, 0])
    twin._played.step([0, 0])
    assert same(twin.observations(twin.begin(one)), planner.observations(planner.begin(one)))
    if way is not copy.copy:
        assert (twin_env.simulator_calls - calls).tolist() == [1, 1]


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])  # the others are up to Gymnasium
def test_gymnasiums_vector_wrappers_are_copied_with_it(way: str):
    env: Any = wrappers.NormalizeObservation(
        wrappers.RecordEpisodeStatistics(make_vec(**GATED, autoreset="next_step"))
    )
    observations, infos = env.reset(seed=1)
    twin = WAYS[way](env)
    expected, _ = play(env, infos, 6, seed=1)
    found, _ = play(twin, infos, 6, seed=1)
    for _, _, _, _, seen in (*expected[:6], *found[:6]):
        seen.pop("episode", None)  # holds the wall-clock time
    assert same(found, expected)
    assert env.env.episode_count == twin.env.episode_count


def test_a_closed_one_stays_closed():
    env = make_vec(**OPTIONS)
    env.close()
    with pytest.raises(gym.error.ClosedEnvironmentError):
        copy.deepcopy(env).step(np.zeros(B, dtype=np.int64))


# ------------------------------------------------------------------------- single environments

OPPONENT = {
    "opponent_attack_cooldown": 4,
    "opponent_attack_duration": 3,
    "opponent_budget_per_ts": 1.0,
    "opponent_init_budget": 100.0,
    "opponent_action_class": PowerlineSetAction,
    "opponent_class": RandomLineOpponent,
    "opponent_budget_class": BaseActionBudget,
    "kwargs_opponent": {"lines_attacked": ["1_3_3", "1_4_4", "3_6_15"]},
}


def play_single(env: Any, info: dict[str, Any], steps: int, *, seed: int) -> tuple[list[Any], int]:
    rng = np.random.default_rng(seed)
    seen: list[Any] = []
    ended = 0
    for _ in range(steps):
        legal = np.flatnonzero(info["action_mask"])
        action = int(rng.choice(legal)) if rng.random() < 0.5 else 0
        seen.append(env.step(action))
        *_, terminated, truncated, info = seen[-1]
        if terminated or truncated:
            ended += 1
            seen.append(env.reset())
            info = seen[-1][-1]
    seen.append(env.unwrapped.simulate(LOOKS))
    if env.render_mode:
        seen.append(env.render())
    return seen, ended


@pytest.mark.parametrize(
    "options",
    [
        {**OPTIONS, "reward": "EpisodeDurationReward"},
        {**GATED, "max_steps": 30, "max_episode_steps": 4, "render_mode": "rgb_array"},
        {**OPTIONS, "grid2op_options": OPPONENT, "observation": "graph"},
    ],
    ids=["plain", "gated", "opponent"],
)
def test_copies_of_a_single_environment_go_on_like_the_original(options: dict[str, Any]):
    env = gym.make("PowerGrid-v0", **options)
    _, info = env.reset(seed=3)
    play_single(env, info, 8, seed=5)
    over = True
    while over:  # copied between the beginning and the end of an episode
        env.reset()
        *_, terminated, truncated, info = env.step(0)
        over = terminated or truncated
    twins = {name: WAYS[name](env) for name in ("deepcopy", "shared memory")}
    found = {name: play_single(twin, info, 20, seed=6) for name, twin in twins.items()}
    expected, ended = play_single(env, info, 20, seed=6)
    assert ended > 1
    for name, (seen, count) in found.items():
        assert count == ended and same(seen, expected), name
        twins[name].close()
    env.close()


def test_shallow_copies_of_ours_share_no_grid():
    env = make_power_grid(**GATED)  # without the wrappers of Gymnasium's, whose copies are shallow
    env.reset(seed=1)
    twin, bare = copy.copy(env), copy.copy(env.unwrapped)
    expected = bare.step(0)
    twin.step(7)
    assert same(env.unwrapped.step(0), expected)
    for one in (env, twin, bare):
        one.close()


def test_what_grid2op_counts_is_copied_too():
    env = PowerGridEnv(**OPTIONS, parameters={"MAX_SIMULATE_PER_EPISODE": 10})
    env.reset(seed=1)
    env.simulate([0, 1, 2])
    env.step(0)
    env.simulate([0, 1, 2, 3])
    twin = pickle.loads(pickle.dumps(env))
    for one in (env, twin):
        space = one.grid2op_env.observation_space
        assert space.nb_simulate_called_this_episode == 7
        assert space.nb_simulate_called_this_step == 4
        one.close()


def test_a_copy_that_would_stand_elsewhere_is_refused():
    env = PowerGridEnv(**OPTIONS)
    env.reset(seed=1)
    env.grid2op_env.step(env.catalogue.grid2op_actions[0])
    env.step(0)
    with pytest.raises(ValueError, match="somebody else stepped grid2op_env") as caught:
        copy.deepcopy(env)
    assert "\n" not in str(caught.value)
    env.reset()
    copy.deepcopy(env).close()
    env.close()
    assert not hasattr(copy.deepcopy(env), "never") and copy.deepcopy(env)._closed


@every_way
def test_what_others_play_is_refused(way: Callable[[Any], Any], sandbox: Any):
    env = ObservedPowerGrid(sandbox.action_space)
    with pytest.raises(TypeError, match="make an ObservedPowerGrid from the action space"):
        way(env)


# -------------------------------------------------------------------------------------- the parts


@pytest.mark.slow
def test_a_pickle_goes_on_in_another_process(tmp_path: Any):
    env = PowerGridVectorEnv(2, **GATED)
    single = gym.make("PowerGrid-v0", **OPTIONS)
    env.reset(seed=1)
    single.reset(seed=1)
    single.step(0)
    path = tmp_path / "envs.pickle"
    path.write_bytes(pickle.dumps((env, single)))
    script = (
        "import pickle, sys\n"
        "env, single = pickle.load(open(sys.argv[1], 'rb'))\n"
        "for _ in range(3): env.step([0, 7])\n"
        "found = env.step([0, 7])[:2], single.step(0)[:2]\n"
        "pickle.dump(found, open(sys.argv[1], 'wb'))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, cwd=ROOT)
    for _ in range(3):
        env.step([0, 7])
    expected = env.step([0, 7])[:2], single.step(0)[:2]
    assert same(pickle.loads(path.read_bytes()), expected)
    single.close()


@every_way
def test_a_process_has_one_template_of_a_grid(way: Callable[[Any], Any]):
    template = grid_template("l2rpn_case14_sandbox", PARAMETERS)
    assert way(template) is template


@pytest.mark.parametrize("way", ["pickle", "shared memory"])
def test_scenarios_arrive_read_only_and_small(way: str):
    source = make_source("recombined", grid="l2rpn_case14_sandbox", folder=None)
    scenario = source.load(source.names("val")[0])
    found = WAYS[way](scenario)
    assert same(found, scenario)
    for name, values in vars(scenario).items():
        if isinstance(values, np.ndarray):
            other = getattr(found, name)
            assert not other.flags.writeable
            assert other.strides == values.strides  # rows that are all the same stay one
