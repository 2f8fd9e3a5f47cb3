"""Opponents: what one is made of, who is refused, and that attacks follow from the seed alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from envs.fast.vector import PowerGridVectorEnv
from envs.opponents import (
    OPPONENTS,
    AreaOpponent,
    Attacker,
    RandomOpponent,
    WeightedOpponent,
    make_opponent,
)
from envs.reference.power_grid import PowerGridEnv
from tests.envs.equality import assert_identical
from tests.envs.equality_cases import OPPONENTS as KINDS
from tests.envs.equality_cases import UNPROTECTED

SANDBOX = "l2rpn_case14_sandbox"
PLAIN: dict[str, Any] = {"lines": ["3_4_6", "3_6_15"], "duration": 4, "period": 8, "budget": 40}
LASTING: dict[str, Any] = {"opponent": PLAIN, "parameters": UNPROTECTED, "autoreset": "disabled"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rl4pnk", "unknown opponent 'rl4pnk'; did you mean 'rl4pnc'"),
        (3, "opponent must be a name"),
        ("grid", "grid 'l2rpn_case14_sandbox' has no opponent of its own"),
        ({**PLAIN, "kind": "randm"}, "kind of opponent 'randm'; did you mean 'random'"),
        ({**PLAIN, "durration": 3}, "did you mean 'duration'"),
        ({"lines": ["3_4_6"]}, "duration and period must be given"),
        ({**PLAIN, "lines": ["3_4_7"]}, "line of the opponent '3_4_7'; did you mean '3_4_6'"),
        ({**PLAIN, "lines": "3_4_6"}, "lines must be a list of line names"),
        ({**PLAIN, "lines": [6]}, "lines must be names, but hold 6; put names in quotes"),
        ({**PLAIN, "lines": ["3_4_6", "3_4_6"]}, "hold '3_4_6' twice"),
        ({**PLAIN, "duration": 9}, "set period to at least 9"),
        ({**PLAIN, "duration": 0}, "duration must be an integer of at least 1"),
        ({**PLAIN, "budget": 3}, "its budget never suffices: an attack costs 4"),
        ({**PLAIN, "budget": -1}, "budget must be a number of at least 0"),
        ({**PLAIN, "kind": "weighted", "usual_rho": [1]}, "for each of its 2 lines"),
        ({**PLAIN, "kind": "geometric", "mean_hours": 1}, "least_hours must be less than"),
        ({**PLAIN, "kind": "geometric"}, "the shortest attack lasts 25 steps"),
        ({**PLAIN, "kind": "areas"}, "a list of lines for each area"),
        ({**PLAIN, "kind": "areas", "lines": 3}, "a list of lines for each area, but is 3"),
        ({**PLAIN, "kind": "areas", "lines": [["3_4_6"], ["3_4_6"]]}, "hold '3_4_6' twice"),
        ({**PLAIN, "kind": "weighted", "usual_rho": 3}, "usual_rho must be a list of numbers"),
        ({**PLAIN, "kind": "weighted", "usual_rho": "12"}, "usual_rho must be a list of numbers"),
        ({**PLAIN, "kind": "weighted", "within": 2**70}, "within must be an integer of at most"),
        ({**PLAIN, "duration": 2**70}, "duration must be an integer of at most"),
        ({**PLAIN, "budget": 1e300}, "budget must be at most 1e.09, but is 1e.300"),
        ({**PLAIN, "budget": 10**400}, "budget must be a number of at least 0"),
        ({**PLAIN, "budget": float("inf")}, "budget must be at most 1e.09, but is inf"),
        ({**PLAIN, "budget": float("nan")}, "budget must be a number of at least 0, but is nan"),
        ({**PLAIN, "budget": np.complex64(3)}, "budget must be a number of at least 0"),
        (
            {**PLAIN, "kind": "geometric", "duration": 100, "budget": 400, "mean_hours": 2.01},
            "mean_hours - least_hours must be a step of the grid at least, 1 / 12 hour",
        ),
        (
            {**PLAIN, "kind": "geometric", "duration": 100, "budget": 400, "every_hours": 4.05},
            "every_hours - mean_hours must be a step of the grid at least",
        ),
    ],
)
def test_says_what_is_wrong(given: Any, message: str):
    for make in (PowerGridEnv, PowerGridVectorEnv):
        with pytest.raises(ValueError, match=message) as refused:
            make(opponent=given)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("grid", "kind", "lines"),
    [
        ("rte_case14_opponent", RandomOpponent, 6),
        ("l2rpn_neurips_2020_track1", WeightedOpponent, 10),
        ("l2rpn_idf_2023", AreaOpponent, 22),
    ],
)
def test_a_grid_brings_its_own(grid: str, kind: type, lines: int):
    found = make_opponent("grid", grid)
    assert found is not None and type(found) is kind and len(found.all_lines) == lines
    if grid == "rte_case14_opponent":
        assert found == OPPONENTS["rte_case14"]


def test_two_who_attack_are_refused():
    with pytest.raises(ValueError, match="say who attacks .opponent_init_budget.*leave"):
        PowerGridEnv(opponent="rl4pnc", grid2op_options={"opponent_init_budget": 3.0})


def test_nobody_attacks_unless_asked_to():
    env = PowerGridEnv(grid="rte_case14_opponent", scenarios="bundled", parameters=UNPROTECTED)
    _, info = env.reset(seed=0)
    assert "attacks" not in info
    for _ in range(120):
        _, _, terminated, _, _ = env.step(0)
        assert not terminated and env.state.line_status.all()


def attacks_of(env: PowerGridVectorEnv, steps: int) -> list[list[int]]:
    """The lines held out by the opponent of grid 0 in each step."""
    held = []
    for _ in range(steps):
        _, _, terminations, _, infos = env.step(np.zeros(env.num_envs, dtype=np.int64))
        assert not terminations.any()
        held.append(np.flatnonzero(infos["attack_steps"][0]).tolist())
    return held


def test_attacks_follow_from_their_seed():
    env = PowerGridVectorEnv(1, reconnect_lines=True, **LASTING)
    name = env.scenarios.names("train")[0]
    options = {"scenario": name, "attack_seed": 5}
    found = {}
    for seed, attack_seed in ((1, 5), (2, 5), (1, 6)):
        env.reset(seed=seed, options={**options, "attack_seed": attack_seed})
        found[seed, attack_seed] = attacks_of(env, 120)
    assert found[1, 5] == found[2, 5] != found[1, 6]
    with pytest.raises(ValueError, match="attack_seed"):
        env.reset(options={"attack_seed": -1})


def test_attacks_survived_are_those_before_the_one_that_ends_the_game():
    grids = PowerGridVectorEnv(6, opponent="rl4pnc", split="val", autoreset="disabled")
    _, infos = grids.reset(seed=3)
    over, lost = np.zeros(6, dtype=bool), []
    while not over.all():
        lasting = infos["attack_steps"].any(axis=1)
        _, _, terminations, _, infos = grids.step(np.zeros(6, dtype=np.int64))
        began, survived = infos["attacks"], infos["attacks_survived"]
        for grid in np.flatnonzero(~over):
            held = terminations[grid] and lasting[grid] or infos["attack_steps"][grid].any()
            assert survived[grid] == began[grid] - held
        lost += lasting[terminations & ~over].tolist()
        over |= terminations
    assert set(lost) == {True, False}  # under attack, and between two


def test_a_line_is_held_and_then_stays_open():
    env = PowerGridVectorEnv(1, **LASTING)
    _, infos = env.reset(seed=0)
    switch = env.catalogue.switch_line_action
    assert infos["attacks"][0] == 0
    *_, infos = env.step([0])
    line = int(infos["attack_steps"][0].argmax())
    for left in (3, 2, 1):
        assert infos["attack_steps"][0][line] == env.state.line_cooldown[0, line] == left
        assert infos["attacks"][0] == 1 and not env.state.line_status[0, line]
        *_, infos = env.step([switch[line]])
        assert infos["illegal"][0] and not env.state.line_status[0, line]
    assert infos["attack_steps"][0][line] == 0
    *_, infos = env.step([0])
    assert not env.state.line_status[0, line]  # nobody closed it
    *_, infos = env.step([switch[line]])
    assert not infos["illegal"][0] and env.state.line_status[0, line]


def test_observations_have_the_size_that_they_have_without():
    for observation in ("features", "full", "graph"):
        plain = PowerGridVectorEnv(1, observation=observation)
        attacked = PowerGridVectorEnv(1, observation=observation, opponent="rl4pnc")
        assert plain.observation_space == attacked.observation_space


@pytest.mark.parametrize("kind", KINDS)
def test_an_attacker_goes_on_where_it_was_saved(kind: str):
    opponent = make_opponent(KINDS[kind], SANDBOX)
    assert opponent is not None
    env = PowerGridVectorEnv(1)
    one, other = (Attacker(opponent, env.layout.line_names) for _ in range(2))
    closed, rho = np.ones(20, dtype=np.bool_), np.linspace(0.1, 0.9, 20, dtype=np.float32)
    one.reset(3, 2000)
    for _ in range(150):
        one.attack(closed, rho)
    other.load(one.save())
    expected = [one.attack(closed, rho) for _ in range(600)]
    found = [other.attack(closed, rho) for _ in range(600)]
    assert any(attack is not None for attack in expected)
    assert_identical(expected, found)


@pytest.mark.parametrize(
    "given",
    [
        "rl4pnc",
        "rte_case14",
        {**PLAIN, "budget_per_step": 0.2},  # 20 steps pay for 4
        {**PLAIN, "kind": "weighted", "within": 31, "budget": 1e6},
        {**PLAIN, "kind": "geometric", "duration": 100, "every_hours": 6, "budget": 1e6},
    ],
)
def test_intervals_and_durations_are_those_in_the_long_run(given: Any):
    opponent = make_opponent(given, SANDBOX)
    assert opponent is not None
    names = PowerGridVectorEnv(1).layout.line_names
    attacker = Attacker(opponent, names)
    steps = 50_000
    attacker.reset(1, steps)
    closed, rho = np.ones(20, dtype=np.bool_), np.full(20, 0.5, dtype=np.float32)
    attacks = [attacker.attack(closed, rho) for _ in range(steps)]
    held = np.array([0 if attack is None else attack.duration for attack in attacks])
    began = (held > 0) & (np.append(0, held[:-1]) < 2)
    assert began.sum() * opponent.mean_interval == pytest.approx(steps, rel=0.08)
    assert (held > 0).sum() / began.sum() == pytest.approx(opponent.mean_duration, rel=0.08)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("spared", [0, 3])
def test_quiet_steps_pass_as_if_played(name: str, spared: int):
    opponent = make_opponent(KINDS[name], SANDBOX)
    assert opponent is not None
    names = PowerGridVectorEnv(1).layout.line_names
    stepped, passing = Attacker(opponent, names), Attacker(opponent, names)
    rng = np.random.default_rng(spared)
    quiet_steps = attacks = 0
    for seed in range(3):
        for attacker in (stepped, passing):
            attacker.reset(seed, 2000)
        out = rng.choice(len(names), size=spared, replace=False)  # by others
        held = np.zeros(0, dtype=np.int64)
        for _ in range(300):
            status = np.ones(len(names), dtype=np.bool_)
            status[out] = status[held] = False
            quiet = passing.pass_quiet(status, int(rng.integers(1, 30)))
            for _ in range(quiet):
                attack = stepped.attack(status, rng.random(len(names), dtype=np.float32))
                assert attack is None or not status[attack.lines].any()
            assert_identical(stepped.save(), passing.save())
            loadings = rng.random(len(names), dtype=np.float32)
            attack, same = (one.attack(status, loadings) for one in (stepped, passing))
            assert str(attack) == str(same)
            held = held[:0] if attack is None else attack.lines
            quiet_steps += quiet
            attacks += len(held) and bool(status[held].any())
    assert attacks > 3
    assert quiet_steps >= (0 if name == "areas" else 1000)


def test_saved_grids_are_attacked_as_they_would_have_been():
    env = PowerGridVectorEnv(2, **LASTING)
    env.reset(seed=0)
    attacks_of(env, 30)
    saved = env.save_state(0)
    expected = attacks_of(env, 60)
    env.load_state(0, saved)
    assert attacks_of(env, 60) == expected


def test_nothing_looks_into_the_future():
    """Another attack seed and other later rows: the same look-aheads, losses and plans."""
    env = PowerGridVectorEnv(1, **LASTING)
    name = env.scenarios.names("train")[0]
    found = []
    for attack_seed, change in ((5, 1.0), (6, 1.1)):
        env.reset(seed=1, options={"scenario": name, "attack_seed": attack_seed})
        saved = env.save_state(0)
        scenario = saved.episode.grid.scenario
        assert scenario is not None
        load_p = scenario.load_p.copy()
        load_p[1:] *= change
        grid = saved.episode.grid._replace(scenario=replace(scenario, load_p=load_p))
        env.load_state(0, saved._replace(episode=saved.episode._replace(grid=grid)))
        planner = env.planner()
        slots = planner.begin(np.array([0]))
        rewards = []
        for _ in range(12):  # longer than until the first attack
            planned = planner.step(slots, np.array([0]))
            slots = planned.slots
            rewards.append(planned.reward)
        assert planner.state(slots).line_status.all()
        found.append((env.simulate([[0, 100, 300]], [3, 6])[0], rewards, planner.state(slots).rho))
    assert_identical(*found)


def test_a_present_attack_runs_out_in_plans():
    env = PowerGridVectorEnv(1, **LASTING)
    env.reset(seed=0)
    env.step([0])
    planner = env.planner()
    slots = planner.begin(np.array([0]))
    left = []
    for _ in range(6):
        left.append(int(planner.state(slots).attack_steps.max()))
        slots = planner.step(slots, np.array([0])).slots
    assert left == [3, 2, 1, 0, 0, 0]
    assert not planner.state(slots).line_status.all()


def test_the_spec_survives_json():
    env: Any = gym.make("PowerGrid-v0", opponent=PLAIN, disable_env_checker=True)
    again: Any = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.opponent == env.unwrapped.opponent
