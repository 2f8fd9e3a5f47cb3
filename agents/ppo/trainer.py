"""Trains a policy with sb3-contrib's MaskablePPO, round by round, in a run of ours."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from agents.agent import TrainingRun
from agents.ppo.environment import MaskedVecEnv
from agents.runs.checkpoints import check_entries
from agents.runs.devices import torch_threads
from agents.runs.interrupt import Interrupt, deferred_interrupt

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


class PPOTrainer:
    """Plays and learns in turns, evaluates, keeps the best weights, and resumes exactly.

    A round is ``decisions_per_round`` decisions in every environment and the updates on them.
    stable-baselines3 draws from the process's global generators: they are set by the seed, kept in
    checkpoints, and given back as they were.

    Args:
        run: budget, environments, evaluation, loggers and checkpoints.
        agent: gets the weights.
    """

    def __init__(self, run: TrainingRun, agent: PPOAgent) -> None:
        self._run = run
        self._agent = agent
        self._seconds = 0.0
        self._best_score = -float("inf")
        self._due: dict[str, int] = {"log": 0, "evaluation": 0, "checkpoint": 0}  # env steps

    def train(self) -> None:
        """Train to the end of the budget; on Ctrl-C keep a final checkpoint and raise.

        Raises:
            KeyboardInterrupt: after the checkpoint was written.
        """
        run, own = self._run, self._agent.settings
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
                        policy_kwargs=dict(self._agent.policy_options),
                        seed=run.seed,
                        device=self._agent.device,
                    )
                    if saved is not None:
                        self._restore(saved, model, env)
                    else:
                        model.policy.load_state_dict(self._agent.state_dict()["policy"])
                    with deferred_interrupt() as interrupt:
                        self._schedule_next(env)
                        self._loop(model, env, interrupt)
                self._agent.load_state_dict(_weights(model))
            finally:
                env.close()

    def _loop(self, model: MaskablePPO, env: MaskedVecEnv, interrupt: Interrupt) -> None:
        round_size = self._agent.settings.decisions_per_round * env.num_envs
        start, seconds_before = time.perf_counter(), self._seconds
        since, steps_before, decisions_before = start, env.env_steps, env.decisions
        while not self._finished(env):
            model.learn(round_size, reset_num_timesteps=False, log_interval=_NEVER)
            now = time.perf_counter()
            self._seconds = seconds_before + now - start
            if env.env_steps >= self._due["log"]:
                rates = {
                    "time/decisions_per_s": (env.decisions - decisions_before) / (now - since),
                    "time/env_steps_per_s": (env.env_steps - steps_before) / (now - since),
                }
                self._log(model, env, rates)
                since, steps_before, decisions_before = now, env.env_steps, env.decisions
            stop = interrupt.requested
            if not stop and (env.env_steps >= self._due["evaluation"] or self._finished(env)):
                stop = self._evaluate(model, env, interrupt)
                self._seconds = seconds_before + time.perf_counter() - start
            due = env.env_steps >= self._due["checkpoint"] or stop or self._finished(env)
            self._schedule_next(env)
            if due:
                self._run.checkpoints.save_latest(self._state(model, env))
            if stop:
                raise KeyboardInterrupt

    def _finished(self, env: MaskedVecEnv) -> bool:
        if env.decisions >= self._agent.settings.total_decisions:
            return True
        limit = self._run.settings.used_up(env_steps=env.env_steps, seconds=self._seconds)
        return limit is not None

    def _log(self, model: MaskablePPO, env: MaskedVecEnv, rates: Mapping[str, float]) -> None:
        found = model.logger.name_to_value
        row = {ours: float(found[name]) for name, ours in _NAMES.items() if name in found}
        row.update(rates)
        row["progress/decisions"] = env.decisions
        row["progress/minutes"] = self._seconds / 60.0
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

    def _evaluate(self, model: MaskablePPO, env: MaskedVecEnv, interrupt: Interrupt) -> bool:
        """Evaluate, keep the best weights; return True if Ctrl-C broke it off."""
        self._agent.load_state_dict(_weights(model))
        try:
            with interrupt.immediate(), _kept_generators():
                metrics = dict(self._run.evaluate(self._agent))
        except KeyboardInterrupt:
            return True
        self._run.logger.log(
            {f"val/{name}": value for name, value in metrics.items()}, env_steps=env.env_steps
        )
        if metrics["score"] > self._best_score:
            self._best_score = metrics["score"]
            self._run.checkpoints.save_best(self._agent.state_dict())
        return False

    def _schedule_next(self, env: MaskedVecEnv) -> None:
        """Move every due date past the present step, on the grid of its interval."""
        settings, now = self._run.settings, env.env_steps
        intervals = {
            "log": settings.log_interval,
            "evaluation": settings.evaluation_interval,
            "checkpoint": settings.checkpoint_interval,
        }
        for name, interval in intervals.items():
            if now >= self._due[name]:
                self._due[name] = now - now % interval + interval

    def _state(self, model: MaskablePPO, env: MaskedVecEnv) -> dict[str, Any]:
        return {
            "progress": {
                "env_steps": env.env_steps,
                "decisions": env.decisions,
                "seconds": self._seconds,
                "best_score": self._best_score,
                "due": dict(self._due),
            },
            "agent": _weights(model),
            "optimizer": model.policy.optimizer.state_dict(),
            "timesteps": int(model.num_timesteps),
            "env": env.state_dict(),
            "generators": _generators(),
        }

    def _restore(self, saved: Mapping[str, Any], model: MaskablePPO, env: MaskedVecEnv) -> None:
        """Go back to a checkpoint."""
        check_entries(saved, ("progress", "agent", "optimizer", "timesteps", "env", "generators"))
        progress = saved["progress"]
        self._seconds, self._best_score = progress["seconds"], progress["best_score"]
        self._due.update(progress["due"])
        self._agent.load_state_dict(saved["agent"])  # names what does not fit
        model.policy.load_state_dict(saved["agent"]["policy"])
        model.policy.optimizer.load_state_dict(saved["optimizer"])
        model.num_timesteps = saved["timesteps"]
        env.load_state_dict(saved["env"])
        _set_generators(saved["generators"])
        _LOG.info("resumed at %d environment steps", env.env_steps)


def _weights(model: MaskablePPO) -> dict[str, Any]:
    """Return the present weights in the form that ``PPOAgent.load_state_dict`` takes."""
    return {"policy": model.policy.state_dict()}


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
