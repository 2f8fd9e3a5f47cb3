"""Scales that bring a grid's quantities to order 1, from its ratings."""

from __future__ import annotations

import numpy as np

from envs.grid.state import GridLayout

FEATURE_LIMIT = np.float32(10)  # features are cut to [-10, 10]
_MINUTES_PER_DAY = 24 * 60
_MINUTES_PER_WEEK = 7 * _MINUTES_PER_DAY
_THURSDAY = 3 * _MINUTES_PER_DAY  # 1970-01-01 was a Thursday, three days after Monday


class GridScaling:
    """Factors of one grid; multiply by them.

    Args:
        layout: of the grid.
    """

    def __init__(self, layout: GridLayout):
        volt_or = layout.nominal_voltage[layout.line_or_substation]
        volt_ex = layout.nominal_voltage[layout.line_ex_substation]
        rating = np.sqrt(3) * volt_or * layout.thermal_limit / 1000  # MVA
        self.per_rating = (1 / np.maximum(rating, 1)).astype(np.float32)  # [L]
        self.per_p_max = (1 / np.maximum(layout.p_max, 1)).astype(np.float32)  # [G]
        self.per_load = (1 / layout.load_reference).astype(np.float32)  # [D]
        # [2 L + G + D] 1 / kV, for v_or, v_ex, gen_v and load_v in one row
        self.per_volt = np.concatenate(
            [
                1 / volt_or,
                1 / volt_ex,
                1 / layout.nominal_voltage[layout.generator_substation],
                1 / layout.nominal_voltage[layout.load_substation],
            ],
            dtype=np.float32,
        )
        # indexed by busbar: 0 and -1 (the last) are none
        self.busbar_sign = np.array([0, 1, -1, 0], dtype=np.float32)

    @staticmethod
    def nearness_of_outage(maintenance_in: np.ndarray) -> np.ndarray:
        """Return exp(-steps / 288) of steps to the next planned outage, 0 where none (-1)."""
        planned = maintenance_in >= 0
        if not planned.any():
            return planned.astype(np.float32)
        return np.exp(maintenance_in * np.float32(-1 / 288)) * planned


def _waves_of_a_week() -> np.ndarray:
    minutes = np.arange(_MINUTES_PER_WEEK)
    day = (minutes % _MINUTES_PER_DAY) * (2 * np.pi / _MINUTES_PER_DAY)
    week = ((minutes + _THURSDAY) % _MINUTES_PER_WEEK) * (2 * np.pi / _MINUTES_PER_WEEK)
    waves = [np.sin(day), np.cos(day), np.sin(week), np.cos(week)]
    return np.stack(waves, axis=1).astype(np.float32)


_WAVES = _waves_of_a_week()  # [10080, 4] by the minute, from a Thursday 00:00


def clock_features(clock: np.ndarray) -> np.ndarray:
    """Return ``[B, 4]`` float32 of ``[B]`` datetime64[m]: sine and cosine of day and week."""
    return _WAVES[clock.astype(np.int64) % _MINUTES_PER_WEEK]
