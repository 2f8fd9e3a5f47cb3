"""Infos of the vector environment, in Gymnasium's form.

Each info is an array over the B grids, beside a mask, its name with ``_`` before it, that says
which grids have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from powergrid_muzero.copies import Copyable


class Records(Copyable):
    """What is remembered of the latest decision, or reset, of each of B grids.

    Args:
        num_grids: B.
        num_actions: A.
    """

    def __init__(self, num_grids: int, num_actions: int):
        self.action_mask = np.zeros((num_grids, num_actions), dtype=np.int8)  # [B, A]
        self.scenario = np.full(num_grids, None, dtype=object)  # [B] str
        self.illegal = np.zeros(num_grids, dtype=np.bool_)  # [B]
        self.illegal_reason = np.full(num_grids, "", dtype=object)  # [B] str
        self.duration = np.zeros(num_grids, dtype=np.int64)  # [B] grid steps
        self.reset_reward = np.zeros(num_grids)  # [B] of the calm steps after a reset
        self.started = np.zeros(num_grids, dtype=np.bool_)  # [B] ever reset
        self.just_reset = np.zeros(num_grids, dtype=np.bool_)  # [B] no decision since

    def row(self, grid: int) -> dict[str, Any]:
        """Return what is remembered of ``grid``, but for its mask."""
        return {name: column[grid] for name, column in vars(self).items() if name != "action_mask"}

    def set_row(self, grid: int, values: Mapping[str, Any]) -> None:
        """Remember of ``grid`` what ``row`` returned."""
        for name, value in values.items():
            getattr(self, name)[grid] = value

    def note_reset(self, grid: int, *, scenario: str, duration: int, reward: float) -> None:
        """Remember a reset and the calm steps that it played."""
        self.scenario[grid] = scenario
        self.illegal[grid], self.illegal_reason[grid] = False, ""
        self.duration[grid], self.reset_reward[grid] = duration, reward
        self.started[grid] = self.just_reset[grid] = True

    def note_decisions(
        self, grids: np.ndarray, durations: np.ndarray, illegal: np.ndarray, reasons: list[str]
    ) -> None:
        """Remember decisions on n grids, ``[n]`` each."""
        self.duration[grids] = durations
        self.illegal[grids] = illegal
        self.illegal_reason[grids] = reasons
        self.just_reset[grids] = False


def as_infos(values: Mapping[str, Any], there: np.ndarray) -> dict[str, Any]:
    """Return ``values`` with their masks, a copy of ``there`` (``[B]`` bool) each."""
    infos: dict[str, Any] = {}
    for key, value in values.items():
        infos[key], infos[f"_{key}"] = value, there.copy()
    return infos


def spread_out(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return ``[B, ...]`` with the ``[n, ...]`` values where ``there``, zeros or None elsewhere."""
    empty = None if values.dtype == object else 0
    spread = np.full((len(there), *values.shape[1:]), empty, dtype=values.dtype)
    spread[there] = values
    return spread


def row_of(observations: Any, row: int) -> Any:
    """Return one grid's observation out of a batch: an array, or a dict of them."""
    if isinstance(observations, dict):
        return {key: values[row] for key, values in observations.items()}
    return observations[row]
