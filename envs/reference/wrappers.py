"""Wrappers of PowerGrid-v0: the idle gate, and reconnection of lines."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from envs.decision_gate import lines_at_risk, make_decision_gate
from envs.grid.actions import DO_NOTHING
from envs.reference.power_grid import PowerGridEnv
from powergrid_muzero.checks import check_action
from powergrid_muzero.copies import Copyable
from powergrid_muzero.names import choose, named_keywords

RESET_REWARDS = ("first_step", "info")


def _power_grid(env: gym.Env[Any, Any], wrapper: str) -> PowerGridEnv:
    inner = env.unwrapped if isinstance(env, gym.Env) else env
    if not isinstance(inner, PowerGridEnv):
        raise ValueError(f"{wrapper} wraps PowerGridEnv, but was given {type(inner).__name__}")
    return inner


class IdleGate(Copyable, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Leaves the agent the decisions that matter: calm steps are played with "do nothing".

    After ``reset`` and after each action of the agent, "do nothing" is played until the highest
    rho reaches ``threshold``, another reason to ask is there, or the episode ends. ``step`` returns
    the sum of the rewards of all steps played and ``info["duration"]`` their number; ``illegal``
    and ``illegal_reason`` are about the agent's own action. ``reset`` reports what it played in
    ``info["duration"]`` and what that earned in ``info["reset_reward"]``.

    A reset pays nothing in Gymnasium. So that the rewards of an episode's steps sum to what the
    grid earned in all of it, which is what tools such as ``RecordEpisodeStatistics`` report, its
    first step pays ``reset_reward`` too. It depends on no action, so algorithms that learn from
    single decisions may do without: with ``reset_reward="info"`` it is in ``info`` alone.

    Every episode has at least one decision: where doing nothing would carry the reset's calm
    phase to the episode's end, the same scenario is started again and played up to the step before
    it, and the agent takes over there. Its decision then is the one that ends the episode or not.

    Args:
        env: a PowerGridEnv, wrapped or not.
        threshold: rho from which on the agent decides, such as 0.95; None for whatever the loading.
        every: steps after which it is asked in any case.
        attacks: ask when an attack begins, and when a line is not held out any more.
        n1: ask when the foreseen loss of a line would load one as much; see
            ``envs.decision_gate.lines_at_risk``.
        reset_reward: "first_step" or "info": where what ``reset`` earned is paid.

    Raises:
        ValueError: see ``envs.decision_gate.make_decision_gate``; or none of them is given.
    """

    @named_keywords
    def __init__(
        self,
        env: gym.Env[Any, Any],
        threshold: float | None = None,
        *,
        every: int | None = None,
        attacks: bool = False,
        n1: float | None = None,
        reset_reward: str = "first_step",
    ):
        grid = self._grid = _power_grid(env, "IdleGate")
        gate = make_decision_gate(
            idle_gate=threshold,
            ask_every=every,
            ask_at_attacks=attacks,
            n1_gate=n1,
            opponent=grid.opponent,
        )
        if gate is None:
            raise ValueError("IdleGate: its threshold must be given, or every, attacks or n1")
        choose("reset_reward", reset_reward, RESET_REWARDS)
        RecordConstructorArgs.__init__(
            self,
            threshold=threshold,
            every=every,
            attacks=attacks,
            n1=n1,
            reset_reward=reset_reward,
        )
        gym.Wrapper.__init__(self, env)
        self.threshold = threshold
        self.reset_reward = reset_reward
        self._earned = 0.0  # before the first decision, and not paid yet
        self._reason = ""  # why the agent's own action was illegal
        self._decision_gate = gate
        self._at_risk = lines_at_risk(grid.layout, grid.opponent)
        self._attacks = 0  # as they were at the last look
        self._held = np.zeros(grid.layout.num_lines, dtype=np.bool_)  # [L], the same
        # Calm steps go without observation and mask, unless a wrapper below wants to see them.
        self._unseen = _advances(env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode and play to its first decision."""
        limit = np.inf
        while True:
            observation, info = self.env.reset(seed=seed, options=options)
            start = {
                "scenario": self._grid.info_texts()["scenario"],
                "first_step": info["step"],
                "attack_seed": self._grid.attack_seed,
            }
            duration, total = 0, 0.0
            over = False
            self._note_attacks()
            while not over and duration < limit and not self._due(info, duration):
                observation, reward, terminated, truncated, info = self._play(DO_NOTHING)
                total += reward
                duration += 1
                over = terminated or truncated
            if not over:
                break
            seed, options, limit = None, start, duration - 1
        observation, info = self._complete(observation, info)
        info.update(duration=duration, reset_reward=total)
        self._earned = total if self.reset_reward == "first_step" else 0.0
        self._reason = ""
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play the agent's action, then calm steps up to the next decision."""
        self._note_attacks()
        observation, total, terminated, truncated, info = self._play(action)
        own = {key: info[key] for key in ("illegal", "illegal_reason") if key in info}
        self._reason = self.env.get_wrapper_attr("info_texts")()["illegal_reason"]
        duration = info["duration"]
        while not (terminated or truncated) and not self._due(info, duration):
            observation, reward, terminated, truncated, info = self._play(DO_NOTHING)
            total += reward
            duration += info["duration"]
        observation, info = self._complete(observation, info)
        info.update(own, duration=duration)
        total, self._earned = self._earned + total, 0.0
        return observation, total, terminated, truncated, info

    def info_texts(self) -> dict[str, str]:
        """Return ``PowerGridEnv.info_texts``, about the agent's own action."""
        return {**self.env.get_wrapper_attr("info_texts")(), "illegal_reason": self._reason}

    def _due(self, info: dict[str, Any], waited: int) -> bool:
        """Whether the agent is asked, ``waited`` steps after the last time."""
        gate = self._decision_gate
        attacked = gate.attacks and self._note_attacks()
        return bool(
            attacked
            or (gate.rho is not None and info["rho_max"] >= gate.rho)
            or (gate.every is not None and waited >= gate.every)
            or (gate.n1 is not None and self._grid.worst_loss(self._at_risk) >= gate.n1)
        )

    def _note_attacks(self) -> bool:
        """Return whether an attack began, or a line became free, since the last call."""
        attacks, held = self._grid.attack_log.begun, self._grid.attack_log.steps > 0
        news = attacks > self._attacks or bool((self._held & ~held).any())
        self._attacks, self._held = attacks, held
        return news

    def _play(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one step; the observation is None where ``_complete`` will make it."""
        if isinstance(self.env, PowerGridEnv | ReconnectLines) and self._unseen:
            return None, *self.env.advance(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), terminated, truncated, info

    def _complete(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if not self._unseen:
            return observation, info
        return _power_grid(self.env, "IdleGate").complete(info)


class ReconnectLines(Copyable, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Puts lines back: "do nothing" closes a line that is out, once its cooldown allows.

    It closes the first such line at its former busbars, without looking ahead. Any other action is
    left alone. Inside an ``IdleGate`` it also works in calm steps.

    Args:
        env: a PowerGridEnv, wrapped or not.

    Raises:
        ValueError: it is none, or its action set does not switch every line.
    """

    def __init__(self, env: gym.Env[Any, Any]):
        self._grid = _power_grid(env, "ReconnectLines")
        self._grid.catalogue.need_line_switches("reconnect_lines=True")
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play ``action``, or a reconnection in place of "do nothing"."""
        return self.env.step(self.replace(action))

    def advance(self, action: Any) -> tuple[float, bool, bool, dict[str, Any]]:
        """``PowerGridEnv.advance`` with the same replacement."""
        assert isinstance(self.env, PowerGridEnv)
        return self.env.advance(self.replace(action))

    def replace(self, action: Any) -> Any:
        """Return what is played for ``action`` in the present state."""
        catalogue = self._grid.catalogue
        if check_action(action, catalogue.num_actions) == DO_NOTHING:
            state = self._grid.state
            ready = ~state.line_status[0] & (state.line_cooldown[0] == 0)
            if ready.any():
                return int(catalogue.switch_line_action[ready.argmax()])
        return action


def _advances(env: gym.Env[Any, Any]) -> bool:
    """Whether ``env`` can step without being looked at: nothing foreign is in between."""
    return isinstance(env.env if isinstance(env, ReconnectLines) else env, PowerGridEnv)
