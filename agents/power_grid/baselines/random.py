"""``agent=random``: uniform among the legal actions."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from agents.agent import Infos, full_masks
from agents.parts import KeywordsOf
from agents.power_grid.baselines.base import BaselineAgent


class RandomAgent(BaselineAgent):
    """Chooses uniformly among the legal actions."""

    def __init__(self, **baseline: Annotated[Any, KeywordsOf(BaselineAgent)]) -> None:
        """Make the agent; see ``BaselineAgent``."""
        super().__init__(**baseline)
        self._rng = np.random.default_rng(self.seed)

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Draw ``[B]`` actions, one uniformly among each row's legal ones."""
        num_envs = len(observations)
        mask = full_masks(infos, num_envs, self.num_actions)
        keys = self._rng.random((num_envs, self.num_actions))
        return np.where(mask > 0, keys, -1.0).argmax(axis=1)
