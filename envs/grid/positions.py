"""Positions at which substations are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WIDTH = 1000.0  # of the drawing, without margins; the height follows
LEAST_HEIGHT = 300.0  # so that grids along a line have room for what hangs from their substations


def substation_positions(
    names: Sequence[str], given: Mapping[str, Any] | None
) -> tuple[tuple[float, float], ...]:
    """Return where to draw each of S substations, x to the right and y downwards.

    Args:
        names: of the substations.
        given: coordinates by name, y upwards, as grid2op has them; None, or one that lacks a
            substation, puts all of them on a circle.
    """
    points = _circle(len(names))
    if given is not None and all(_is_point(given.get(name)) for name in names):
        points = np.array([given[name] for name in names], dtype=np.float64)
        if len(names) > 1 and not np.ptp(points, axis=0).any():
            points = _circle(len(names))
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    scale = WIDTH / max(span[0], span[1], 1e-9)
    x = (points[:, 0] - low[0]) * scale
    y = (low[1] + span[1] - points[:, 1]) * scale
    y += max(0.0, LEAST_HEIGHT - span[1] * scale) / 2
    return tuple((round(float(a), 1), round(float(b), 1)) for a, b in zip(x, y, strict=True))


def _circle(count: int) -> np.ndarray:
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / max(count, 1)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _is_point(value: Any) -> bool:
    if value is None or len(value) != 2:
        return False
    return bool(np.isfinite(np.asarray(value, dtype=np.float64)).all())
