"""The entry point of ``gymnasium.make("PowerGrid-v0")``."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from envs.decision_gate import UNGATED, make_decision_gate
from envs.reference.power_grid import PowerGridEnv
from envs.reference.wrappers import RESET_REWARDS, IdleGate, ReconnectLines
from powergrid_muzero.checks import check_flag, closed_if_refused
from powergrid_muzero.names import choose, keywords_of


def make_power_grid(
    *,
    idle_gate: float | None = None,
    ask_every: int | None = None,
    ask_at_attacks: bool = False,
    n1_gate: float | None = None,
    reset_reward: str = "first_step",
    reconnect_lines: bool = False,
    **options: Any,
) -> gym.Env[Any, Any]:
    """Make a ``PowerGridEnv`` with the wrappers asked for.

    Args:
        idle_gate: rho from which on the agent decides (``IdleGate``).
        ask_every: steps after which it decides in any case.
        ask_at_attacks: whether it decides when an attack begins or ends.
        n1_gate: rho after the worst foreseen loss of a line, from which on it decides. Without any
            of these four, it decides at every step.
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
    choose("reset_reward", reset_reward, RESET_REWARDS)
    reconnect_lines = check_flag("reconnect_lines", reconnect_lines)
    grid = PowerGridEnv(**options)
    env: gym.Env[Any, Any] = grid
    with closed_if_refused(grid):
        if reconnect_lines:
            env = ReconnectLines(env)
        gate = make_decision_gate(
            idle_gate=idle_gate,
            ask_every=ask_every,
            ask_at_attacks=ask_at_attacks,
            n1_gate=n1_gate,
            opponent=grid.opponent,
        )
        if gate is not None:
            env = IdleGate(
                env,
                idle_gate,
                every=ask_every,
                attacks=ask_at_attacks,
                n1=n1_gate,
                reset_reward=reset_reward,
            )
    return env


_KEYWORDS = (
    *keywords_of(PowerGridEnv.__init__),
    *(*UNGATED, "reset_reward", "reconnect_lines"),
)
make_power_grid.metadata = PowerGridEnv.metadata  # gymnasium reads the render modes here
