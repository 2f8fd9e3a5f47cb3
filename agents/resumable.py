"""``ResumableVectorEnv``: single Gymnasium environments side by side, resumable in mid-episode.

``ResumableVectorEnv`` is Gymnasium's ``SyncVectorEnv`` with same-step autoreset (or none), a
scenario for each environment, look-ahead, and an exact ``state_dict``. Any environment with a Box
observation and Discrete actions will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils import EzPickle
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from powergrid_muzero.copies import Copyable
from powergrid_muzero.vector_arguments import reset_mask, seed_of_each, split_options
from powergrid_muzero.vector_episodes import Episode, as_plain, saved_episodes

if TYPE_CHECKING:
    from envs import Lookahead

Autoreset = Literal["same_step", "disabled"]

_MODES = {"same_step": AutoresetMode.SAME_STEP, "disabled": AutoresetMode.DISABLED}
_REPLAY_TOLERANCE = 1e-4  # relative; a replay on another CPU may round differently


def autoreset_mode(autoreset: str) -> AutoresetMode:
    """Return Gymnasium's mode of that name, one of those whose steps may all be learned from.

    Raises:
        ValueError: there is none; "next_step" has steps that only reset.
    """
    if autoreset not in _MODES:
        raise ValueError(f"autoreset is {autoreset!r}; expected one of {sorted(_MODES)}.")
    return _MODES[autoreset]


class ResumableVectorEnv(Copyable, SyncVectorEnv):
    """B environments in one process, resumable in mid-episode.

    Autoreset ``same_step``: the step that ends an episode already returns the first observation
    and info of the next one; what the episode ended with is in ``infos["final_obs"]`` (object
    array, None where nothing ended) and ``infos["final_info"]`` (nested infos, valid where
    ``infos["_final_info"]``). ``final_observations`` puts them together.

    Autoreset ``disabled``: an environment whose episode is over is not stepped again. It repeats
    its last observation and info, with reward 0 and its ending flag still set, until it is reset
    (``options={"reset_mask": [B] bool}`` resets some).

    Exact resume: Gymnasium environments cannot be serialised in general, but they are functions
    of their random generator, reset arguments and actions. So ``state_dict`` holds, per
    environment, the generator's state before the last reset, the reset's arguments and the
    actions since, and ``load_state_dict`` plays them again.

    Copied or pickled it goes on as it would have, as far as its environments do. Those that are
    built anew from their arguments (Gymnasium's ``EzPickle``) play their episodes again.
    """

    _rebuilt = ("env_fns",)  # often lambdas; nothing is made with them any more

    def __init__(
        self,
        env_fns: Sequence[Callable[[], gym.Env]],
        *,
        autoreset: Autoreset = "same_step",
    ) -> None:
        """Make the environments.

        Args:
            env_fns: one maker per environment, B of them.
            autoreset: "same_step" (training) or "disabled" (evaluation).

        Raises:
            ValueError: no environment, an unknown ``autoreset``, or spaces that are not a Box
                observation and a Discrete action.
        """
        if not env_fns:
            raise ValueError("num_envs is 0; at least 1 environment is needed.")
        mode = autoreset_mode(autoreset)
        with ExitStack() as refused:
            made: list[gym.Env] = []
            for make in env_fns:
                made.append(make())
                refused.callback(made[-1].close)
            super().__init__([lambda env=env: env for env in made], autoreset_mode=mode)
            first = self.envs[0]
            check_spaces(name_of(first), first.observation_space, first.action_space)
            refused.pop_all()
        self.simulator_calls = np.zeros(self.num_envs, dtype=np.int64)  # [B] actions looked ahead
        self._episodes: list[Episode] = [Episode() for _ in range(self.num_envs)]
        self._env_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]

    @property
    def num_actions(self) -> int:
        """A, the number of actions of one environment."""
        return int(cast(gym.spaces.Discrete, self.single_action_space).n)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: None, one integer s (environment i gets s + i), or B of them.
            options: handed to each environment. A list or tuple of length B is split: one entry
                per environment, None leaving the option out, so ``{"scenario": [name, ...]}``
                gives each its own. ``"reset_mask"`` (``[B]`` bool) resets only some.

        Returns:
            Observations ``[B, ...]`` and vector infos.

        Raises:
            ValueError: a list of another length, or whatever the environments refuse.
        """
        seeds = seed_of_each(seed, self.num_envs)
        options = dict(options or {})
        chosen = reset_mask(options.pop("reset_mask", None), self.num_envs)
        per_env = split_options(options, self.num_envs)
        for index in np.flatnonzero(chosen):
            self._reset_one(int(index), seed=seeds[index], options=per_env[index])
            self._terminations[index] = False
            self._truncations[index] = False
        return self._collect({})

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one action in each environment.

        Args:
            actions: ``[B]`` integers.

        Returns:
            Observations ``[B, ...]``, rewards ``[B]`` float64, terminations ``[B]`` bool,
            truncations ``[B]`` bool, vector infos.

        Raises:
            ValueError: another number of actions, or what the environments refuse.
        """
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise ValueError(
                f"actions have shape {actions.shape}; expected ({self.num_envs},), one per "
                "environment."
            )
        final: dict[str, Any] = {}
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        for index, action in enumerate(actions):
            if not same_step and (self._terminations[index] or self._truncations[index]):
                self._rewards[index] = 0.0
                continue
            self._step_one(index, action)
            if same_step and (self._terminations[index] or self._truncations[index]):
                ending = {
                    "final_obs": self._env_obs[index],
                    "final_info": self._env_infos[index],
                }
                final = self._add_info(final, ending, index)
                self._reset_one(index, seed=None, options=None)
        observations, infos = self._collect(final)
        return (
            observations,
            self._rewards.copy(),
            self._terminations.copy(),
            self._truncations.copy(),
            infos,
        )

    def simulate(
        self, action_ids: Sequence[np.ndarray | None], outages: np.ndarray | None = None
    ) -> list[Lookahead | None]:
        """Look ahead on the forecast in each environment, changing nothing.

        Args:
            action_ids: B entries: ``[K_i]`` integers, or None to leave an environment out.
            outages: what each environment's own ``simulate`` is told may be lost, if anything.

        Returns:
            B ``Lookahead`` of ``K_i`` actions, None where none was asked for.

        Raises:
            ValueError: not B entries, or the environment has no ``simulate``.
        """
        if len(action_ids) != self.num_envs:
            raise ValueError(
                f"action_ids has {len(action_ids)} entries; expected {self.num_envs}, one per "
                "environment (None leaves one out)."
            )
        results: list[Lookahead | None] = []
        for index, ids in enumerate(action_ids):
            if ids is None:
                results.append(None)
                continue
            env = self.envs[index]
            if not env.has_wrapper_attr("simulate"):
                raise ValueError(
                    f"environment {name_of(env)} has no simulate(); look-ahead agents need one, as "
                    "PowerGrid-v0 has."
                )
            ids = np.asarray(ids, dtype=np.int64)
            found = env.get_wrapper_attr("simulate")(ids, *(() if outages is None else (outages,)))
            self.simulator_calls[index] += found.game_over.size
            results.append(found)
        return results

    def info_texts(self) -> dict[str, np.ndarray]:
        """Return what the environments' present infos say in words, ``[B]`` of str each.

        See ``PowerGridEnv.info_texts``; environments without it have none.
        """
        if not self.envs[0].has_wrapper_attr("info_texts"):
            return {}
        texts = [env.get_wrapper_attr("info_texts")() for env in self.envs]
        return {name: np.array([one[name] for one in texts], dtype=object) for name in texts[0]}

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs: tensors and plain Python only."""
        return {
            "autoreset": self.autoreset_mode.value,
            "simulator_calls": self.simulator_calls.tolist(),
            "episodes": [
                {
                    "random_state": episode.random_state,
                    "seed": episode.seed,
                    "options": episode.options,
                    "actions": torch.tensor(episode.actions, dtype=torch.int64),
                    "observation": torch.from_numpy(np.array(self._env_obs[index])),
                }
                for index, episode in enumerate(self._episodes)
                if episode.started
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """Put every environment back where ``state_dict`` found it, by playing it again.

        Args:
            state: from ``state_dict`` of a vector environment of the same B and recipe.

        Returns:
            The present observations ``[B, ...]`` and infos, as the last ``reset`` or ``step``
            returned them (``final_obs`` and ``final_info`` left out).

        Raises:
            ValueError: another B or autoreset mode, or the replay arrives somewhere else, which
                means that the environment's recipe or data changed.
        """
        episodes = saved_episodes(state, self.num_envs, self.autoreset_mode.value)
        for index, saved in enumerate(episodes):
            self._terminations[index] = False
            self._truncations[index] = False
            episode = Episode(
                saved["random_state"], saved["seed"], saved["options"], saved["actions"].tolist()
            )
            self._play_again(index, episode, saved["observation"].numpy())
        self.simulator_calls[:] = state["simulator_calls"]
        return self._collect({})

    def _rebuild(self) -> None:
        """See ``Copyable``: an environment that was built anew has its episode before it."""
        for index, env in enumerate(self.envs):
            episode = self._episodes[index]
            anew = getattr(type(env.unwrapped), "__setstate__", None) is EzPickle.__setstate__
            if anew and episode.started and not self.closed:
                self._play_again(index, episode, np.asarray(self._env_obs[index]))

    def _play_again(self, index: int, episode: Episode, observation: np.ndarray) -> None:
        """Play an episode again in environment ``index``.

        Raises:
            ValueError: it does not lead to ``observation``.
        """
        if episode.random_state is not None:
            self.envs[index].unwrapped.np_random = _generator(episode.random_state)
        self._reset_one(index, seed=episode.seed, options=episode.options)
        for action in episode.actions:
            self._step_one(index, np.int64(action))
        if not np.allclose(
            np.asarray(self._env_obs[index]),
            observation,
            rtol=_REPLAY_TOLERANCE,
            atol=_REPLAY_TOLERANCE,
            equal_nan=True,
        ):
            raise ValueError(
                f"environment {index}: playing its {len(episode.actions)} saved actions again "
                "leads to another observation than was saved. Resume with the environment's "
                "options, data and versions of the saved run."
            )

    def _reset_one(self, index: int, *, seed: int | None, options: dict[str, Any] | None) -> None:
        env = self.envs[index]
        random_state = None if seed is not None else _random_state(env)
        self._env_obs[index], self._env_infos[index] = env.reset(seed=seed, options=options)
        self._episodes[index] = Episode(random_state, seed, options, started=True)

    def _step_one(self, index: int, action: Any) -> None:
        if not self._episodes[index].started:
            raise ValueError(f"environment {index} was never reset; call reset() before step().")
        (
            self._env_obs[index],
            self._rewards[index],
            self._terminations[index],
            self._truncations[index],
            self._env_infos[index],
        ) = self.envs[index].step(action)
        self._episodes[index].actions.append(int(action))

    def _collect(self, infos: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        for index, info in enumerate(self._env_infos):
            infos = self._add_info(infos, info, index)
        for index, observation in enumerate(self._env_obs):
            if observation is not None:
                cast(np.ndarray, self._observations)[index] = observation
        return np.array(self._observations), infos


def check_spaces(name: str, observation: gym.Space, action: gym.Space) -> None:
    """Raise ValueError unless ``name`` observes a Box and takes Discrete actions from 0."""
    if not isinstance(observation, gym.spaces.Box):
        raise ValueError(
            f"environment {name} observes a {type(observation).__name__}; expected a Box. "
            "Wrap it with gymnasium.wrappers.FlattenObservation."
        )
    if not isinstance(action, gym.spaces.Discrete) or action.start != 0:
        raise ValueError(
            f"environment {name} takes {action} as actions; expected Discrete(n) from 0."
        )


def name_of(env: gym.Env) -> str:
    """Return the environment's id, or the name of its class."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _random_state(env: gym.Env) -> dict[str, Any]:
    """Return the state of the environment's generator as plain Python."""
    return as_plain(env.unwrapped.np_random.bit_generator.state)


def _generator(state: Mapping[str, Any]) -> np.random.Generator:
    bit_generator = getattr(np.random, state["bit_generator"])()
    bit_generator.state = state
    return np.random.Generator(bit_generator)
