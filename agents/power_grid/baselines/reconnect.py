"""``agent=reconnect``: closes open lines."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.agent import Infos
from agents.power_grid.baselines.base import GridBaselineAgent
from envs import DO_NOTHING


class ReconnectAgent(GridBaselineAgent):
    """Closes an open line at its former busbars when that is legal; else does nothing.

    Where several can be closed, the first in the grid's order is.
    """

    kind = "reconnect"

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` actions."""
        state, catalogue = self.state, self.catalogue
        actions = np.full(len(state.rho), DO_NOTHING, dtype=np.int64)
        open_lines = ~state.line_status
        if active is not None:
            open_lines &= active[:, None]
        for index, line in np.argwhere(open_lines):
            # Legality is asked of the grid: a mask of distinct effects may drop this action where
            # another does the same.
            action = catalogue.switch_line_action[line]
            if actions[index] == DO_NOTHING and not catalogue.illegal_reason(action, state, index):
                actions[index] = action
        return actions
