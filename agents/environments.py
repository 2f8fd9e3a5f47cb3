"""``VectorEnvironment``, what agents play, and ``EnvironmentFactory``, its picklable recipe."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Protocol, cast

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from agents.resumable import Autoreset, ResumableVectorEnv, autoreset_mode, check_spaces
from powergrid_muzero.checks import closed_if_refused
from powergrid_muzero.names import where_not_found

if TYPE_CHECKING:
    from envs import Lookahead

OF_GYMNASIUM = ("max_episode_steps", "disable_env_checker")  # keywords that make takes itself


class VectorEnvironment(Protocol):
    """What agents play: B environments with a Box observation and Discrete actions.

    Reset and stepped like a ``gymnasium.vector.VectorEnv``; what more it must offer is here.
    ``ResumableVectorEnv`` offers it for any environment, ``envs.PowerGridVectorEnv`` for many power
    grids at once.
    """

    num_envs: int  # B
    simulator_calls: np.ndarray  # [B] int64, actions looked ahead at

    @property
    def single_observation_space(self) -> gym.Space:
        """Of one environment, a Box."""
        ...

    @property
    def single_action_space(self) -> gym.Space:
        """Of one environment, Discrete."""
        ...

    @property
    def num_actions(self) -> int:
        """A, the number of actions of one environment."""
        ...

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Return observations ``[B, ...]`` and vector infos of new episodes."""
        ...

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play ``actions [B]``."""
        ...

    def simulate(
        self, action_ids: Sequence[np.ndarray | None], outages: np.ndarray | None = None
    ) -> list[Lookahead | None]:
        """Look ahead at actions in each environment, changing nothing; None leaves one out."""
        ...

    def info_texts(self) -> dict[str, np.ndarray]:
        """Return what the present infos say in words, ``[B]`` of str each."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs: tensors and plain Python only."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Go on in mid-episode; return the present observations and infos."""
        ...

    def close(self) -> None:
        """Close all environments."""
        ...


@dataclass(frozen=True)
class EnvironmentFactory:
    """How to make environments: a Gymnasium id with its keywords. Picklable, so workers can use it.

    Calling it makes B environments side by side: single ones in a ``ResumableVectorEnv``, or, with
    ``vector``, the id's own vector environment, which must offer the same. What an idle gate earns
    before the first decision is in ``info["reset_reward"]`` alone, no decision's reward.
    """

    env_id: str  # "PowerGrid-v0", "CartPole-v1"; "module:Id" imports the module that registers it
    kwargs: Mapping[str, Any] = field(default_factory=dict)  # keywords of gymnasium.make
    wrappers: tuple[Callable[[gym.Env], gym.Env], ...] = ()  # applied in order to each environment
    vector: bool = False  # made by the id's vector_entry_point (PowerGridVectorEnv)

    def make(self) -> gym.Env:
        """Make one environment.

        Raises:
            ValueError: no environment of that id, or a keyword that it does not take.
        """
        _ensure_registered(self.env_id)
        self._check_kwargs()
        with _named_mistakes(self.env_id):
            env = gym.make(self.env_id, **self.kwargs)
        with closed_if_refused(env):
            if env.has_wrapper_attr("reset_reward"):
                env.set_wrapper_attr("reset_reward", "info")
            for wrapper in self.wrappers:
                env = wrapper(env)
        return env

    def __call__(self, num_envs: int, *, autoreset: Autoreset = "same_step") -> VectorEnvironment:
        """Make ``num_envs`` environments side by side.

        Raises:
            ValueError: ``num_envs`` below 1, or see ``make`` and ``ResumableVectorEnv``.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; at least 1 environment is needed.")
        if not self.vector:
            return ResumableVectorEnv([self.make] * num_envs, autoreset=autoreset)
        if self.wrappers:
            raise ValueError(
                f"the vector environment of {self.env_id} takes no wrappers; set "
                "env.simulator=grid2op to play single environments."
            )
        _ensure_registered(self.env_id)
        self._check_kwargs()
        mode = autoreset_mode(autoreset)
        with _named_mistakes(self.env_id):
            env = gym.make_vec(
                self.env_id,
                num_envs=num_envs,
                vectorization_mode="vector_entry_point",
                autoreset=mode,
                reset_reward="info",
                **self.kwargs,
            )
        played = cast(VectorEnvironment, env)
        with closed_if_refused(env):
            check_spaces(self.env_id, played.single_observation_space, played.single_action_space)
        return played

    def _check_kwargs(self) -> None:
        if "reset_reward" in self.kwargs:
            raise ValueError(
                "env.kwargs.reset_reward cannot be set: agents learn from single decisions, and "
                "what an idle gate earns before the first one is counted beside them"
            )


def environment_class(env_id: str, *, vector: bool) -> Callable[..., Any]:
    """Return the class, or function, that ``gymnasium.make`` calls with its keywords.

    Args:
        env_id: of the environment.
        vector: of the id's own vector environment, which takes what a single one takes and more;
            it also answers for a single one that only passes its keywords on.

    Raises:
        ValueError: no environment of that id.
    """
    _ensure_registered(env_id)
    spec = gym.registry[env_id.rpartition(":")[2]]
    entries = [spec.vector_entry_point, spec.entry_point]
    for entry in entries if vector else reversed(entries):
        if entry is None:
            continue
        made = load_env_creator(entry) if isinstance(entry, str) else entry
        kinds = [one.kind for one in signature(made).parameters.values()]
        if Parameter.VAR_KEYWORD not in kinds:
            return made
    return gym.make


def final_observations(observations: np.ndarray, infos: Mapping[str, Any]) -> np.ndarray:
    """Return the observations that the step itself led to, before any autoreset.

    Args:
        observations: ``[B, ...]`` as returned by ``step``.
        infos: vector infos of the same step.

    Returns:
        ``[B, ...]``: ``infos["final_obs"]`` where an episode ended, ``observations`` elsewhere.
    """
    if "final_obs" not in infos:
        return observations
    result = np.array(observations)
    for index in np.flatnonzero(infos["_final_obs"]):
        result[index] = infos["final_obs"][index]
    return result


def final_values(infos: Mapping[str, Any], key: str) -> Any:
    """Return info ``key`` of the step itself ``[B]``, before any autoreset; None if there is none.

    Args:
        infos: vector infos of a step.
        key: name of the info.
    """
    present = infos.get(key)
    final = infos.get("final_info", {})
    if key not in final:
        return present
    ended = np.asarray(final[f"_{key}"])
    if present is None:
        return final[key]
    result = np.array(present)
    result[ended] = final[key][ended]
    return result


@contextmanager
def _named_mistakes(env_id: str) -> Iterator[None]:
    """Turn what Gymnasium refuses, and keywords that nobody takes, into a ValueError."""
    try:
        yield
    except gym.error.Error as error:
        raise ValueError(f"environment {env_id}: {error}") from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ValueError(f"environment {env_id}: {error}") from error


def _ensure_registered(env_id: str) -> None:
    """Import the module that registers ``env_id``; ValueError if there is none of that id."""
    module, _, name = env_id.rpartition(":")
    if not module and name in gym.registry:
        return
    try:
        importlib.import_module(module or "envs")  # envs registers PowerGrid-v0
    except ImportError as error:
        why = f"{error}{where_not_found(module)}"
        raise ValueError(f"environment {env_id}: its module cannot be imported: {why}") from error
    if name not in gym.registry:
        near = difflib.get_close_matches(name, list(gym.registry), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(
            f"unknown environment {env_id!r}{hint} Write module:Id if a module must be imported "
            "to register it."
        )
