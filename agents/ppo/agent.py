"""A policy that sb3-contrib's MaskablePPO trains.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347; Huang and Ontañón 2022 on the masking of
illegal actions, https://arxiv.org/abs/2006.14171. Nothing here is imported from
stable-baselines3 until an agent is made: it is an optional extra.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import gymnasium as gym
import numpy as np
import torch

from agents.agent import Agent, Infos, TrainerSettings, TrainingRun, full_masks
from agents.environments import EnvironmentFactory
from agents.parts import KeywordsOf
from agents.ppo.settings import ACTIVATIONS, PPOSettings
from agents.runs.checkpoints import checked_weights
from agents.runs.devices import choose_device
from agents.runs.json_records import read_record
from powergrid_muzero.checks import check_count
from powergrid_muzero.names import choose

if TYPE_CHECKING:
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

_MODULES = ("sb3_contrib", "stable_baselines3")


class PPOAgent(Agent):
    """Takes the likeliest legal action of a multilayer perceptron, trained by masked PPO.

    Args:
        observation_space: of one environment.
        action_space: of one environment, ``Discrete(A)``.
        seed: of weights, play and minibatches.
        policy_layers: widths of the policy's hidden layers.
        value_layers: widths of the value function's hidden layers; nothing is shared.
        activation: "tanh" or "relu".
        device: "auto", "cpu", "cuda", ...: where the networks run.
        settings: keywords of ``PPOSettings``.

    Raises:
        ValueError: sb3-contrib is not installed, or an option is out of range.
    """

    def __init__(
        self,
        *,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Discrete,
        seed: int = 0,
        policy_layers: Sequence[int] = (256, 128, 64),
        value_layers: Sequence[int] = (256, 128, 64),
        activation: str = "tanh",
        device: str = "auto",
        **settings: Annotated[Any, KeywordsOf(PPOSettings)],
    ) -> None:
        _require_extra()
        for name in settings:
            choose("agent option", name, [one.name for one in fields(PPOSettings)])
        self.settings = read_record(settings, PPOSettings, "agent")
        self.seed = seed
        self.device = choose_device(device)
        self.num_actions = int(action_space.n)
        self._spaces = observation_space, action_space
        self.policy_options: dict[str, Any] = {
            "net_arch": {
                "pi": [check_count("policy_layers", width) for width in policy_layers],
                "vf": [check_count("value_layers", width) for width in value_layers],
            },
            "activation_fn": ACTIVATIONS[choose("activation", activation, ACTIVATIONS)],
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = self._make_policy()

    def _make_policy(self) -> MaskableActorCriticPolicy:
        from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

        policy = MaskableActorCriticPolicy(
            *self._spaces, lr_schedule=_no_learning, **self.policy_options
        )
        return policy.to(self.device)

    def act(
        self, observations: np.ndarray, infos: Infos, active: np.ndarray | None = None
    ) -> np.ndarray:
        """Return ``[B]`` actions, the likeliest legal ones."""
        masks = full_masks(infos, len(observations), self.num_actions).astype(np.bool_)
        masks[~masks.any(axis=1)] = True  # of environments that are over
        actions, _ = self.policy.predict(observations, deterministic=True, action_masks=masks)
        return np.asarray(actions, dtype=np.int64)

    def preflight(self, make_environment: EnvironmentFactory, settings: TrainerSettings) -> None:
        """See ``Agent.preflight``."""
        if settings.num_workers or not settings.synchronous:
            raise ValueError(
                "agent=ppo plays in the main process: set trainer.num_workers=0 and "
                "trainer.synchronous=true"
            )

    def train(self, run: TrainingRun) -> None:
        """Learn; see ``PPOTrainer``."""
        from agents.ppo.trainer import PPOTrainer

        self.preflight(run.make_environment, run.settings)
        PPOTrainer(run, self).train()

    def used_up(self, saved: Mapping[str, Any], settings: TrainerSettings) -> str | None:
        """See ``Agent.used_up``: decisions are limited, too."""
        if saved.get("progress", {}).get("decisions", 0) >= self.settings.total_decisions:
            return "agent.total_decisions"
        return super().used_up(saved, settings)

    def state_dict(self) -> dict[str, Any]:
        """See ``Agent.state_dict``: the weights of policy and value function."""
        return {"policy": self.policy.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Agent.load_state_dict``.

        Raises:
            ValueError: the weights are of another network; the message names the first difference.
        """
        weights = checked_weights(
            state,
            "policy",
            self.policy.state_dict(),
            agent="PPO",
            choices="layers, observation and environment",
        )
        self.policy.load_state_dict(weights)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the policy's class to be built again: its optimiser does not travel."""
        weights = {name: tensor.cpu() for name, tensor in self.policy.state_dict().items()}
        return {**self.__dict__, "policy": pickle.dumps(weights)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the policy, with the same weights."""
        vars(self).update(state)
        with torch.random.fork_rng(devices=[]):
            self.policy = self._make_policy()
        self.policy.load_state_dict(pickle.loads(state["policy"]))


def _require_extra() -> None:
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"agent=ppo needs {missing[0]}, which is not installed: "
            'pip install "powergrid-muzero[ppo]"'
        )


def _no_learning(progress: float) -> float:
    """Learning rate of a policy that only plays."""
    return 0.0
