"""``AttackLog``: what an opponent did to a grid in the present episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from powergrid_muzero.copies import Copyable


class AttackLog(Copyable):
    """Attacks of an episode.

    Args:
        num_lines: L.
    """

    def __init__(self, num_lines: int) -> None:
        self.steps = np.zeros(num_lines, dtype=np.int32)  # [L], see GridState
        self.begun = 0  # attacks
        self._lost = False  # the game, while an attack lasted

    def note(self, their_info: Mapping[str, Any], closed: np.ndarray, *, blackout: bool) -> None:
        """Keep what the opponent did in the step just played.

        Args:
            their_info: grid2op's, of the step.
            closed: ``[L]`` bool, lines that were closed before it.
            blackout: whether it lost the game.
        """
        self.steps = np.zeros_like(self.steps)
        held = their_info["opponent_attack_line"]
        if held is None:
            return
        self.begun += bool((held & closed).any())
        self._lost = blackout
        if not blackout:
            self.steps[held] = their_info["opponent_attack_duration"] - 1

    def infos(self) -> dict[str, Any]:
        """Return what ``PowerGridEnv`` tells of attacks."""
        lasting = self._lost or bool(self.steps.any())
        return {
            "attack_steps": self.steps.copy(),
            "attacks": self.begun,
            "attacks_survived": max(self.begun - lasting, 0),
        }
