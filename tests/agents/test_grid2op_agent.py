"""``Grid2OpAgent``: what it sees, its seeds and copies, and what it refuses."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grid2op.Action import TopologySetAction
from grid2op.Agent import BaseAgent
from hydra import compose, initialize_config_module

from agents.agent import Agent
from agents.configuration.composition import build_environment_factory
from agents.grid2op_agent import AgentRecipe, Grid2OpAgent, recipe_from
from agents.grid2op_agent.player import Grid2OpPlayer
from agents.grid2op_agent.scores import open_folder, score_l2rpn_2020
from agents.runs.folder import RunFolder
from agents.runs.saved_configs import plain
from envs.reference.grid2op_state import observed_state
from envs.reference.observed_grid import ObservedPowerGrid
from envs.reference.power_grid import PowerGridEnv
from envs.scenarios import export_scenarios, make_grid2op
from tests.agents.grid2op_excerpts import CALM, STRESSED, Excerpts
from tests.agents.grid2op_recipes import (
    ACTIONS,
    SMALL_MUZERO,
    play_ourselves,
    recipe_of,
    with_weights,
)


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    names = (STRESSED[0], CALM)
    made = open_folder(
        export_scenarios(Excerpts(), tmp_path_factory.mktemp("two") / "two", names=names)
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def reference() -> Iterator[PowerGridEnv]:
    made = PowerGridEnv(scenarios=Excerpts())
    yield made
    made.close()


def play(agent: BaseAgent, env: Any, scenario: str, *, seed: int | None = None, steps: int = 60):
    """Play as Runner does; return the vectors of the actions."""
    observation = env.reset(options={"time serie id": scenario, "max step": steps})
    if seed is not None:
        agent.seed(seed)
    agent.reset(observation)
    done, reward, actions = False, 0.0, []
    while not done:
        action = agent.act(observation, reward, done)
        actions.append(action.to_vect())
        observation, reward, done, _ = env.step(action)
    return np.array(actions)


# ------------------------------------------------------------------------------------ what it sees


def test_an_observation_alone_gives_the_state_that_the_environment_gives(
    reference: PowerGridEnv,
) -> None:
    rng = np.random.default_rng(0)
    lines = np.flatnonzero(reference.catalogue.switch_line.any(axis=1))
    compared = lines_out = busbars_2 = 0
    for seed in range(3):
        _, info = reference.reset(seed=seed, options={"scenario": CALM})
        over = False
        while not over:
            kind = lines if rng.random() < 0.5 else np.arange(487)
            legal = kind[info["action_mask"][kind] == 1]
            some = rng.choice(legal, 4)
            ahead = reference.simulate(some)
            calm = some[ahead.rho_max < 1]
            action = int(calm[0]) if len(calm) and rng.random() < 0.3 else 0
            _, _, terminated, truncated, info = reference.step(action)
            over = terminated or truncated
            if terminated:
                break
            seen = observed_state(reference.grid2op_observation)
            for name, values in reference.state._asdict().items():
                np.testing.assert_array_equal(getattr(seen, name), values, err_msg=name)
            compared += 1
            lines_out += int((~seen.line_status).any())
            busbars_2 += int((seen.topo_vect == 2).any())
    assert min(compared, lines_out, busbars_2) > 80


def test_wrappers_of_observations_are_kept(env: Any) -> None:
    recipe = recipe_from([*SMALL_MUZERO, "observation=graph", "wrappers=gated"])
    config = {**recipe.env, "simulator": "grid2op"}
    vector = build_environment_factory(config, changes={"scenarios": Excerpts()})(1)
    space: Any = vector.single_observation_space
    recipe = with_weights(recipe, observation_space=space)
    agent = recipe.build(observation_space=space, action_space=ACTIONS)
    agent.bind(vector)
    observations, infos = vector.reset(options={"scenario": [STRESSED[0]]})
    expected = agent.act(observations, infos)[0]
    vector.close()

    player = Grid2OpPlayer(recipe, env.action_space)
    player.begin()
    observation = env.reset(options={"time serie id": STRESSED[0]})
    while observation.rho.max() < 0.95:
        assert player.choose(observation) == 0
        observation, *_ = env.step(env.action_space({}))
    assert player.choose(observation) == expected != 0


def test_a_cap_of_grid2op_is_the_end_as_our_own_is(env: Any) -> None:
    """Also without a reset, and a scenario that is calm: the gate leaves the last step."""
    ours = play_ourselves(recipe_of("random"), Excerpts(), (CALM,), max_steps=30)[CALM]
    agent = Grid2OpAgent(env.action_space, recipe_of("random"))
    observation = env.reset(options={"time serie id": CALM, "max step": 30})
    done, steps = False, 0
    while not done:
        action = agent.act(observation, 0.0, done)
        expected = agent.player.as_grid2op(ours.actions[steps])
        np.testing.assert_array_equal(action.to_vect(), expected.to_vect())
        observation, _, done, _ = env.step(action)
        steps += 1
    assert steps == 30 and ours.actions[-1] != 0
    assert not agent.act(observation, 0.0, done).can_affect_something()


# ------------------------------------------------------------------------------- seeds and copies


def test_an_episode_depends_on_its_seed_and_on_nothing_else(env: Any) -> None:
    agent = Grid2OpAgent(env.action_space, recipe_of("random"))
    first = play(agent, env, STRESSED[0], seed=1)
    other = play(agent, env, STRESSED[0], seed=2)
    again = play(agent, env, STRESSED[0], seed=1)
    np.testing.assert_array_equal(again, first)
    assert other.shape != first.shape or (other != first).any()


def test_copies_play_the_same_and_share_nothing(env: Any) -> None:
    agent = Grid2OpAgent(env.action_space, recipe_of("random"))
    expected = play(agent, env, STRESSED[0], seed=1)
    for twin in (copy.copy(agent), copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))):
        assert twin.player is not agent.player
        np.testing.assert_array_equal(play(twin, env, STRESSED[0], seed=1), expected)


# --------------------------------------------------------------------------------- what it refuses


def refused(recipe: AgentRecipe, action_space: Any) -> str:
    with pytest.raises(ValueError) as caught:
        Grid2OpAgent(action_space, recipe)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_agents_that_plan_in_the_simulator_are_refused(env: Any) -> None:
    words = ["agent/model=simulator", "agent.model.guidance=none", "agent.unroll_steps=0"]
    message = refused(recipe_from([*SMALL_MUZERO, *words]), env.action_space)
    assert "agent muzero cannot play in grid2op's own tools" in message
    assert "take agent/model=learned" in message
    assert "take agent=greedy" in refused(recipe_from(["agent=greedy2"]), env.action_space)


def test_weights_must_be_there_and_fit(env: Any) -> None:
    bare = recipe_from(SMALL_MUZERO)
    assert "agent muzero needs weights" in refused(bare, env.action_space)
    wide = with_weights(recipe_from([*SMALL_MUZERO, "agent.network.hidden_size=40"]))
    message = refused(replace(wide, agent=bare.agent), env.action_space)
    assert "seed 1 is of another network" in message
    idle = replace(recipe_of("random"), weights={}, origin="some.pt")
    assert "learns nothing: leave out the weights (some.pt)" in refused(idle, env.action_space)


def test_other_grids_and_other_actions_are_refused() -> None:
    small = make_grid2op("rte_case5_example")
    message = refused(recipe_of("random"), small.action_space)
    assert "made for grid 'l2rpn_case14_sandbox'" in message
    assert "rte_case5_example" in message and "has other substations" in message
    small.close()
    sets = make_grid2op("l2rpn_case14_sandbox", action_class=TopologySetAction)
    message = refused(recipe_of("random"), sets.action_space)
    assert "487 actions" in message and "PlayableAction" in message
    sets.close()


def test_other_environments_and_wrappers_are_refused(env: Any) -> None:
    with pytest.raises(ValueError, match="plays CartPole-v1; grid2op's tools"):
        recipe_from(["env=cartpole", "agent=random"])
    stack = {
        "_target_": "gymnasium.wrappers.TimeLimit",
        "_partial_": True,
        "max_episode_steps": 10,
    }
    wrapped = replace(
        recipe_of("random"), env={**recipe_of("random").env, "wrappers": {"short": stack}}
    )
    assert "plays inside TimeLimit (env.wrappers)" in refused(wrapped, env.action_space)


def test_looking_ahead_needs_forecasts(env: Any) -> None:
    agent = Grid2OpAgent(
        env.action_space, replace(recipe_of("greedy"), env=recipe_of("random").env)
    )
    observation = env.reset(options={"time serie id": STRESSED[0]})
    while observation.rho.max() < 0.95:
        observation, *_ = env.step(env.action_space({}))
    agent.reset(observation)
    observation._forecasted_inj = observation._forecasted_inj[:1]  # as of series without any
    with pytest.raises(ValueError, match="no forecasts to look ahead on"):
        agent.act(observation, 0.0)


class Astray(Agent):
    """Answers with an action that does not exist."""

    def __init__(self, **spaces: Any) -> None:
        del spaces

    def act(self, observations: Any, infos: Any, active: Any = None) -> np.ndarray:
        return np.full(len(observations), 487)


def test_an_answer_that_is_no_action_is_named(env: Any) -> None:
    target = {"_target_": f"{__name__}.{Astray.__name__}"}
    recipe = replace(recipe_of("do nothing"), agent=target)
    agent = Grid2OpAgent(env.action_space, recipe)
    with pytest.raises(ValueError, match="integer from 0 to 486, but is 487"):
        agent.act(env.reset(), 0.0)


def test_the_observed_grid_is_not_stepped(env: Any) -> None:
    grid = ObservedPowerGrid(env.action_space)
    load = grid.scenarios.load
    for use in (grid.reset, lambda: grid.step(0), lambda: load("any"), lambda: grid.grid2op_env):
        with pytest.raises(ValueError, match="played by grid2op"):
            use()
    grid.close()


# ----------------------------------------------------------------------------------------- recipes


def test_a_run_gives_configuration_and_weights(tmp_path: Path) -> None:
    recipe = with_weights(recipe_from(SMALL_MUZERO), seed=7)
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("train", overrides=[*SMALL_MUZERO, "wrappers=gated_reconnect"]))
    with RunFolder.create(tmp_path / "run", config) as run:
        run.checkpoints.save_best(recipe.weights or {})
    best = run.checkpoints.folder / "best.pt"
    for words in ([f"run={run.path}"], [f"weights={best}"]):
        found = recipe_from([*words, "name=mine", "env.kwargs.idle_gate=0.9"])
        assert (found.name, found.idle_gate, found.reconnect_lines) == ("mine", 0.9, True)
        assert found.agent["network"] == config["agent"]["network"]
        assert found.weights is not None and recipe.weights is not None
        for name, values in recipe.weights["network"].items():
            assert (found.weights["network"][name] == values).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["greedy"], "'greedy' is not KEY=VALUE"),
        (["agent=greedi"], "did you mean 'greedy'"),
        (["run=/nowhere"], "/nowhere is not the folder of a run"),
        (["weights=/nowhere.pt"], "/nowhere.pt does not exist"),
        (["run=a", "weights=b"], "run=a and weights=b were given"),
        (["run=a", "checkpoint=bets"], "did you mean 'best'"),
    ],
)
def test_wrong_words_are_named(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        recipe_from(words)


def test_wrong_folders_to_score_are_named(env: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a grid2op environment with scenarios"):
        score_l2rpn_2020(recipe_of("random"), tmp_path)
    folder = env.get_path_env()
    with pytest.raises(ValueError, match=r"scenarios is 3, but .* has 2"):
        score_l2rpn_2020(recipe_of("random"), folder, scenarios=3)
