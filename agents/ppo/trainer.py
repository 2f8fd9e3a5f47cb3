"""Trains a policy with sb3-contrib's MaskablePPO, round by round, in a run folder."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from agents.agent import TrainingRun
from agents.ppo.environment import MaskedVecEnv
from agents.runs.checkpoints import check_entries
from agents.runs.devices import torch_threads
from agents.runs.interrupt import Interrupt
from agents.runs.training_loop import Progress, TrainingLoop

if TYPE_CHECKING:
    from agents.ppo.agent import PPOAgent

_LOG = logging.getLogger(__name__)

_NEVER = 2**62  # rounds between two rows of stable-baselines3's own log
_NAMES = {  # of stable-baselines3 -> ours
    "train/loss": "train/total",
    "train/policy_gradient_loss": "train/policy",
    "train/value_loss": "train/value",
    "train/entropy_loss": "train/entropy",
    "train/approx_kl": "train/kl",
    "train/clip_fraction": "train/clipped",
    "train/explained_variance": "train/explained_variance",
}


class PPOTrainer(TrainingLoop):
    """Plays and learns in turns, evaluates, keeps the best weights, and resumes exactly.

    A round is ``decisions_per_round`` decisions in every environment and the updates on them.
    stable-baselines3 draws from the process's global generators: they are set by the seed, kept in
    checkpoints, and given back as they were.

    Args:
        run: budget, environments, evaluation, loggers and checkpoints.
        agent: gets the weights.
    """

    _model: MaskablePPO
    _env: MaskedVecEnv

    def __init__(self, run: TrainingRun, agent: PPOAgent) -> None:
        super().__init__(run, agent, Progress())
        self._ppo = agent
        self._settings = agent.settings

    def train(self) -> None:
        """Train to the end of the budget; on Ctrl-C keep a final checkpoint and raise.

        Raises:
            KeyboardInterrupt: after the checkpoint was written.
        """
        run, own = self._run, self._settings
        saved = run.checkpoints.load_latest()
        with torch_threads(run.settings.learner_threads):
            env = MaskedVecEnv(
                run.make_environment(run.settings.num_envs),
                discount=own.discount,
                reward_clip=own.reward_clip,
            )
            try:
                with _kept_generators():
                    model = MaskablePPO(
                        MaskableActorCriticPolicy,
                        env,
                        learning_rate=own.learning_rate,
                        n_steps=own.decisions_per_round,
                        batch_size=own.batch_size,
                        n_epochs=own.epochs,
                        gamma=own.discount,
                        gae_lambda=own.gae_lambda,
                        clip_range=own.clip_range,
                        ent_coef=own.entropy_weight,
                        vf_coef=own.value_weight,
                        max_grad_norm=own.max_grad_norm,
                        policy_kwargs=dict(self._ppo.policy_options),
                        seed=run.seed,
                        device=self._ppo.device,
                    )
                    self._model, self._env = model, env
                    if saved is not None:
                        self._restore(saved)
                    else:
                        model.policy.load_state_dict(self._agent.state_dict()["policy"])
                    self._restart_rates()
                    self._loop()
                self._agent.load_state_dict(self._agent_state())
            finally:
                env.close()

    def _play_round(self, interrupt: Interrupt) -> None:
        del interrupt  # rounds are short
        round_size = self._settings.decisions_per_round * self._env.num_envs
        self._model.learn(round_size, reset_num_timesteps=False, log_interval=_NEVER)
        self._progress.env_steps = self._env.env_steps
        self._progress.decisions = self._env.decisions

    def _restart_rates(self) -> None:
        self._since = time.perf_counter(), self._env.env_steps, self._env.decisions

    def _log(self) -> None:
        env, found = self._env, self._model.logger.name_to_value
        row = {ours: float(found[name]) for name, ours in _NAMES.items() if name in found}
        since, steps_before, decisions_before = self._since
        seconds = time.perf_counter() - since
        row["time/decisions_per_s"] = (env.decisions - decisions_before) / seconds
        row["time/env_steps_per_s"] = (env.env_steps - steps_before) / seconds
        self._restart_rates()
        row["progress/decisions"] = env.decisions
        row["progress/minutes"] = self._progress.seconds / 60.0
        if env.episodes:
            episodes = list(env.episodes)
            row["self_play/reward"] = float(np.mean([one.reward for one in episodes]))
            row["self_play/episode_steps"] = float(np.mean([one.env_steps for one in episodes]))
            row["self_play/episode_decisions"] = float(np.mean([one.decisions for one in episodes]))
            row["self_play/survived"] = float(np.mean([one.survived for one in episodes]))
        self._run.logger.log(row, env_steps=env.env_steps)
        self._run.logger.log_histogram(
            "self_play/actions", env.action_counts, env_steps=env.env_steps
        )
        env.action_counts[:] = 0

    def _evaluating(self) -> AbstractContextManager[None]:
        return _kept_generators()

    def _agent_state(self) -> dict[str, Any]:
        return {"policy": self._model.policy.state_dict()}

    def _state(self) -> dict[str, Any]:
        return {
            "progress": dict(vars(self._progress)),
            "agent": self._agent_state(),
            "optimizer": self._model.policy.optimizer.state_dict(),
            "timesteps": int(self._model.num_timesteps),
            "env": self._env.state_dict(),
            "generators": _generators(),
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        """Go back to a checkpoint."""
        check_entries(saved, ("progress", "agent", "optimizer", "timesteps", "env", "generators"))
        progress = dict(saved["progress"])
        for name, due in progress.pop("due", {}).items():  # of older runs
            progress[f"next_{name}"] = due
        self._progress.restore(progress)
        self._agent.load_state_dict(saved["agent"])  # names what does not fit
        self._model.policy.load_state_dict(saved["agent"]["policy"])
        self._model.policy.optimizer.load_state_dict(saved["optimizer"])
        self._model.num_timesteps = saved["timesteps"]
        self._env.load_state_dict(saved["env"])
        _set_generators(saved["generators"])
        _LOG.info("resumed at %d environment steps", self._env.env_steps)


def _generators() -> dict[str, Any]:
    """Return the states of the global generators that are drawn from, as plain Python."""
    numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))
    numpy["state"] = {"key": numpy["state"]["key"].tolist(), "pos": int(numpy["state"]["pos"])}
    return {"torch": torch.get_rng_state(), "numpy": numpy}


def _set_generators(state: Mapping[str, Any]) -> None:
    numpy = state["numpy"]
    key = np.array(numpy["state"]["key"], dtype=np.uint32)
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})
    torch.set_rng_state(state["torch"])


@contextmanager
def _kept_generators() -> Iterator[None]:
    """Give the global generators back as they were."""
    state, python = _generators(), random.getstate()
    try:
        yield
    finally:
        _set_generators(state)
        random.setstate(python)
