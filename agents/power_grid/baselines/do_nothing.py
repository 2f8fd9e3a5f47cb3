"""``agent=do_nothing``: never acts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from agents.agent import Infos
from agents.power_grid.baselines.base import BaselineAgent
from envs import DO_NOTHING


class DoNothingAgent(BaselineAgent):
    """Chooses action 0 always; as a baseline on the bare grid, where nobody closes lines either."""

    as_baseline: ClassVar[Mapping[str, Any]] = {"reconnect_lines": False}

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` zeros."""
        return np.full(len(observations), DO_NOTHING, dtype=np.int64)
