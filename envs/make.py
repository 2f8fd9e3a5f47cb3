"""What ``gymnasium.make("PowerGrid-v0")`` calls."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from envs.checks import check_flag
from envs.checks import check_gate
from envs.names import choose
from envs.names import keywords_of
from envs.power_grid import PowerGridEnv
from envs.wrappers import RESET_REWARDS
from envs.wrappers import IdleGate
from envs.wrappers import ReconnectLines

ENV_ID = "PowerGrid-v0"


def make_power_grid(
    *,
    idle_gate: float | None = None,
    reset_reward: str = "first_step",
    reconnect_lines: bool = False,
    **options: Any,
) -> gym.Env[Any, Any]:
    """Make a ``PowerGridEnv`` with the wrappers asked for.

    Args:
        idle_gate: rho from which on the agent decides (``IdleGate``); None for every step.
        reset_reward: where the gate pays what was earned before the first decision: "first_step",
            with the first step's reward, or "info", in ``info["reset_reward"]`` alone.
        reconnect_lines: close lines that are out where the agent does nothing
            (``ReconnectLines``, inside the gate).
        options: of ``PowerGridEnv``.

    Raises:
        ValueError: an argument or a value that does not exist; the message names the nearest one.
    """
    for name in options:
        choose("keyword argument", name, _KEYWORDS)
    gate = check_gate(idle_gate)
    choose("reset_reward", reset_reward, RESET_REWARDS)
    reconnect_lines = check_flag("reconnect_lines", reconnect_lines)
    env: gym.Env[Any, Any] = PowerGridEnv(**options)
    if reconnect_lines:
        env = ReconnectLines(env)
    if gate is not None:
        env = IdleGate(env, gate, reset_reward=reset_reward)
    return env


_KEYWORDS = (
    *keywords_of(PowerGridEnv.__init__),
    *("idle_gate", "reset_reward", "reconnect_lines"),
)
make_power_grid.metadata = PowerGridEnv.metadata  # gymnasium reads the render modes here
