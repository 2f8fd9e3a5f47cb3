"""Our vector environments for stable-baselines3, with action masks."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv

from agents.agent import full_masks
from agents.environments import VectorEnvironment, final_observations, final_values
from powergrid_muzero.copies import Copyable

_REMEMBERED = 100  # finished episodes
_EPSILON = 1e-8


class Finished(NamedTuple):
    """One finished training episode."""

    reward: float  # sum over the episode's decisions, unscaled
    env_steps: int  # environment steps that its decisions covered
    decisions: int
    survived: bool  # to the end of the scenario, or a limit


class MaskedVecEnv(Copyable, VecEnv):
    """B environments with same-step autoreset as a ``VecEnv`` with ``action_masks``.

    Rewards are divided by the running standard deviation of their discounted return, as
    stable-baselines3's VecNormalize does: under an idle gate one decision may be paid for
    thousands of steps, or for one. Observations stay as they are.

    Args:
        env: B environments, not yet reset.
        discount: gamma, per decision.
        reward_clip: bound of the scaled rewards.
    """

    render_mode = None

    def __init__(self, env: VectorEnvironment, *, discount: float, reward_clip: float) -> None:
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._env = env
        self._discount = discount
        self._clip = reward_clip
        self._observations: np.ndarray | None = None
        self._infos: Mapping[str, Any] = {}
        self._actions = np.zeros(env.num_envs, np.int64)
        self._spread = RunningMeanStd(shape=())
        self._returns = np.zeros(env.num_envs)  # [B] discounted, of the episodes under way
        self._totals = np.zeros((env.num_envs, 3))  # [B] reward, env steps, decisions
        self.env_steps = 0
        self.decisions = 0
        self.action_counts = np.zeros(env.num_actions, np.int64)
        self.episodes: deque[Finished] = deque(maxlen=_REMEMBERED)

    def reset(self) -> np.ndarray:
        """Start the episodes; after ``load_state_dict``, go on with those under way."""
        if self._observations is None:
            self._observations, self._infos = self._env.reset(seed=self._seeds)
            self._reset_seeds()
            self._count_reset_steps(np.ones(self.num_envs, dtype=bool))
        assert self._observations is not None
        return self._observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take ``[B]`` actions for ``step_wait``."""
        self._actions = np.asarray(actions, dtype=np.int64)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Play them; return observations, scaled rewards, endings, infos."""
        observations, rewards, terminated, truncated, infos = self._env.step(self._actions)
        over = terminated | truncated
        duration = final_values(infos, "duration")
        steps = np.ones(self.num_envs) if duration is None else np.asarray(duration)
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if over.any():
            finals = final_observations(observations, infos)
            for index in np.flatnonzero(over):
                told[index] = {
                    "terminal_observation": finals[index],
                    "TimeLimit.truncated": bool(truncated[index] and not terminated[index]),
                }
        self.env_steps += int(steps.sum())
        self.decisions += self.num_envs
        self.action_counts += np.bincount(self._actions, minlength=len(self.action_counts))
        self._totals += np.stack([rewards, steps, np.ones(self.num_envs)], axis=1)
        scaled = self._scale(rewards, over)
        for index in np.flatnonzero(over):
            reward, played, decisions = self._totals[index]
            survived = not terminated[index]
            self.episodes.append(Finished(float(reward), int(played), int(decisions), survived))
        self._totals[over] = 0.0
        self._observations, self._infos = observations, infos
        self._count_reset_steps(over)
        return observations, scaled, over, told

    def action_masks(self) -> list[np.ndarray]:
        """Return ``[A]`` bool for each environment, True = legal."""
        num_actions = len(self.action_counts)
        return list(full_masks(self._infos, self.num_envs, num_actions).astype(np.bool_))

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs: plain Python only."""
        spread = self._spread
        return {
            "env": self._env.state_dict(),
            "spread": [float(spread.mean), float(spread.var), float(spread.count)],
            "returns": self._returns.tolist(),
            "totals": self._totals.tolist(),
            "env_steps": self.env_steps,
            "decisions": self.decisions,
            "episodes": [tuple(episode) for episode in self.episodes],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._observations, self._infos = self._env.load_state_dict(state["env"])
        spread = self._spread
        spread.mean, spread.var = (np.asarray(value) for value in state["spread"][:2])
        spread.count = state["spread"][2]
        self._returns[:] = state["returns"]
        self._totals[:] = state["totals"]
        self.env_steps, self.decisions = state["env_steps"], state["decisions"]
        self.episodes.extend(Finished(*episode) for episode in state["episodes"])

    def _scale(self, rewards: np.ndarray, over: np.ndarray) -> np.ndarray:
        self._returns = self._returns * self._discount + rewards
        self._spread.update(self._returns)
        self._returns[over] = 0.0
        scaled = rewards / np.sqrt(self._spread.var + _EPSILON)
        return np.clip(scaled, -self._clip, self._clip).astype(np.float32)

    def _count_reset_steps(self, started: np.ndarray) -> None:
        """Count what an idle gate played before the first decision of ``started [B]``."""
        if started.any() and "reset_reward" in self._infos:
            steps = np.asarray(self._infos["duration"])[started]
            self._totals[started, 1] += steps
            self.env_steps += int(steps.sum())

    # ---------------------------------------------------- what VecEnv asks of any of its kind

    def close(self) -> None:
        """Close the environments."""
        self._env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the attribute, once for each environment."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all environments."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method that answers for each environment."""
        answers = getattr(self, method_name)(*method_args, **method_kwargs)
        return [answers[index] for index in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Say that nothing is: wrappers are below."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return no images."""
        return [None] * self.num_envs
