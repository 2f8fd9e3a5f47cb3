"""Decides at which steps an agent is asked; in between, "do nothing" is played.

Shape letters: L lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.grid.connectivity import Connectivity
from envs.grid.state import GridLayout
from envs.opponents import Opponent
from powergrid_muzero.checks import check_count, check_flag, check_gate, is_number

# keywords of PowerGrid-v0 with which the agent is asked at every step
UNGATED = {"idle_gate": None, "ask_every": None, "ask_at_attacks": False, "n1_gate": None}


class DecisionGate(NamedTuple):
    """The agent is asked when any of these says so; else "do nothing" is played."""

    rho: np.float64 | None = None  # the highest loading is at least this
    every: int | None = None  # as many steps have passed since it was asked, or since the reset
    attacks: bool = False  # an attack has begun, or a line is not held out any more
    n1: np.float64 | None = None  # the worst foreseen loss of a line loads one at least as much


def make_decision_gate(
    *,
    idle_gate: float | None = None,
    ask_every: int | None = None,
    ask_at_attacks: bool = False,
    n1_gate: float | None = None,
    opponent: Opponent | None = None,
) -> DecisionGate | None:
    """Return the gate; None where the agent is asked at every step.

    Raises:
        ValueError: a limit that is no number above 0, a count below 1, or attacks of nobody.
    """
    ask_at_attacks = check_flag("ask_at_attacks", ask_at_attacks)
    if ask_at_attacks and opponent is None:
        raise ValueError("ask_at_attacks needs an opponent: set opponent=, such as 'rl4pnc'")
    rho = check_gate(idle_gate)
    # float64 as info["rho_max"] is, so that both environments agree to the last bit
    gate = DecisionGate(
        rho=None if rho is None else np.float64(rho),
        every=None if ask_every is None else check_count("ask_every", ask_every),
        attacks=ask_at_attacks,
        n1=_limit(n1_gate),
    )
    return None if gate == DecisionGate() else gate


def _limit(value: Any) -> np.float64 | None:
    if value is None:
        return None
    if not is_number(value):
        raise ValueError(f"the N-1 gate's limit must be a number, but is {value!r}")
    if not value > 0:
        raise ValueError(f"the N-1 gate's limit must be above 0, but is {value}")
    return np.float64(value)


def lines_at_risk(layout: GridLayout, opponent: Opponent | None) -> np.ndarray:
    """Return the lines whose loss an N-1 gate or reward looks at, ``[C]`` int.

    They are those that the opponent may take out; without one, all whose loss the grid survives in
    its reference topology.
    """
    if opponent is not None:
        return np.unique(opponent.number_lines(layout.line_names))
    topologies = np.ones((layout.num_lines, layout.num_elements), dtype=np.int8)
    lines = np.arange(layout.num_lines)
    for ends in (layout.line_or_position, layout.line_ex_position):
        topologies[lines, ends] = -1
    return np.flatnonzero(Connectivity(layout).connected(topologies))
