"""Plays one of our agents on a grid that grid2op steps: gate, reconnection, encoding."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
from grid2op.Action import ActionSpace, BaseAction
from grid2op.Observation import BaseObservation

from agents.agent import Agent
from agents.configuration.composition import instantiate
from agents.environments import ResumableVectorEnv
from agents.grid2op_agent.recipe import AgentRecipe
from agents.runs.devices import torch_threads
from envs import DO_NOTHING, ObservedPowerGrid, ReconnectLines, as_infos
from powergrid_muzero.checks import check_action, check_gate

_THERE = np.ones(1, dtype=np.bool_)


class Grid2OpPlayer:
    """Plays as the agent plays PowerGrid-v0 in our own loop, a group of one grid.

    The idle gate leaves it the same decisions, with one exception. An episode that is calm to its
    end has, in PowerGrid-v0, one decision before its last step. Here too, where the last step is
    the scenario's; a blackout out of the calm cannot be foreseen.

    Args:
        recipe: of the agent.
        action_space: of the grid2op environment that is played.

    Raises:
        ValueError: the agent cannot play there; the message says why.
    """

    def __init__(self, recipe: AgentRecipe, action_space: ActionSpace) -> None:
        self._recipe = recipe
        self._grid = ObservedPowerGrid(action_space, **recipe.grid_options)
        self._layers = _wrap(self._grid, recipe)  # innermost first
        outermost = self._layers[-1] if self._layers else self._grid
        self._env = ResumableVectorEnv([lambda: outermost], autoreset="disabled")
        self._gate = check_gate(recipe.idle_gate)
        self._reconnect = ReconnectLines(self._grid) if recipe.reconnect_lines else None
        self._seat(None)

    def begin(self, seed: int | None = None) -> None:
        """Start an episode with a fresh copy of the agent, so no episode depends on those before.

        Args:
            seed: of the agent; None for the recipe's.
        """
        if seed != self._seed:
            self._seat(seed)
        self.agent: Agent = pickle.loads(self._fresh)
        self.agent.bind(self._env)
        self._decided = False
        self._since = 0  # steps since the last decision
        self._refused = False  # the last decision was illegal

    def choose(self, observation: BaseObservation) -> int:
        """Return the number of the action to play.

        Args:
            observation: of a game that goes on.

        Raises:
            ValueError: the agent's answer is no action.
        """
        calm = self._is_calm(observation)
        if not calm or self._reconnect is not None:
            self._grid.show(observation)
        action = DO_NOTHING if calm else self._decide()
        self._since += 1
        return action if self._reconnect is None else int(self._reconnect.replace(action))

    def as_grid2op(self, action: int) -> BaseAction:
        """Return the action of that number, for grid2op."""
        return self._grid.catalogue.grid2op_actions[action].copy()

    def _seat(self, seed: int | None) -> None:
        observation_space = self._env.single_observation_space
        action_space = self._env.single_action_space
        assert isinstance(observation_space, gym.spaces.Box)  # ResumableVectorEnv takes no others
        assert isinstance(action_space, gym.spaces.Discrete)
        agent = self._recipe.build(
            observation_space=observation_space, action_space=action_space, seed=seed
        )
        try:
            agent.bind(self._env)
        except ValueError as error:
            raise ValueError(
                f"agent {self._recipe.name} cannot play in grid2op's own tools, which offer an "
                f"observation and its simulate() only: {error}"
            ) from error
        self._seed = seed
        self._fresh = pickle.dumps(agent)

    def _is_calm(self, observation: BaseObservation) -> bool:
        if self._gate is None or float(observation.rho.max()) >= self._gate:
            return False
        last = observation.current_step + 1 >= observation.max_step
        return self._decided or not last

    def _decide(self) -> int:
        grid = self._grid
        encoded, info = grid.present(duration=self._since, illegal=self._refused)
        for layer in self._layers:
            encoded = layer.observation(encoded)
        infos = as_infos({key: _row(value) for key, value in info.items()}, _THERE)
        with torch_threads(1):  # as evaluations do
            chosen = self.agent.act(np.asarray(encoded)[None], infos, _THERE.copy())
        action = check_action(np.asarray(chosen)[0], grid.catalogue.num_actions)
        self._decided, self._since = True, 0
        self._refused = bool(grid.catalogue.illegal_reason(action, grid.state))
        return action


def _wrap(grid: ObservedPowerGrid, recipe: AgentRecipe) -> list[gym.ObservationWrapper]:
    """Return the wrappers around ``grid``, innermost first.

    Raises:
        ValueError: one does more than turn observations into others.
    """
    env: gym.Env = grid
    layers = []
    for name, wrapper in recipe.env["wrappers"].items():
        env = instantiate(wrapper, f"env.wrappers.{name}")(env)
        if not isinstance(env, gym.ObservationWrapper):
            raise ValueError(
                f"agent {recipe.name} plays inside {type(env).__name__} (env.wrappers), and in "
                "grid2op's own tools only wrappers of observations work: take an agent without it"
            )
        layers.append(env)
    return layers


def _row(value: object) -> np.ndarray:
    """Return ``value`` as the vector info of one environment."""
    if isinstance(value, np.ndarray):
        return value[None]
    return np.array([value])
