"""Agents for the tests of ``agents.grid2op_agent``, and how our own loop plays them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from grid2op.Episode import EpisodeData
from grid2op.Runner import Runner

from agents.agent import Infos
from agents.configuration.composition import build_agent
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodePlayer, list_episodes
from agents.grid2op_agent import AgentRecipe, Grid2OpAgent, recipe_from
from agents.power_grid.baselines import ReconnectAgent
from envs.fast.vector import PowerGridVectorEnv
from envs.grid.actions import unitary_actions
from envs.scenarios import ScenarioSource

FEATURES = gym.spaces.Box(-10.0, 10.0, (417,), np.float32)
ACTIONS = gym.spaces.Discrete(487)
SMALL_MUZERO = (
    "agent=muzero",
    "network=mlp",
    "agent.network.hidden_size=32",
    "agent.network.state_size=32",
    "agent.search.num_simulations=8",
    "agent.search.max_considered=4",
    "agent.device=cpu",
)


def with_weights(
    recipe: AgentRecipe, *, observation_space: gym.spaces.Box = FEATURES, seed: int = 1
) -> AgentRecipe:
    """Return ``recipe`` with the random weights that ``seed`` gives."""
    agent = build_agent(
        recipe.agent, observation_space=observation_space, action_space=ACTIONS, seed=seed
    )
    return replace(recipe, weights=agent.state_dict(), origin=f"seed {seed}")


class Switcher(ReconnectAgent):
    """Opens a line in every fifth step, each in turn, and closes open ones in the others."""

    _asked = 0

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        actions = super().act(observations, infos, active)
        self._asked += 1
        if self._asked % 5 == 0:
            switches = self.catalogue.switch_line_action
            openers = switches[self.state.line_status[0]]
            legal = openers[infos["action_mask"][0, openers] == 1]
            actions[0] = legal[self._asked // 5 % len(legal)]
        return actions


# agents of many kinds: an idle gate or none, lines put back or not, looking ahead
RECIPES = {
    "do nothing": ("agent=do_nothing", "wrappers=none"),
    "reconnect": ("agent=reconnect", "wrappers=none"),
    "greedy": ("agent=greedy", "wrappers=gated"),
    "expert": ("agent=expert", "wrappers=none"),
    "random": ("agent=random", "wrappers=gated_reconnect"),
    "muzero": (*SMALL_MUZERO, "wrappers=gated"),
    "switcher": ("agent=reconnect", "wrappers=none"),
}


@cache
def recipe_of(name: str) -> AgentRecipe:
    """Return the recipe of ``name`` in RECIPES."""
    made = recipe_from(RECIPES[name])
    if name == "muzero":
        return with_weights(made)
    if name == "switcher":
        target = {"_target_": f"{__name__}.{Switcher.__name__}"}
        return replace(made, name=name, agent=target)
    return made


@dataclass(frozen=True)
class Played:
    """An episode, step by step."""

    completed: bool
    actions: np.ndarray  # [steps] of the catalogue
    rho: np.ndarray  # [steps + 1, L], of the reset and each step


def play_ourselves(
    recipe: AgentRecipe,
    source: ScenarioSource,
    names: tuple[str, ...],
    *,
    max_steps: int | None = None,
    num_envs: int = 1,
) -> dict[str, Played]:
    """Play ``names`` in our own loop, then play its actions again to see every step."""
    options = {**recipe.grid_options, "scenarios": source, "split": "test"}
    gated = {"idle_gate": recipe.idle_gate, "reconnect_lines": recipe.reconnect_lines}
    factory = EnvironmentFactory(
        "envs:PowerGrid-v0", {**options, **gated, "max_steps": max_steps}, vector=True
    )
    agent = recipe.build(observation_space=FEATURES, action_space=ACTIONS)
    player = EpisodePlayer(factory)
    plan = list_episodes(names)
    records = []
    for start in range(0, len(plan), num_envs):
        group = plan[start : start + num_envs]
        records += [one.record for one in player.play(pickle.dumps(agent), group)]
    player.close()

    env = PowerGridVectorEnv(1, autoreset="disabled", **options)
    played = {}
    for record in records:
        env.reset(options={"scenario": record.scenario})
        decisions = dict(zip(record.action_steps, record.actions, strict=True))
        actions, rho = [], [env.state.rho[0].copy()]
        for step in range(record.steps):
            action = decisions.get(step, 0)
            ready = ~env.state.line_status[0] & (env.state.line_cooldown[0] == 0)
            if action == 0 and recipe.reconnect_lines and ready.any():
                action = int(env.catalogue.switch_line_action[ready.argmax()])
            env.step(np.array([action]))
            actions.append(action)
            rho.append(env.state.rho[0].copy())
        played[record.scenario] = Played(record.completed, np.array(actions), np.array(rho))
    env.close()
    return played


def play_in_runner(recipe: AgentRecipe, env: Any, names: Sequence[str]) -> dict[str, Played]:
    """Play scenarios of ``env``'s folder in grid2op's Runner."""
    agent = Grid2OpAgent(env.action_space, recipe)
    options = {**env.get_params_for_runner(), "agentClass": None, "agentInstance": agent}
    runner = Runner(**options)
    there = [Path(path).name for path in env.chronics_handler.real_data.subpaths]
    results: Any = runner.run(
        nb_episode=len(names),
        episode_id=[there.index(name) for name in names],
        add_detailed_output=True,
    )
    numbers = {
        action.to_vect().tobytes(): number
        for number, action in reversed(list(enumerate(unitary_actions(env.action_space))))
    }
    assert len(numbers) == ACTIONS.n  # all different, so that a vector tells the action
    begin, end, _ = env.observation_space.get_indx_extract("rho")
    played = {}
    for _, name, _, steps, max_steps, data in results:
        assert isinstance(data, EpisodeData)
        kept: Any = data.actions
        vectors = kept.collection[:steps]
        kept = data.observations
        rho = kept.collection[: steps + 1, begin:end]
        completed = steps == max_steps and rho[-1].any()
        played[name] = Played(completed, np.array([numbers[one.tobytes()] for one in vectors]), rho)
    return played


def assert_same_play(theirs: dict[str, Played], ours: dict[str, Played]) -> None:
    """Compare step for step: actions, the end, and the loading of every line."""
    assert theirs.keys() == ours.keys()
    for name, own in ours.items():
        other = theirs[name]
        np.testing.assert_array_equal(other.actions, own.actions, err_msg=name)
        assert other.completed == own.completed, name
        alive = slice(None) if own.completed else slice(-1)  # the last of a lost game is dark
        np.testing.assert_allclose(
            other.rho[alive], own.rho[alive], rtol=0, atol=1e-4, err_msg=name
        )
